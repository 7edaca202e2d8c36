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
from shared.exposition import serve_metrics
from shared.refusal import refusals

log = structlog.get_logger(__name__)


@dataclass
class Measure:
    """How a task is going; see `shared.metrics.MESSAGE_OUTCOMES`."""

    outcome: str = "done"


@contextmanager
def measured_task(name: str) -> Iterator[Measure]:
    """Count one run of a task.

    Args:
        name: of the task.

    Yields:
        What the caller tells the outcome to.
    """
    measure = Measure()
    started = time.perf_counter()
    try:
        yield measure
    finally:
        metrics.stage_duration_seconds.labels(name).observe(time.perf_counter() - started)
        metrics.messages_total.labels(name, measure.outcome).inc()


def count_start(task: Task) -> None:
    """Count how long a task waited for its first run, or that it was delivered again after its worker was lost."""
    sent = getattr(task.request, SENT_AT, None)
    if (task.request.delivery_info or {}).get("redelivered"):
        metrics.deliveries_total.labels(task.name).inc()
    elif sent is not None and not task.request.retries:
        metrics.queue_duration_seconds.labels(task.name).observe(max(0.0, time.time() - float(sent)))


def serve_control_metrics(settings: ControlSettings) -> None:
    """Begin to serve this process's metrics, if it has a port for them; ends the process when the port is taken."""
    metrics.announce(TASKS)
    for task in TASKS:
        metrics.control_tasks_sent_total.labels(task)
    # Celery logs any other exception of a signal's receiver than the end of the process, and goes on.
    with refusals("control.refused"):
        serve_metrics(settings.metrics_host, settings.metrics_port)
    if settings.metrics_port and not os.environ.get(metrics.GROUP_VARIABLE):
        log.info("metrics.of_this_process_only", set_for_children=metrics.GROUP_VARIABLE)
