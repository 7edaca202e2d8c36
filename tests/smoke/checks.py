"""A job as a client sees it: submitted, watched, downloaded, compared with the run before."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx

from shared.timeline import FPS
from tests.integration.stack import PORTRAIT, SPEECH
from tests.integration.video import facts, frame_hashes
from tests.integration.viewer import Viewer
from tests.polling import eventually

SEED = 7
JOB_S = 300.0
READY_S = 300.0
KILL_AT_FRAME = 30
FINAL = ("succeeded", "failed", "canceled", "expired")


@dataclass(frozen=True)
class Outcome:
    """What came of one job.

    Attributes:
        jpegs: SHA-256 of the frames of the event stream.
        pictures: SHA-256 of the frames of the mp4, decoded.
        first_frame_s: from submitting to the first frame received.
        total_s: from submitting to the end of the job.
        n_bytes: of the mp4.
    """

    jpegs: list[str]
    pictures: list[str]
    first_frame_s: float
    total_s: float
    n_bytes: int

    def summary(self) -> str:
        """One line."""
        seconds = len(self.pictures) / FPS
        return (
            f"{len(self.jpegs)} frames by SSE, mp4 of {len(self.pictures)} frames ({seconds:.2f} s, {self.n_bytes} "
            f"bytes), first frame after {self.first_frame_s:.2f} s, all after {self.total_s:.1f} s"
        )


def wait_ready(url: str) -> None:
    """Wait until the gateway says that every kind of worker is alive."""
    with httpx.Client(base_url=url, timeout=10.0) as client:
        eventually(lambda: _status(client, "/v1/health/ready") == 200, READY_S, f"readiness of {url}")


def run_job(url: str, disturb: Callable[[], None] = lambda: None) -> Outcome:
    """The sample job from upload to mp4.

    Args:
        url: of the gateway.
        disturb: called once some frames were seen.

    Raises:
        AssertionError: anything a client was promised is not so.
    """
    with httpx.Client(base_url=url, timeout=30.0) as client:
        started = time.monotonic()
        files = {"portrait": (PORTRAIT.name, PORTRAIT.read_bytes()), "audio": (SPEECH.name, SPEECH.read_bytes())}
        response = client.post("/v1/jobs", data={"seed": str(SEED)}, files=files)
        assert response.status_code == 202, response.text
        job_id = response.json()["id"]
        with Viewer(url, job_id) as viewer:
            viewer.wait_frame(KILL_AT_FRAME, JOB_S)
            disturb()
            end = viewer.wait_end(JOB_S)
        assert end.name == "job.done", end.data
        eventually(lambda: _state(client, job_id) in FINAL, JOB_S, f"the end of {job_id}")
        assert _state(client, job_id) == "succeeded"
        assert not viewer.gaps, viewer.gaps
        mp4 = client.get(f"/v1/jobs/{job_id}/video").raise_for_status().content
    seen = facts(mp4)
    assert viewer.indices == list(range(seen.n_frames)), "every frame once and in order"
    assert (seen.width, seen.height, seen.rate) == (512, 512, Fraction(FPS)), seen
    assert (seen.video_codec, seen.audio_codec) == ("h264", "aac"), seen
    assert abs(seen.audio_s - seen.video_s) <= 1 / FPS, seen
    first_frame_s = viewer.frames[0].at_s - started
    return Outcome(viewer.hashes, frame_hashes(mp4), first_frame_s, end.at_s - started, len(mp4))


def remember(outcome: Outcome, file: Path) -> None:
    """Keep an outcome for the runs that must equal it."""
    file.write_text(json.dumps(asdict(outcome)))


def require_equal(outcome: Outcome, file: Path) -> None:
    """The same frames as the remembered run: nothing lost, doubled or drawn differently."""
    before: dict[str, Any] = json.loads(file.read_text())
    assert outcome.jpegs == before["jpegs"], "the event stream differs from that of the undisturbed run"
    assert outcome.pictures == before["pictures"], "the mp4 differs from that of the undisturbed run"


def kill(container: str) -> Callable[[], None]:
    """SIGKILL to a container, which the engine does not start again."""

    def strike() -> None:
        subprocess.run(["docker", "kill", container], check=True, capture_output=True)

    return strike


def _state(client: httpx.Client, job_id: str) -> str:
    return str(client.get(f"/v1/jobs/{job_id}").raise_for_status().json()["state"])


def _status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0
