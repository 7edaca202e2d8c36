"""SIGKILL of every kind of process in the middle of a job: nothing lost, nothing doubled, the same frames.

A victim is killed while it is known to be at work on the job: it is frozen first (SIGSTOP), and killed only if the
work it was seen to begin is still outstanding; otherwise it goes on and the next piece of work is waited for.
"""

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.integration.conftest import SEED, Run
from tests.integration.stack import SPEECH, Stack, unseen_portrait, until, worker_turns
from tests.integration.video import frame_hashes
from tests.integration.viewer import Viewer

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

EXTRA_S = 30.0
ALL_AT_ONCE_EXTRA_S = 90.0  # five interpreters load their libraries on the same cores
FAST_POLL_S = 0.0005


def test_gateway(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(60)
        ready_stack.kill("gateway")

    viewer = survive(ready_stack, reference, kill)
    assert viewer.connections >= 2


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("renderer", "portrait"),
        ("audio_encoder", "encode"),
        ("motion_dit", "motion"),
        ("renderer", "render"),
        ("muxer", "mux"),
    ],
)
def test_worker_at_work(ready_stack: Stack, reference: Run, name: str, stage: str) -> None:
    def kill(viewer: Viewer) -> None:
        kill_at_work(ready_stack, name, lambda: begun(ready_stack, viewer.job_id, stage))

    survive(ready_stack, reference, kill)


@pytest.mark.parametrize("state", ["ingesting", "finalizing"])
@pytest.mark.parametrize("who", ["main", "child"])
def test_celery_at_work(ready_stack: Stack, reference: Run, who: str, state: str) -> None:
    def kill(viewer: Viewer) -> None:
        def at_work() -> str:
            return state if hash_state(ready_stack, viewer.job_id) == state else ""

        kill_celery(ready_stack, who, at_work, viewer.job_id)

    survive(ready_stack, reference, kill)


def test_beat(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(5)
        ready_stack.kill("beat")

    survive(ready_stack, reference, kill)


def test_redis_restarted_from_its_append_only_file(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(70)
        ready_stack.kill("redis")

    survive(ready_stack, reference, kill)


def test_every_worker_at_once(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(40)
        pids = ready_stack.pids()
        for name in ("audio_encoder", "motion_dit", "renderer-0", "muxer"):
            os.kill(pids[name], signal.SIGKILL)

    survive(ready_stack, reference, kill, extra_s=ALL_AT_ONCE_EXTRA_S)


def survive(stack: Stack, reference: Run, kill: Callable[[Viewer], None], extra_s: float = EXTRA_S) -> Viewer:
    """Run the reference job again, kill something in its middle, compare all that comes out.

    The portrait has the pixels of the reference's, but has to be prepared again.
    """
    started_s = time.monotonic()
    job_id = stack.submit(SPEECH, unseen_portrait(), seed=SEED)
    with Viewer(stack.url, job_id) as viewer:
        kill(viewer)
        end = viewer.wait_end(reference.took_s + extra_s + 60.0)
    job = stack.wait_final(job_id)
    assert (end.name, job["state"]) == ("job.done", "succeeded"), job
    assert end.at_s - started_s <= reference.took_s + extra_s
    assert viewer.indices == list(range(reference.n_frames)), "no frame missing, none doubled"
    assert not viewer.gaps
    assert viewer.hashes == reference.viewer.hashes
    assert frame_hashes(stack.video(job_id)) == reference.mp4_hashes
    return viewer


def kill_at_work(stack: Stack, name: str, at_work: Callable[[], str]) -> None:
    """SIGKILL a worker between the beginning and the commit of a unit."""
    pid = stack.pid(name)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        unit = until(at_work, 60.0, f"{name} at work", FAST_POLL_S)
        os.kill(pid, signal.SIGSTOP)
        if at_work() == unit:
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGCONT)
    raise TimeoutError(f"{name} was never caught at work")


def kill_celery(stack: Stack, who: str, at_work: Callable[[], str], job_id: str) -> None:
    """SIGKILL Celery's main process, or its children, while a task holds the job in a state."""
    main, *children = stack.processes("celery")
    assert children, "the prefork pool has children"
    victims = [main] if who == "main" else children
    until(at_work, 60.0, f"job {job_id} in the hands of Celery", FAST_POLL_S)
    for process in [main, *children]:
        process.send_signal(signal.SIGSTOP)
    caught = at_work()
    for process in victims:
        process.kill()
    for process in [main, *children]:
        if process not in victims:
            resume(process)
    assert caught, "the task had ended before it could be stopped"


def begun(stack: Stack, job_id: str, stage: str) -> str:
    """An outstanding unit of this stage on which work has begun, or nothing."""
    turns = worker_turns(stack.redis, job_id)
    units = (unit for unit in turns if not unit.endswith(":tries") and unit.partition(":")[0] == stage)
    return next((unit for unit in units if f"{unit}:tries" in turns), "")


def hash_state(stack: Stack, job_id: str) -> str:
    """State of the job as its hash says."""
    state = stack.redis.hget(f"th:{{0}}:job:{job_id}", "state")
    return state.decode() if isinstance(state, bytes) else ""


def resume(process: psutil.Process) -> None:
    """Let a stopped process go on, if it is still there."""
    try:
        process.send_signal(signal.SIGCONT)
    except psutil.NoSuchProcess:
        return
