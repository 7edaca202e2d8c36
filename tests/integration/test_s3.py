"""A whole job whose uploads, segments and video live in an object store."""

from pathlib import Path

import pytest

from tests.integration.conftest import SEED, Run, run_job
from tests.integration.stack import running_stack
from tests.s3_server import running_s3

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]


def test_whole_job_with_artifacts_on_s3(reference: Run, tmp_path: Path) -> None:
    with running_s3() as s3:
        environment = {**s3.environment, "TH_ARTIFACTS_URL": s3.url}
        with running_stack(tmp_path / "stack", environment) as stack:
            run = run_job(stack, seed=SEED)
            job_id = run.job["id"]
            parts = [stack.http.get(f"/v1/jobs/{job_id}/video", headers={"Range": wanted}) for wanted in RANGES]
            folder = f"artifacts/jobs/{job_id}"
            stored = [key.removeprefix(f"{folder}/") for key in s3.keys() if key.startswith(folder)]  # noqa: SIM118
            assert stack.http.delete(f"/v1/jobs/{job_id}").is_success
    assert run.viewer.hashes == reference.viewer.hashes
    assert run.mp4_hashes == reference.mp4_hashes
    assert [part.status_code for part in parts] == [206, 206, 206]
    assert [part.content for part in parts] == [run.mp4[:1000], run.mp4[500:], run.mp4[-100:]]
    assert {"manifest.json", "portrait.jpg", "audio.flac", "speech.pcm", "result.mp4"} <= set(stored)
    assert not (tmp_path / "stack" / "artifacts").exists()


RANGES = ("bytes=0-999", "bytes=500-", "bytes=-100")
