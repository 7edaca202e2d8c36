"""How fast is a whole job on this machine, and where does the time go?

Expected limit: the CPU; drawing and compressing frames is most of it. The whole product runs as its own supervisor
starts it, with production settings. Regimes: *saturated* (a viewer that takes every frame as it comes), *new_portrait*
(the same, with a portrait that has to be prepared first) and *paced* (a viewer that takes a frame every 40 ms, as a
player does).

    python -m tests.benchmarks.bench_job [--jobs 6] [--speech FILE] [--url URL]

Seed and inputs are fixed; the stack is warmed with one job; every job's frames are checked to be complete and equal.
The last line of stdout is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil

from shared.timeline import FPS
from tests.benchmarks.environment import environment_facts
from tests.benchmarks.stages import stage_report
from tests.integration.stack import SPEECH, Stack, running_stack, unseen_portrait
from tests.integration.viewer import Viewer

SEED = 1
FRAME_S = 1 / FPS


@dataclass(frozen=True)
class Measured:
    """One job.

    Attributes:
        first_frame_s: from acceptance to the first frame at the viewer.
        total_s: from acceptance to the finished video.
        realtime_speed: seconds of speech per second of that.
        late_frames: frames that came after the moment a player would show them, counted from the first.
    """

    first_frame_s: float
    total_s: float
    realtime_speed: float
    late_frames: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=6, help="jobs per regime")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="sound file")
    parser.add_argument("--renderers", type=int, default=0, help="renderer processes (default: the supervisor's)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="talkinghead-bench-") as folder:
        environment = {"TH_X264_PRESET": "veryfast", "TH_LOG_FORMAT": "json"}
        more = ("--renderers", str(options.renderers)) if options.renderers else ()
        with running_stack(Path(folder) / "stack", environment, arguments=more) as stack:
            report = measure(stack, options.speech, options.jobs)
    print(json.dumps(report))
    return 0


def measure(stack: Stack, speech: Path, n_jobs: int) -> dict[str, object]:
    """Measure all regimes on a warm stack and describe them."""
    expected = job_hashes(stack, speech)
    report: dict[str, object] = {}
    for regime in ("saturated", "new_portrait", "paced"):
        cpu_before, since_s = cpu_seconds(stack), time.time()
        runs = [run(stack, speech, expected, regime) for _ in range(n_jobs)]
        cpu_after = cpu_seconds(stack)
        seconds = len(expected) / FPS * n_jobs
        used = {name: round((cpu_after[name] - cpu_before.get(name, 0.0)) / seconds, 4) for name in cpu_after}
        report[regime] = {
            **{name: percentiles([asdict(one)[name] for one in runs]) for name in asdict(runs[0])},
            "cpu_s_per_second_of_video": dict(sorted(used.items(), key=lambda item: -item[1])),
            "stages": stage_report(stack.workdir / "logs", since_s),
        }
        show(regime, report[regime])
    return {**report, "jobs": n_jobs, "frames": len(expected), "seconds": len(expected) / FPS, **environment_facts()}


def run(stack: Stack, speech: Path, expected: list[str], regime: str) -> Measured:
    """Run one job to its end and check its frames."""
    job_id = stack.submit(speech, unseen_portrait() if regime == "new_portrait" else None, seed=SEED)
    accepted_s = accepted_at(stack, job_id)
    with Viewer(stack.url, job_id, is_paced=regime == "paced") as viewer:
        done_s = wait_done(stack, job_id) - accepted_s
        viewer.wait_end()
    if viewer.hashes != expected:
        raise RuntimeError(f"job {job_id} made other frames than the job before; identity is broken")
    first = viewer.frames[0].at_s
    late = sum(frame.at_s > first + frame.index / FPS + FRAME_S for frame in viewer.frames)
    return Measured(first - accepted_s, done_s, len(expected) / FPS / done_s, late)


def accepted_at(stack: Stack, job_id: str) -> float:
    """When the gateway accepted a job, on the monotonic clock: the job's own time stamp, earlier than the answer."""
    created = datetime.fromisoformat(stack.job(job_id)["created_at"]).timestamp()
    return time.monotonic() - (time.time() - created)


def wait_done(stack: Stack, job_id: str) -> float:
    """When the job's video was ready, on the monotonic clock: seen by a second, frameless look at its state."""
    key = f"th:{{0}}:job:{job_id}"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if stack.redis.hget(key, "state") in (b"succeeded", b"failed"):
            return time.monotonic()
        time.sleep(0.01)
    raise TimeoutError(f"job {job_id} did not end")


def job_hashes(stack: Stack, speech: Path) -> list[str]:
    """Warm the stack up; the frames that every job must have."""
    with Viewer(stack.url, stack.submit(speech, seed=SEED)) as viewer:
        viewer.wait_end(300.0)
    return viewer.hashes


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds so far of every process kind, its own children included."""
    used: Counter[str] = Counter()
    for name, pid in stack.pids().items():
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            used[name] += times.user + times.system
    own = psutil.Process().cpu_times()
    return {**used, "viewer (this benchmark)": own.user + own.system}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {name: round(float(np.percentile(values, p)), 3) for name, p in (("p50", 50), ("p95", 95))}


def show(regime: str, facts: object) -> None:
    """Print one regime for people."""
    print(f"== {regime}")
    assert isinstance(facts, dict)
    for name, value in facts.items():
        print(f"  {name}: {value}")


if __name__ == "__main__":
    sys.exit(main())
