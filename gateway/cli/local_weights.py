"""Weights that somebody brought along: a folder in the layout of the repository, or with all files side by side."""

import shutil
from pathlib import Path, PurePosixPath

from gateway.cli.hub import RemoteFile, Snapshot
from shared.errors import ConfigurationError
from shared.weights import sha256_of

REVISION = "local"


def place(folder: Path, path: str) -> Path:
    """Where a file of the repository lies in the folder."""
    nested = folder / path
    return nested if nested.is_file() else folder / PurePosixPath(path).name


def survey(folder: Path, paths: list[str]) -> Snapshot:
    """Look which of the named files a folder holds.

    Args:
        folder: what was brought.
        paths: in the repository.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder; expected the files {', '.join(paths)} in it.")
    files = {}
    for path in paths:
        found = place(folder, path)
        if found.is_file():
            files[path] = RemoteFile(path, found.stat().st_size, sha256_of(found))
    return Snapshot(str(folder.resolve()), REVISION, files)


def copy(snapshot: Snapshot, file: RemoteFile, target: Path) -> None:
    """Copy a file of a surveyed folder."""
    shutil.copyfile(place(Path(snapshot.repo), file.path), target)
