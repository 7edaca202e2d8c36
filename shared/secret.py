"""Passwords that come in files, so that they are in no environment, no log and no `docker inspect`."""

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from shared.errors import ConfigurationError


def with_password(url: str, password_file: str) -> str:
    """The URL with the password that the file holds; white space around it is ignored.

    Args:
        url: redis://user@host:port/db, rediss:// or unix://user@/path?db=0; the user may be missing.
        password_file: path of a text file.

    Raises:
        ConfigurationError: the file cannot be read or is empty, or the URL has a password of its own.
    """
    try:
        password = Path(password_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"TH_REDIS_PASSWORD_FILE={password_file} cannot be read: {reason}. Expected a file with the password of "
            "Redis; mount the secret there, or unset the variable when Redis has no password"
        ) from error
    if not password:
        raise ConfigurationError(
            f"TH_REDIS_PASSWORD_FILE={password_file} is empty; write the password of Redis into it, or unset the "
            "variable"
        )
    parts = urlsplit(url)
    user, separator, place = parts.netloc.rpartition("@")
    if ":" in user:
        raise ConfigurationError(
            "TH_REDIS_URL holds a password and TH_REDIS_PASSWORD_FILE is set; take the password out of the URL"
        )
    known_as = user if separator else ""
    return urlunsplit(parts._replace(netloc=f"{known_as}:{quote(password, safe='')}@{place}"))
