"""The control plane's Celery application and the one way to send its tasks.

Tasks are short, idempotent and acknowledged late; what is lost here (a message, a worker) is sent again by `reconcile`.
There is no result backend: results are job states.
"""

import time
from typing import Any

import structlog
from celery import Celery
from celery.signals import after_task_publish
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.metrics import control_tasks_sent_total

QUEUE = "control"
INGEST, ASSEMBLE, EXPIRE, RECONCILE = TASKS = "ingest", "assemble", "expire", "reconcile"
SENT_AT = "sent_at"
VISIBILITY_TIMEOUT_S = 60
SOCKET_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 3
log = structlog.get_logger(__name__)


def make_celery(broker_url: str) -> Celery:
    """A configured application, without tasks and without any connection yet."""
    app = Celery("talkinghead", broker=kombu_url(broker_url))
    after_task_publish.connect(_count_sent, dispatch_uid="count_sent")
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # An idle BRPOP must not look like a dead server, so the socket waits longer than any command blocks.
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
        },
        enable_utc=True,
        # In memory: a schedule file would be damaged by a kill.
        beat_scheduler="celery.beat:Scheduler",
    )
    return app


def kombu_url(url: str) -> str:
    """Kombu's spelling of a Redis URL: it names unix sockets differently."""
    scheme, _, rest = url.partition("://")
    if scheme != "unix":
        return url
    path, _, query = rest.partition("?")
    return f"redis+socket://{path}?{query.replace('db=', 'virtual_host=')}".rstrip("?")


class Control:
    """Sends control tasks."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    @classmethod
    def connect(cls, broker_url: str) -> "Control":
        """A sender for the broker at this URL; connects when something is sent."""
        return cls(make_celery(broker_url))

    def send(self, task: str, job_id: str) -> bool:
        """Send a task for a job.

        Returns:
            False when the broker does not answer: `reconcile` sends the task again once the job's lease has passed.
        """
        options: dict[str, Any] = {"args": [job_id], "queue": QUEUE, "retry": False, "ignore_result": True}
        options["headers"] = {SENT_AT: time.time()}
        try:
            self._app.send_task(task, **options)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("task.unsent", task=task, job_id=job_id, error=str(error))
            return False
        return True

    def warm_up(self) -> None:
        """Connect and load the producer, so that the first task is sent as fast as the others."""
        try:
            self._app.finalize()
            self._app.amqp.router.route({}, INGEST)
            self._app.amqp.as_task_v2("nobody", INGEST)
            with self._app.producer_or_acquire() as producer:
                producer.connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)
                producer.channel.queue_declare(QUEUE, durable=True)
        except (OperationalError, RedisError, OSError) as error:
            log.info("broker.away", error=str(error))

    def close(self) -> None:
        """Close the broker connections."""
        self._app.close()


def _count_sent(sender: str | None = None, **_: object) -> None:
    if sender in TASKS:
        control_tasks_sent_total.labels(sender).inc()
