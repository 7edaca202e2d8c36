"""One repository of the Hugging Face hub at one commit: what it holds, and its files, fetched and checked.

huggingface_hub speaks to the hub (HF_ENDPOINT, HF_TOKEN and the usual proxy variables apply). What it downloads to a
folder starts again when the process was killed; handing its `http_get` a file of ours lets a later run go on instead.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get

from shared.errors import ConfigurationError, TalkingHeadError, WeightsMismatch, WeightsUnavailable
from shared.weights import describe_placeholder, sha256_of

DEFAULT_ENDPOINT = "https://huggingface.co"
ANSWER_TIMEOUT_S = 15.0
BY_HAND = "Without the hub: download the files elsewhere and run `talkinghead weights pull BUNDLE --from FOLDER`."
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a snapshot.

    Attributes:
        path: in the repository.
        size_bytes: of the file itself, not of its pointer.
        sha256: as the hub states it; empty for small files outside LFS.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit.

    Attributes:
        repo: OWNER/NAME, or a folder.
        revision: commit; "local" for a folder.
        files: by path.
    """

    repo: str
    revision: str
    files: dict[str, RemoteFile]


def resolve(repo: str, revision: str) -> Snapshot:
    """Ask the hub which commit a revision is, and what it holds.

    Args:
        repo: OWNER/NAME.
        revision: branch, tag or commit.

    Raises:
        ConfigurationError: no such repository or revision, or access is refused.
        WeightsUnavailable: the hub does not answer, or something else answers in its place.
    """
    with _explained(f"{repo} at {revision}"):
        api = HfApi(endpoint=endpoint(), library_name="talkinghead")
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT_S)
        files = [
            RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else "")
            for file in info.siblings or ()
        ]
        if not info.sha:
            raise ValueError("the answer names no commit")
    return Snapshot(repo, info.sha, {file.path: file for file in files})


def fetch(snapshot: Snapshot, file: RemoteFile, target: Path) -> None:
    """Download a file, continuing where an earlier attempt stopped; it appears whole and checked, or not at all.

    Args:
        snapshot: the file's.
        file: what to download.
        target: where to put it; a ``.part`` file beside it holds what has arrived.

    Raises:
        ConfigurationError: access is refused.
        WeightsUnavailable: the download broke off or the disk is full; what has arrived is kept.
        WeightsMismatch: what arrived is not what the hub announced; it is deleted.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.{file.sha256[:16] or snapshot.revision[:16]}.part")
    if part.exists() and part.stat().st_size > file.size_bytes:
        part.unlink()
    url = hf_hub_url(snapshot.repo, file.path, revision=snapshot.revision, endpoint=endpoint())
    token = get_token()
    with _explained(f"{file.path} of {snapshot.repo}"), part.open("ab") as stream:
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=file.size_bytes,
            displayed_filename=target.name,
        )
    try:
        check(part, file)
    except WeightsMismatch:
        part.unlink()
        raise
    part.replace(target)


def check(path: Path, file: RemoteFile) -> None:
    """Compare a file with what was announced.

    Raises:
        WeightsMismatch: it is a placeholder, or its SHA-256 differs.
    """
    placeholder = describe_placeholder(path)
    if placeholder:
        raise WeightsMismatch(f"{file.path} is {placeholder}; expected weights. Nothing was installed.")
    if file.sha256 and (found := sha256_of(path)) != file.sha256:
        raise WeightsMismatch(
            f"{file.path} has SHA-256 {found}, expected {file.sha256}: it was damaged or replaced on its way. "
            "Nothing was installed; pull again, and if this repeats, do not trust that source."
        )


def endpoint() -> str:
    """Base URL of the hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn everything that can go wrong between here and the hub into errors that say what to do."""
    try:
        yield
    except TalkingHeadError:
        raise
    except (HFValidationError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise _refusal(what, error) from error
    except httpx2.HTTPError as error:
        raise WeightsUnavailable(
            f"no answer from {endpoint()} for {what} ({type(error).__name__}: {error}). Check the network, HTTPS_PROXY "
            f"and HF_ENDPOINT, then pull again: what has arrived is kept. {BY_HAND}"
        ) from error
    except OSError as error:
        raise _broken(what, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsUnavailable(
            f"{endpoint()} does not answer like a hub for {what} ({type(error).__name__}: {error}). Check HF_ENDPOINT "
            f"and whether a proxy or login page stands between. {BY_HAND}"
        ) from error


def _refusal(what: str, error: Exception) -> TalkingHeadError:
    first_line = str(error).partition("\n")[0]
    if isinstance(error, HFValidationError):
        return ConfigurationError(f"{what}: {first_line} Expected OWNER/NAME.")
    if isinstance(error, OfflineModeIsEnabled):
        return ConfigurationError(f"{what}: HF_HUB_OFFLINE is set. Unset it. {BY_HAND}")
    if isinstance(error, GatedRepoError):
        return ConfigurationError(
            f"{what}: the owner asks you to accept terms on {endpoint()} first; then set HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError):
        return ConfigurationError(
            f"{what}: {endpoint()} knows no such repository, or shows it only to some. "
            "Check --repo, HF_ENDPOINT and HF_TOKEN."
        )
    if isinstance(error, RevisionNotFoundError):
        return ConfigurationError(f"{what}: no such branch, tag or commit. Check --revision.")
    if isinstance(error, RemoteEntryNotFoundError):
        return ConfigurationError(f"{what}: no such file any more. Check --repo and --revision.")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if status in (401, 403):
        return ConfigurationError(f"{what}: access refused (HTTP {status}). Check HF_TOKEN.")
    return WeightsUnavailable(f"{what}: {endpoint()} answers HTTP {status}; try again later. {BY_HAND}")


def _broken(what: str, error: OSError) -> TalkingHeadError:
    if error.errno in FULL:
        return WeightsUnavailable(
            f"the disk is full while fetching {what}. Make room, or set TH_WEIGHTS_DIR elsewhere."
        )
    reason = (error.strerror or str(error)).partition("\n")[0]
    return WeightsUnavailable(f"{what} could not be fetched: {reason} Pull again: what has arrived is kept.")
