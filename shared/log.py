"""Logging: structlog to standard output, JSON unless a terminal reads it.

Events are constant ``noun.verb`` strings, facts are keywords with unit suffixes. Never log audio, images or secrets.
"""

import logging
import sys

import structlog


def configure_logging(level: str = "info", log_format: str = "auto", **bound: object) -> None:
    """Set up logging of this process.

    Args:
        level: debug, info, warning or error.
        log_format: "json", "console" or "auto" (console when standard output is a terminal).
        bound: facts added to every line, such as ``kind="renderer"``.
    """
    numeric = getattr(logging, level.upper(), logging.INFO)
    as_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            # Without local variables: they hold audio and images.
            exception_formatter=structlog.dev.plain_traceback
        )
    )
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        chain.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(**bound)
    logging.basicConfig(level=numeric, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s %(message)s")
