"""How a process refuses to start: one line in its log that says what to do, and exit status 2 without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pydantic import ValidationError

from shared.errors import ConfigurationError, WeightsMismatch
from shared.log import configure_logging
from shared.settings import explain

REFUSED = 2
log = structlog.get_logger(__name__)


@contextmanager
def refusals(event: str) -> Iterator[None]:
    """End the process when the block finds settings that are wrong or weights that do not fit them.

    Args:
        event: what the log calls it, such as ``worker.refused``.

    Raises:
        SystemExit: with status 2, once the reason is in the log.
    """
    try:
        yield
    except (ValidationError, WeightsMismatch, ConfigurationError) as error:
        if not structlog.is_configured():
            configure_logging()  # the settings that say how could not be read
        log.error(event, error=explain(error) if isinstance(error, ValidationError) else error.message)
        raise SystemExit(REFUSED) from error
