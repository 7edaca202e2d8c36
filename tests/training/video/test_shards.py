import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ArtifactUnavailable
from training.video.quality import Facts
from training.video.shards import Clip, Record, hash_of, read_header, read_record, shard_path, stamp_of, write_shard

FACTS = Facts(200.0, 0.1, 8.0, 0.001, 0.3, 0.0, 1.5, 0.6, 0.62, 0.1, 0)
RECORD = Record("k" * 64, "a/b.mp4", "train", 12.0, 29.97, (Clip("0000000", 0, 250, 1.5, FACTS),), {"too_short": 50})
WRITER = """
import sys, numpy as np
from pathlib import Path
from training.video.shards import write_shard
print("ready", flush=True)
for number in range(100_000):
    path = Path(sys.argv[1]) / f"{number % 7}.safetensors"
    write_shard(path, {"x": np.full(300_000, number, np.float32)}, str(number))
    print(number, flush=True)
"""


def test_a_record_survives_its_shard(tmp_path: Path) -> None:
    path = shard_path(tmp_path, "motion", RECORD.key)
    write_shard(path, {"x": np.arange(3, dtype=np.float32)}, "stamp", RECORD)
    assert read_record(path, "stamp") == RECORD
    assert read_record(path, "another stamp") is None
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "motion").write_text("a file where a folder is wanted")
    with pytest.raises(ArtifactUnavailable, match="cannot be written"):
        write_shard(shard_path(tmp_path, "motion", RECORD.key), {}, "stamp", RECORD)


def test_a_video_without_clips_has_a_shard_too(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    write_shard(path, {}, "stamp", RECORD)
    assert read_record(path, "stamp") == RECORD


def test_damaged_and_missing_shards_count_as_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert read_header(path) == {}
    write_shard(path, {"x": np.zeros(1000, np.float32)}, "stamp", RECORD)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_record(path, "stamp") is None


def test_killed_while_writing_leaves_whole_shards_only(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(12):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) == 7
    assert all(read_header(path)["stamp"].isdigit() for path in shards)


def test_stamps_and_hashes_depend_on_the_content(tmp_path: Path) -> None:
    assert stamp_of(a=1, b="x") == stamp_of(b="x", a=1) != stamp_of(a=2, b="x")
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"same")
    assert hash_of(tmp_path / "one") == hash_of(tmp_path / "two")
