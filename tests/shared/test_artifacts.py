"""Both kinds of store behave alike; files appear whole or not at all; errors say what can be done."""

import errno
import io
import os
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore, open_store, store_stream
from shared.errors import ArtifactMissing, ArtifactUnavailable


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path}")


def test_what_is_written_is_read(store: ArtifactStore) -> None:
    store.write("jobs/a/x.bin", b"0123456789")
    assert store.read_bytes("jobs/a/x.bin") == b"0123456789"
    assert store.read_range("jobs/a/x.bin", 2, 5) == b"234"
    assert store.read_range("jobs/a/x.bin", 8, 99) == b"89"
    assert store.size("jobs/a/x.bin") == 10
    assert store.exists("jobs/a/x.bin")
    assert not store.exists("jobs/a/y.bin")


def test_writing_replaces(store: ArtifactStore) -> None:
    store.write("x", b"long content")
    store.write("x", b"short")
    assert store.read_bytes("x") == b"short"


def test_listing(store: ArtifactStore) -> None:
    assert store.names("jobs") == []
    store.write("jobs/b/x", b"1")
    store.write("jobs/a/x", b"1")
    store.write("jobs/a/y", b"1")
    assert store.names("jobs") == ["a", "b"]
    assert store.names("jobs/a") == ["x", "y"]


def test_delete_files_and_folders(store: ArtifactStore) -> None:
    store.write("jobs/a/x", b"1")
    store.write("jobs/a/y", b"1")
    store.delete("jobs/a/x")
    assert store.names("jobs/a") == ["y"]
    store.delete("jobs/a")
    assert store.names("jobs") == []
    store.delete("jobs/a")


def test_local_gives_a_file(store: ArtifactStore) -> None:
    store.write("jobs/a/x.mp4", b"content")
    with store.local("jobs/a/x.mp4") as path:
        assert path.name == "x.mp4"
        assert path.read_bytes() == b"content"


def test_writing_block_puts_in_place_at_its_end(store: ArtifactStore) -> None:
    with store.writing("a/b") as path:
        path.write_bytes(b"half")
        assert not store.exists("a/b")
        assert store.names("a") == []
    assert store.read_bytes("a/b") == b"half"


def test_a_failed_block_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    def fail() -> None:
        with store.writing("a/b") as path:
            path.write_bytes(b"half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not store.exists("a/b")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_streams_are_copied_from_their_start(store: ArtifactStore) -> None:
    file = io.BytesIO(b"x" * 3_000_000)
    file.seek(100)
    assert store_stream(store, "a", file) == 3_000_000
    assert store.size("a") == 3_000_000


def test_missing_files_are_named(store: ArtifactStore) -> None:
    for read in (store.read_bytes, store.size, lambda path: store.read_range(path, 0, 1)):
        with pytest.raises(ArtifactMissing, match="jobs/a/none"):
            read("jobs/a/none")
    with pytest.raises(ArtifactMissing), store.local("jobs/a/none"):
        pass


@pytest.mark.parametrize("path", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a\\b", "a\0b"])
def test_paths_stay_inside(store: ArtifactStore, path: str) -> None:
    with pytest.raises(ArtifactMissing):
        store.write(path, b"")


def test_a_full_disk_is_an_error_that_can_heal(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def fill() -> None:
        with store.writing("a"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ArtifactUnavailable, match="No space left") as seen:
        fill()
    assert seen.value.retryable
    assert seen.value.retry_after_s


def test_foreign_errors_inside_a_block_are_left_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def break_off() -> None:
        with store.writing("a"):
            raise FileNotFoundError(errno.ENOENT, "something else")

    with pytest.raises(FileNotFoundError):
        break_off()


def test_a_file_in_the_way_is_an_error_that_can_heal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactUnavailable):
        open_store(str(tmp_path / "file")).write("a/b", b"1")


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(ArtifactUnavailable, match="TH_ARTIFACTS_URL"):
        open_store("nonsense://bucket")
