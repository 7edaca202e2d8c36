"""A store that can never be written ends a process; one that is full or away is waited for."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.artifact_access import require_writable
from shared.artifacts import RemoteStore, open_store
from shared.errors import ConfigurationError
from shared.worker import REFUSED


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    url = str(tmp_path / "new" / "artifacts")
    assert require_writable(open_store(url), url)
    assert [path.name for path in Path(url).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("place", ["a-file/artifacts", "/proc/nowhere"])
def test_an_impossible_place_is_refused_with_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").touch()
    url = str(tmp_path / place)
    with pytest.raises(ConfigurationError, match=r"TH_ARTIFACTS_URL=.*cannot be written.*mount a volume"):
        require_writable(open_store(url), url)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        require_writable(open_store(str(tmp_path)), str(tmp_path))


class Away:
    """What fsspec's driver of a store does that is away or full.

    Args:
        error: what it raises, whatever is asked.
    """

    def __init__(self, error: OSError) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        raise self.error


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_store_that_is_away_or_full_may_heal(number: int) -> None:
    store = RemoteStore(Away(OSError(number, os.strerror(number))), "bucket")
    assert not require_writable(store, "s3://bucket")


def test_a_muxer_refuses_to_start_in_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "gateway.muxer"],
        env={**os.environ, "TH_ARTIFACTS_URL": "/proc/nowhere", "TH_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == REFUSED
    assert json.loads(process.stdout)["error"].startswith("TH_ARTIFACTS_URL=/proc/nowhere cannot be written")
    assert "Traceback" not in process.stderr
