"""A question at start-up: can the artifact store be written?

A full or unreachable store is waited for wherever something is written. A place that can never be written would be
waited for as well, and nobody would know why: asked once before work begins, it ends the process with what to do.
"""

import errno
import os
import uuid

import structlog

from shared.artifacts import ArtifactStore
from shared.errors import ArtifactMissing, ArtifactUnavailable, ConfigurationError

PROBES = "_health"
# What no waiting heals; a full disk (ENOSPC, EDQUOT) and a broken one (EIO) may come back.
FOR_EVER = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT})
log = structlog.get_logger(__name__)


def require_writable(store: ArtifactStore, url: str) -> bool:
    """Write and delete a file of two bytes.

    Args:
        store: the opened store.
        url: TH_ARTIFACTS_URL, for the message.

    Returns:
        True when that went well, False when the store is away or full: that may heal.

    Raises:
        ConfigurationError: it can not be written, now or later.
    """
    try:
        probe(store)
    except (ArtifactUnavailable, ArtifactMissing) as error:
        reason = error.__cause__
        if isinstance(reason, OSError) and reason.errno in FOR_EVER:
            raise ConfigurationError(
                f"TH_ARTIFACTS_URL={url} cannot be written: {reason.strerror or reason}. Expected a folder that user "
                f"{os.getuid()} may write (make it, give it to that user, or mount a volume there), or an fsspec URL"
            ) from error
        log.warning("artifacts.away", place=url, error=error.message)
        return False
    return True


def probe(store: ArtifactStore) -> None:
    """Write and delete a file of two bytes.

    Raises:
        ArtifactUnavailable, ArtifactMissing: it went wrong; the cause says how.
    """
    path = f"{PROBES}/{uuid.uuid4().hex}"
    store.write(path, b"ok")
    store.delete(path)
