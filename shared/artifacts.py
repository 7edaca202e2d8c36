"""The artifact store: uploads, decoded speech, segments and results, behind fsspec.

A file appears whole or not at all: local files are written beside their place and renamed, object stores do the same
with one put. Paths are relative, with forward slashes (``jobs/ID/speech.pcm``). Knows nothing of what the files hold.
"""

import contextlib
import errno
import importlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec

from shared.errors import ArtifactMissing, ArtifactUnavailable

TEMPORARY_SUFFIX = ".part"
COPY_CHUNK_BYTES = 1 << 20
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM})
# What drivers raise besides OSError, by scheme; the modules are there where the driver is installed.
DRIVER_ERRORS = {
    "s3": (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
    ),
}


class ArtifactStore(Protocol):
    """What a store can do; `open_store` returns one."""

    def write(self, path: str, data: bytes) -> None:
        """Put bytes in place at once, replacing what was there."""

    def writing(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """A local path to write to; put in place when the block ends without an error, dropped otherwise."""

    def local(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """A local file with the content, for libraries that need one; valid inside the block only."""

    def read_bytes(self, path: str) -> bytes:
        """The whole content."""

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer at the end of the file; start >= 0."""

    def size(self, path: str) -> int:
        """Length in bytes."""

    def exists(self, path: str) -> bool:
        """True when there is such a file."""

    def names(self, folder: str) -> list[str]:
        """Sorted names of files and folders directly inside; empty when there is no such folder."""

    def delete(self, path: str) -> None:
        """Remove a file or a whole folder; nothing happens when it is not there."""


def open_store(url: str) -> ArtifactStore:
    """Open the store at a folder or an fsspec URL.

    Args:
        url: "./var/artifacts", "file:///data", "s3://bucket/prefix", "memory://test" ...

    Raises:
        ArtifactUnavailable: the scheme is unknown or its driver is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalStore(Path(url))
    if scheme in ("file", "local"):
        return LocalStore(Path(rest))
    try:
        # Other processes write too: what a folder held a moment ago says nothing about now.
        filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        driver_errors = [getattr(importlib.import_module(name), cls) for name, cls in DRIVER_ERRORS.get(scheme, ())]
    except (ValueError, ImportError) as error:
        raise ArtifactUnavailable(
            f"cannot open the artifact store {scheme}://: {error}. Set TH_ARTIFACTS_URL to a folder or to an "
            "fsspec URL whose driver is installed (s3:// needs the package s3fs)."
        ) from error
    return RemoteStore(filesystem, root, tuple(driver_errors))


class LocalStore:
    """A folder of this machine (or a network mount)."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def write(self, path: str, data: bytes) -> None:
        """Put bytes in place at once."""
        with self.writing(path) as temporary, _explained("write", path):
            temporary.write_bytes(data)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A path beside the target, renamed over it at the end."""
        target = self._place(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        with _explained("write", path):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _explained("write", path, only=STORAGE_ERRORS):
                yield temporary
            with _explained("write", path):
                temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """The file itself."""
        target = self._place(path)
        if not target.is_file():
            raise _missing(path)
        yield target

    def read_bytes(self, path: str) -> bytes:
        """The whole content."""
        with _explained("read", path):
            return self._place(path).read_bytes()

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop)."""
        with _explained("read", path), self._place(path).open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))

    def size(self, path: str) -> int:
        """Length in bytes."""
        with _explained("read", path):
            return self._place(path).stat().st_size

    def exists(self, path: str) -> bool:
        """True when there is such a file."""
        return self._place(path).is_file()

    def names(self, folder: str) -> list[str]:
        """Names directly inside, without unfinished files."""
        with _explained("list", folder):
            try:
                entries = [entry.name for entry in self._place(folder).iterdir()]
            except FileNotFoundError:
                return []
        return sorted(name for name in entries if not name.endswith(TEMPORARY_SUFFIX))

    def delete(self, path: str) -> None:
        """Remove a file or folder."""
        target = self._place(path)
        with _explained("delete", path):
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        return self.root / _checked(path)


class RemoteStore:
    """Anything fsspec reaches; one put or pipe is atomic there.

    Args:
        filesystem: of fsspec.
        root: bucket and prefix.
        driver_errors: what the driver raises besides OSError when the store is away or refuses.
    """

    def __init__(self, filesystem: Any, root: str, driver_errors: tuple[type[Exception], ...] = ()) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        self.driver_errors = driver_errors

    def write(self, path: str, data: bytes) -> None:
        """Put bytes in place at once."""
        with self._explained("write", path):
            self.filesystem.pipe_file(self._place(path), data)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A temporary local file, uploaded at the end."""
        with tempfile.TemporaryDirectory(prefix="talkinghead-") as folder:
            temporary = Path(folder, Path(path).name)
            yield temporary
            with self._explained("write", path):
                self.filesystem.put_file(str(temporary), self._place(path))

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """A temporary local copy."""
        with tempfile.TemporaryDirectory(prefix="talkinghead-") as folder:
            temporary = Path(folder, Path(path).name)
            with self._explained("read", path):
                self.filesystem.get_file(self._place(path), str(temporary))
            yield temporary

    def read_bytes(self, path: str) -> bytes:
        """The whole content."""
        with self._explained("read", path):
            return bytes(self.filesystem.cat_file(self._place(path)))

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop)."""
        with self._explained("read", path):
            return bytes(self.filesystem.cat_file(self._place(path), start=start, end=max(start, stop)))

    def size(self, path: str) -> int:
        """Length in bytes."""
        with self._explained("read", path):
            return int(self.filesystem.size(self._place(path)))

    def exists(self, path: str) -> bool:
        """True when there is such a file."""
        with self._explained("read", path):
            return bool(self.filesystem.isfile(self._place(path)))

    def names(self, folder: str) -> list[str]:
        """Names directly inside."""
        with self._explained("list", folder):
            try:
                entries = self.filesystem.ls(self._place(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in entries)

    def delete(self, path: str) -> None:
        """Remove a file or folder."""
        with self._explained("delete", path), contextlib.suppress(FileNotFoundError):
            self.filesystem.rm(self._place(path), recursive=True)

    def _place(self, path: str) -> str:
        return f"{self.root}/{_checked(path)}"

    @contextlib.contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        try:
            with _explained(verb, path):
                yield
        except ArtifactMissing as error:
            if verb != "write" or not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise ArtifactUnavailable(
                f"cannot write {path}: {self.root} does not exist. Create the bucket, or mend TH_ARTIFACTS_URL.",
                retry_after_s=5.0,
            ) from error
        except self.driver_errors as error:
            raise _unavailable(verb, path, error) from error


def store_stream(store: ArtifactStore, path: str, source: IO[bytes]) -> int:
    """Copy an open binary file into the store in pieces.

    Returns:
        Bytes written.
    """
    source.seek(0)
    with store.writing(path) as temporary, _explained("write", path), temporary.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_CHUNK_BYTES)
        return target.tell()


def _checked(path: str) -> str:
    parts = path.split("/")
    if not path or "\\" in path or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ArtifactMissing(f"artifact path {path!r}; expected a relative path like jobs/ID/result.mp4")
    return path


def _missing(path: str) -> ArtifactMissing:
    return ArtifactMissing(f"no artifact {path}; it was deleted or never written")


def _unavailable(verb: str, path: str, reason: object) -> ArtifactUnavailable:
    return ArtifactUnavailable(
        f"cannot {verb} {path}: {reason}. Check space, rights and reachability of TH_ARTIFACTS_URL.", retry_after_s=5.0
    )


@contextlib.contextmanager
def _explained(verb: str, path: str, only: frozenset[int] | None = None) -> Iterator[None]:
    """Turn errors of the file system into ours: not there is final, everything else (full, gone, forbidden) may heal.

    Args:
        verb: what was tried, for the message.
        path: on which artifact.
        only: leave OSErrors with other numbers alone, because foreign code runs in the block.
    """
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        if isinstance(error, FileNotFoundError):
            raise _missing(path) from error
        raise _unavailable(verb, path, error.strerror or error) from error
