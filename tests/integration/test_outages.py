"""What the system stands on goes away for a while: Redis, the disk. Completion, or a clear typed error."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import SEED, Run
from tests.integration.stack import PORTRAIT, SPEECH, SPEECH_SHORT, Stack, running_stack, until
from tests.integration.video import frame_hashes
from tests.integration.viewer import Viewer

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

AWAY_S = 6.0
DISK_KB = 1400


def test_paused_redis_holds_the_job_up_and_loses_nothing(ready_stack: Stack, reference: Run) -> None:
    job_id = ready_stack.submit(SPEECH, seed=SEED)
    with Viewer(ready_stack.url, job_id) as viewer:
        viewer.wait_frame(50)
        pid = ready_stack.pid("redis")
        os.kill(pid, signal.SIGSTOP)
        try:
            problem = refusal_while_away(ready_stack)
        finally:
            os.kill(pid, signal.SIGCONT)
        end = viewer.wait_end()
    assert (problem["status"], problem["code"], problem["retryable"]) == (503, "redis_unavailable", True)
    assert end.name == "job.done"
    assert viewer.indices == list(range(reference.n_frames))
    assert viewer.hashes == reference.viewer.hashes
    assert frame_hashes(ready_stack.video(job_id)) == reference.mp4_hashes


def test_full_disk_is_a_typed_error_and_ends_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    prefix = small_disk(disk)
    with running_stack(tmp_path / "stack", {"TH_ARTIFACTS_URL": str(disk / "artifacts")}, prefix) as stack:
        inside = Path(f"/proc/{stack.pid('gateway')}/root{disk}")
        filler = inside / "filler"
        fill(filler)
        refused = stack.post("a.flac", SPEECH_SHORT.read_bytes(), PORTRAIT.name, PORTRAIT.read_bytes())
        assert refused.status_code == 503, refused.text
        assert refused.json()["code"] == "artifact_unavailable"
        filler.unlink()

        job_id = stack.submit(SPEECH)
        with Viewer(stack.url, job_id) as viewer:
            viewer.wait_frame(5)
            fill(filler)
            end = viewer.wait_end()
        job = stack.wait_final(job_id)
        assert (end.name, job["state"], job["error"]["code"]) == ("job.error", "failed", "artifact_unavailable"), job
        filler.unlink()

        again = stack.submit(SPEECH_SHORT)
        assert stack.wait_final(again)["state"] == "succeeded"


def refusal_while_away(stack: Stack) -> dict[str, object]:
    """The problem document of a request while Redis does not answer, for the time that it is away."""
    started_s = time.monotonic()

    def ask() -> dict[str, object] | None:
        try:
            response = stack.http.get("/v1/jobs/0-01ARZ3NDEKTSV4RRFFQ69G5FAV", timeout=15.0)
        except httpx.TransportError:
            return None
        return dict(response.json()) if time.monotonic() - started_s >= AWAY_S else None

    return until(ask, 60.0, "an answer while Redis is away", 0.1)


def small_disk(mount_point: Path) -> tuple[str, ...]:
    """A command prefix that gives a command a small disk of its own at this place; skips where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("a private mount needs root and unshare")
    script = f'mount -t tmpfs -o size={DISK_KB}k tmpfs "{mount_point}" && exec "$@"'
    prefix = (unshare, "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    return prefix


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
