"""What Celery processes count: how long tasks wait and take, how they end, and who serves the numbers.

Tasks run in children that the worker forks, so the main process answers scrapes for all of them: the launcher gives the
worker a folder in PROMETHEUS_MULTIPROC_DIR. Beat runs no task; it counts what it sends.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from celery import Task

from gateway.control import SENT_AT, TASKS
from gateway.settings import ControlSettings
from shared import metrics
from shared.errors import ConfigurationError
from shared.exposition import serve_metrics

REFUSED = 2
log = structlog.get_logger(__name__)


@dataclass
class Measure:
    """How a task is going; see `shared.metrics.MESSAGE_OUTCOMES`."""

    outcome: str = "done"


@contextmanager
def measured_task(name: str, sent: float | None = None) -> Iterator[Measure]:
    """Count one run of a task.

    Args:
        name: of the task.
        sent: Unix time in seconds at which it was sent, if its first run is measured.

    Yields:
        What the caller tells the outcome to.
    """
    measure = Measure()
    started = time.perf_counter()
    if sent is not None:
        metrics.queue_duration_seconds.labels(name).observe(max(0.0, time.time() - sent))
    try:
        yield measure
    finally:
        metrics.stage_duration_seconds.labels(name).observe(time.perf_counter() - started)
        metrics.messages_total.labels(name, measure.outcome).inc()


def sent_at(task: Task) -> float | None:
    """When a task was sent, unless this is not its first run."""
    found = getattr(task.request, SENT_AT, None)
    return float(found) if found and not task.request.retries else None


def serve_control_metrics(settings: ControlSettings) -> None:
    """Begin to serve this process's metrics, if it has a port for them; ends the process when the port is taken."""
    metrics.announce(TASKS)
    for task in TASKS:
        metrics.control_tasks_sent_total.labels(task)
    try:
        serve_metrics(settings.metrics_host, settings.metrics_port)
    except ConfigurationError as error:
        log.error("worker.refused", error=error.message)
        # Celery logs any other exception of a signal's receiver and goes on.
        raise SystemExit(REFUSED) from error
    if settings.metrics_port and not os.environ.get(metrics.GROUP_VARIABLE):
        log.info("metrics.of_this_process_only", set_for_children=metrics.GROUP_VARIABLE)
