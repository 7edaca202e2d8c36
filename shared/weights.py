"""Pulled weights: where a bundle's files lie, and the lock file that says what they must be.

The command line writes them (`talkinghead weights pull`), workers read them. Knows nothing of what the tensors are, and
nothing of hubs.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, WeightsMismatch

LOCK_FILE = "bundle.lock.json"
LOCK_FORMAT = 1
HEAD_BYTES = 512
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
SHA256 = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class LockedFile:
    """One file of a bundle.

    Attributes:
        size_bytes: of the file in the folder.
        sha256: of the file in the folder, hexadecimal.
        source: path in the repository it was made from.
        source_sha256: of the file that was downloaded, before conversion.
    """

    size_bytes: int
    sha256: str
    source: str
    source_sha256: str


@dataclass(frozen=True)
class BundleLock:
    """What was installed, exactly.

    Attributes:
        bundle: its name.
        repo: repository of the hub, OWNER/NAME; or the folder it was copied from.
        revision: commit of the repository; "local" for a folder.
        licence: of the weights.
        files: by name in the bundle's folder.
    """

    bundle: str
    repo: str
    revision: str
    licence: str
    files: dict[str, LockedFile]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files.values())


def bundle_folder(bundle: str, weights_dir: str) -> Path:
    """Folder of a bundle's weights, which need not exist.

    Args:
        bundle: its name.
        weights_dir: TH_WEIGHTS_DIR; empty: ``talkinghead/weights`` in the user's cache folder.
    """
    if weights_dir:
        return Path(weights_dir).expanduser().absolute() / bundle
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "talkinghead" / "weights" / bundle


def require_bundle(bundle: str, weights_dir: str) -> Path:
    """The folder with a bundle's weights, for a worker that is about to load them.

    Sizes are compared with the lock file, content is not: hashing half a gigabyte at every start is the business of
    ``talkinghead weights verify``. A folder that was filled by hand has no lock file and is left to the loader.

    Raises:
        ConfigurationError: nothing was pulled.
        WeightsMismatch: files are missing or have another size than the lock file says.
    """
    folder = bundle_folder(bundle, weights_dir)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise ConfigurationError(
            f"the weights of bundle {bundle!r} are not in {folder}. Run `talkinghead weights pull {bundle}`, "
            "or set TH_WEIGHTS_DIR to the folder that holds them."
        )
    lock = read_lock(folder)
    problems = [] if lock is None else size_problems(folder, lock)
    if problems:
        raise WeightsMismatch(
            f"the weights of bundle {bundle!r} in {folder} are not what was pulled: {'; '.join(problems)}. "
            f"Run `talkinghead weights pull {bundle}` to mend them."
        )
    return folder


def read_lock(folder: Path) -> BundleLock | None:
    """The lock file of a folder; None when there is none.

    Raises:
        WeightsMismatch: it cannot be understood.
    """
    path = folder / LOCK_FILE
    try:
        return _lock_of(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsMismatch(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected what `talkinghead weights pull` "
            "writes. Restore it, or remove it and pull again."
        ) from error


def write_lock(folder: Path, lock: BundleLock) -> None:
    """Write the lock file into a folder, sorted, so that equal locks are equal bytes."""
    document = {"format": LOCK_FORMAT, **asdict(lock)}
    text = json.dumps(document, indent=2, sort_keys=True)
    (folder / LOCK_FILE).write_text(text + "\n", encoding="utf-8")


def size_problems(folder: Path, lock: BundleLock) -> list[str]:
    """Files that are missing or have another size than the lock says; a few words each."""
    problems = []
    for name, expected in sorted(lock.files.items()):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (size := path.stat().st_size) != expected.size_bytes:
            problems.append(f"{name} has {size} bytes, expected {expected.size_bytes}")
    return problems


def content_problems(folder: Path, lock: BundleLock) -> list[str]:
    """Like `size_problems`, and files whose SHA-256 differs from the lock."""
    problems = size_problems(folder, lock)
    named = {problem.partition(" ")[0] for problem in problems}
    for name, expected in sorted(lock.files.items()):
        if name not in named and (found := sha256_of(folder / name)) != expected.sha256:
            problems.append(f"{name} has SHA-256 {found}, expected {expected.sha256}")
    return problems


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_placeholder(path: Path) -> str:
    """What stands in the place of a file of weights: a few words, or nothing when it may be one."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES).lstrip()
    if not head:
        return "an empty file"
    if head.startswith(LFS_HEAD):
        return "a git-LFS pointer, not the file it points to (run `git lfs pull` where it came from)"
    if head[:15].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page (a login or error page saved under this name)"
    return ""


def _lock_of(document: dict[str, Any]) -> BundleLock:
    if document["format"] != LOCK_FORMAT:
        raise ValueError(f"format {document['format']!r}, this version reads {LOCK_FORMAT}")
    files = {name: LockedFile(**facts) for name, facts in document["files"].items()}
    for name, file in files.items():
        sums_fit = SHA256.fullmatch(file.sha256) and SHA256.fullmatch(file.source_sha256)
        if not (FILE_NAME.fullmatch(name) and sums_fit and isinstance(file.size_bytes, int)):
            raise ValueError(f"entry {name!r} is not a file name with size and SHA-256")
    facts = {key: str(document[key]) for key in ("bundle", "repo", "revision", "licence")}
    return BundleLock(**facts, files=files)
