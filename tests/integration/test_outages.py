"""What the system stands on goes away for a while: Redis, the disk. Completion, or a clear typed error."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import SEED, Run
from tests.integration.stack import PORTRAIT, SPEECH, SPEECH_SHORT, Stack, running_stack, until
from tests.integration.video import frame_hashes
from tests.integration.viewer import Viewer

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

AWAY_S = 6.0
DISK_KB = 8000
PATIENCE_S = 3


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


def test_full_disk_is_waited_for_then_a_typed_error(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    environment = {"TH_ARTIFACTS_URL": str(disk / "artifacts"), "TH_MUXER_DEADLINE_S": str(2 * PATIENCE_S)}
    with running_stack(tmp_path / "stack", {**environment, "TH_MAX_TRIES": "2"}, small_disk(disk)) as stack:
        filler = Path(f"/proc/{stack.pid('gateway')}/root{disk}/filler")
        muxer_log = stack.workdir / "logs" / "muxer.log"

        with full(filler):
            refused = stack.post("a.flac", SPEECH_SHORT.read_bytes(), PORTRAIT.name, PORTRAIT.read_bytes())
        assert (refused.status_code, refused.json()["code"]) == (503, "artifact_unavailable"), refused.text

        job_id = stack.submit(SPEECH)
        with Viewer(stack.url, job_id) as viewer:
            viewer.wait_frame(5)
            with full(filler):
                until(lambda: b"segment.waits" in muxer_log.read_bytes(), 60.0, "a muxer that waits for room")
            assert viewer.wait_end().name == "job.done", "there was room again in time"
        assert stack.http.get(f"/v1/jobs/{job_id}/video").status_code == 200
        stack.http.delete(f"/v1/jobs/{job_id}")

        job_id = stack.submit(SPEECH)
        with Viewer(stack.url, job_id) as viewer:
            viewer.wait_frame(5)
            with full(filler):
                end = viewer.wait_end()
        job = stack.wait_final(job_id)
        assert (end.name, job["state"], job["error"]["code"]) == ("job.error", "failed", "artifact_unavailable"), job

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


@contextmanager
def full(filler: Path) -> Iterator[None]:
    """Fill the disk for the duration of a block."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()
