"""All kinds of store behave alike; files appear whole or not at all; errors say what can be done."""

import errno
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore, open_store, store_stream
from shared.errors import ArtifactMissing, ArtifactUnavailable
from tests.s3_server import CREDENTIALS, S3Server, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return open_store(f"{server.url}/{uuid.uuid4().hex}")
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


def test_what_others_write_is_seen_at_once(s3: S3Server) -> None:
    store = open_store(f"{s3.url}/seen")
    store.write("jobs/a/x", b"1")
    assert store.names("jobs/a") == ["x"]
    assert not store.exists("jobs/a/y")
    s3.put("artifacts/seen/jobs/a/y", b"22")
    assert store.exists("jobs/a/y")
    assert store.size("jobs/a/y") == 2
    assert store.names("jobs/a") == ["x", "y"]


def test_a_bucket_that_is_missing_is_named(s3: S3Server) -> None:
    store = open_store("s3://elsewhere/artifacts")
    with pytest.raises(ArtifactUnavailable, match="elsewhere/artifacts does not exist") as seen:
        store.write("jobs/a/x", b"1")
    assert seen.value.retryable


@pytest.mark.slow
def test_a_store_that_is_away_is_an_error_that_can_heal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow because the driver tries a few times itself."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://away/artifacts")
    with pytest.raises(ArtifactUnavailable, match="Could not connect") as seen:
        store.read_bytes("jobs/a/x")
    assert seen.value.retryable
