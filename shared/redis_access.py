"""A question at start-up: does Redis let us in?

To a client that retries, a refused password looks like a server that is away. Asked once before work begins, it ends
the process with what to do instead.
"""

import threading
from urllib.parse import urlsplit

import structlog
from redis.exceptions import AuthenticationError

from shared.errors import ConfigurationError
from shared.redis_client import AWAY, connect

ASK_AGAIN_S = 1.0
log = structlog.get_logger(__name__)


def require_access(url: str) -> bool:
    """Ask Redis once whether it lets us in.

    Returns:
        True when it answered, False when it is away: that may heal.

    Raises:
        ConfigurationError: it refuses user or password.
    """
    with connect(url, retries=0) as client:
        try:
            client.ping()
        except AuthenticationError as error:
            raise ConfigurationError(
                f"Redis at {_place(url)} refuses us: {str(error).rstrip('.')}. Check the user in TH_REDIS_URL and the "
                "password in TH_REDIS_PASSWORD_FILE"
            ) from error
        except AWAY as error:
            log.warning("redis.away", place=_place(url), error=str(error))
            return False
    return True


def await_access(url: str, stop: threading.Event) -> None:
    """Ask until Redis answers or we are to stop.

    Raises:
        ConfigurationError: it refuses user or password.
    """
    while not require_access(url) and not stop.wait(ASK_AGAIN_S):
        pass


def _place(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + (parts.path if parts.scheme == "unix" else "")
