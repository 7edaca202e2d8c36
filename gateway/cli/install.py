"""From a repository to a bundle's folder: fetch, check against the lock, convert, and put in place in one step.

Until the last step the folder of the bundle stays as it was. Beside it lie ``.BUNDLE.download`` (what has arrived, kept
for the next attempt) and ``.BUNDLE.new`` (being converted).
"""

import fcntl
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cli import hub, local_weights
from gateway.cli.hub import RemoteFile, Snapshot
from gateway.cli.weight_sources import DEFAULT_REVISION, WeightSource
from shared.errors import ConfigurationError, ModelError, WeightsMismatch, WeightsUnavailable
from shared.weights import BundleLock, LockedFile, content_problems, read_lock, sha256_of, write_lock

CONVERTED = ".safetensors"
SPACE_FACTOR = 2  # the download and what it is converted to
REFUSED = 3  # exit code of a converter that read the files and will not have them
STDERR_TAIL = 2000

Fetch = Callable[[Snapshot, RemoteFile, Path], None]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to install.

    Attributes:
        bundle: its name.
        source: where its weights are published.
        repo: repository to use instead of the published one; empty: that one.
        revision: branch, tag or commit; empty: the one of the lock file, else the default branch.
        folder: a folder that holds the files already; None: the hub.
    """

    bundle: str
    source: WeightSource
    repo: str = ""
    revision: str = ""
    folder: Path | None = None


def install(wanted: Wanted, target: Path, report: Report) -> BundleLock:
    """Install a bundle's weights, or find that they are there.

    Args:
        wanted: what.
        target: the bundle's folder; its parent is made if missing.
        report: told in a few words what happens.

    Returns:
        The lock file's content.

    Raises:
        ConfigurationError: a repository, revision or folder that cannot be used; torch is missing.
        WeightsUnavailable: the hub cannot be reached, or there is no space.
        WeightsMismatch: files are not what the hub or the lock file says, or do not fit the networks.
    """
    with _only_one(target), _storing(target):
        _finish_interrupted_swap(target)
        lock = read_lock(target)
        if lock is not None and _is_installed(wanted, lock, target):
            report(f"already there: revision {lock.revision}")
            return lock
        _require_torch()
        snapshot, fetch = _survey(wanted, lock)
        chosen = _chosen_files(wanted.source, snapshot)
        _compare_with_lock(snapshot, chosen, lock)
        _require_space(target.parent, chosen)
        downloads = _beside(target, "download") / snapshot.revision
        downloads.mkdir(parents=True, exist_ok=True)
        for name, file in chosen.items():
            report(f"{file.path} ({file.size_bytes / 1e6:.1f} MB)")
            fetch(snapshot, file, downloads / name)
        fetched = _checked_sums(snapshot, chosen, downloads, lock)
        report("converting to safetensors")
        new = _convert(wanted, chosen, downloads, _beside(target, "new"))
        installed = _describe(wanted, snapshot, chosen, fetched, new)
        write_lock(new, installed)
        _swap(new, target)
        shutil.rmtree(_beside(target, "download"))
    return installed


def _is_installed(wanted: Wanted, lock: BundleLock, target: Path) -> bool:
    if wanted.revision not in ("", lock.revision) or wanted.folder is not None:
        return False
    return wanted.repo in ("", lock.repo) and not content_problems(target, lock)


def _survey(wanted: Wanted, lock: BundleLock | None) -> tuple[Snapshot, Fetch]:
    if wanted.folder is not None:
        paths = [*wanted.source.files.values(), wanted.source.config]
        return local_weights.survey(wanted.folder, paths), local_weights.copy
    is_pinned = lock is not None and lock.revision != local_weights.REVISION and wanted.repo in ("", lock.repo)
    repo = wanted.repo or (lock.repo if lock is not None and is_pinned else wanted.source.repo)
    pinned = lock.revision if lock is not None and is_pinned else DEFAULT_REVISION
    return hub.resolve(repo, wanted.revision or pinned), hub.fetch


def _chosen_files(source: WeightSource, snapshot: Snapshot) -> dict[str, RemoteFile]:
    """Files to fetch, by the name they get: those of the networks, and the sizes if the repository states them."""
    missing = sorted(path for path in source.files.values() if path not in snapshot.files)
    if missing:
        raise ConfigurationError(
            f"{snapshot.repo} at {snapshot.revision} lacks {', '.join(missing)}; expected the layout of {source.repo}."
        )
    chosen = {f"{stem}{Path(path).suffix}": snapshot.files[path] for stem, path in source.files.items()}
    if source.config in snapshot.files:
        chosen[source.config] = snapshot.files[source.config]
    return chosen


def _compare_with_lock(snapshot: Snapshot, chosen: dict[str, RemoteFile], lock: BundleLock | None) -> None:
    for name, file in chosen.items():
        _compare_sum(snapshot, name, file.sha256, lock)


def _compare_sum(snapshot: Snapshot, name: str, sha256: str, lock: BundleLock | None) -> None:
    if lock is None or (lock.repo, lock.revision) != (snapshot.repo, snapshot.revision) or not sha256:
        return
    locked = lock.files.get(_installed_name(name))
    if locked is None or locked.source_sha256 != sha256:
        raise WeightsMismatch(
            f"{name} of {snapshot.repo} at {snapshot.revision} has SHA-256 {sha256}, but the lock file says "
            f"{locked.source_sha256 if locked else 'there is no such file'}: the same revision must not change. "
            "Nothing was installed. Check HF_ENDPOINT; if you trust the new files, delete the lock file and pull again."
        )


def _checked_sums(
    snapshot: Snapshot, chosen: dict[str, RemoteFile], downloads: Path, lock: BundleLock | None
) -> dict[str, str]:
    """SHA-256 by name of what was fetched, in this run or an earlier one; raises WeightsMismatch."""
    sums = {}
    for name, file in chosen.items():
        try:
            hub.check(downloads / name, file)
        except WeightsMismatch:
            (downloads / name).unlink()
            raise
        sums[name] = sha256_of(downloads / name)
        _compare_sum(snapshot, name, sums[name], lock)
    return sums


def _convert(wanted: Wanted, chosen: dict[str, RemoteFile], downloads: Path, new: Path) -> Path:
    """Run the converter in a process of its own: this package never loads torch.

    What it refuses is named by its place in the folder that was brought, not by that of our copy.
    """
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    command = [sys.executable, "-m", wanted.source.converter, str(downloads), str(new)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        shutil.rmtree(new)
        words = result.stderr.strip()[-STDERR_TAIL:]
        if wanted.folder is not None:
            for name, file in chosen.items():
                words = words.replace(str(downloads / name), str(local_weights.place(wanted.folder, file.path)))
        if result.returncode == REFUSED:
            raise WeightsMismatch(f"{words} Nothing was installed.")
        raise ModelError(f"conversion ended with exit code {result.returncode}: {words or 'no message'}")
    return new


def _describe(
    wanted: Wanted, snapshot: Snapshot, chosen: dict[str, RemoteFile], fetched: dict[str, str], new: Path
) -> BundleLock:
    files = {}
    for name, file in chosen.items():
        made = new / _installed_name(name)
        if not made.is_file():
            raise ModelError(f"the conversion of {name} left no {made.name}")
        files[made.name] = LockedFile(made.stat().st_size, sha256_of(made), file.path, fetched[name])
    licence = wanted.source.licence if snapshot.repo == wanted.source.repo else "see the repository"
    return BundleLock(wanted.bundle, snapshot.repo, snapshot.revision, licence, files)


def _installed_name(name: str) -> str:
    path = Path(name)
    return path.stem + CONVERTED if path.suffix == ".pth" else name


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigurationError(
            "converting checkpoints needs torch, which is not installed here. Run this where a renderer runs, install "
            "it (`pip install 'talkinghead[renderer,cli]' torch`), or copy an installed folder from another machine."
        )


def _require_space(root: Path, chosen: dict[str, RemoteFile]) -> None:
    needed = SPACE_FACTOR * sum(file.size_bytes for file in chosen.values())
    free = shutil.disk_usage(root).free
    if free < needed:
        raise WeightsUnavailable(
            f"{root} has {free / 1e6:.0f} MB free, expected {needed / 1e6:.0f} MB for the download and its conversion. "
            "Make room, or set TH_WEIGHTS_DIR elsewhere."
        )


def _swap(new: Path, target: Path) -> None:
    old = _beside(target, "old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _finish_interrupted_swap(target: Path) -> None:
    """A kill between the two renames of a swap left the old folder aside: put it back."""
    old = _beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


@contextmanager
def _storing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsUnavailable(
            f"cannot store weights in {target.parent}: {error.strerror or error}. Make room, or set TH_WEIGHTS_DIR "
            "elsewhere."
        ) from error


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _beside(target, "lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {target.parent} ({error.strerror}); set TH_WEIGHTS_DIR to a folder of yours."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"another pull into {target} is running; wait for it.") from error
        yield
