"""START HERE: the control tasks. ``celery -A gateway.tasks worker`` runs them, ``... beat`` sends the periodic ones.

Every task is short and may run twice. What an error means is decided in one place: the caller's fault and broken models
end the job, a dependency that is away is tried again, and whatever is lost on the way `reconcile` sends again.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, Task
from celery.signals import beat_init, worker_init, worker_process_init, worker_ready, worker_shutting_down
from redis.exceptions import RedisError

from gateway.control import ASSEMBLE, EXPIRE, INGEST, RECONCILE, Control, make_celery
from gateway.control_metrics import count_start, measured_task, serve_control_metrics
from gateway.ingest import ControlContext, assemble_job, close_record, ingest_job
from gateway.records import Records
from gateway.settings import ControlSettings
from gateway.upkeep import expire_jobs, reconcile_marks, reconcile_shard
from shared.artifact_access import require_writable
from shared.artifacts import open_store
from shared.errors import DependencyError, JobNotFound, StateError, TalkingHeadError
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.protocol import WORKERS, JobState, heartbeat_key
from shared.redis_access import require_access
from shared.redis_client import connect
from shared.refusal import refusals

KIND = "control"
MAX_RETRIES = 2
HEARTBEAT_EVERY_S = 5
HEARTBEAT_TTL_S = 15
log = structlog.get_logger(__name__)


def make_app(settings: ControlSettings) -> Celery:
    """The Celery application with its tasks and its schedule."""
    celery = make_celery(settings.broker_url)
    celery.conf.beat_schedule = {
        # Runs that could not be taken in time are dropped: the next one does the same.
        RECONCILE: _periodic(RECONCILE, settings.control_reconcile_s),
        EXPIRE: _periodic(EXPIRE, settings.control_expire_s),
    }
    for name, function in ((INGEST, ingest), (ASSEMBLE, assemble)):
        celery.task(name=name, bind=True, max_retries=MAX_RETRIES)(function)
    for name, periodic in ((RECONCILE, reconcile), (EXPIRE, expire)):
        celery.task(name=name, ignore_result=True)(periodic)
    return celery


def ingest(task: Task, job_id: str) -> None:
    """Decode, measure and plan one job."""
    _on_job(task, job_id, ingest_job)


def assemble(task: Task, job_id: str) -> None:
    """Make the video of one job."""
    _on_job(task, job_id, assemble_job)


def reconcile() -> None:
    """Find what was lost and issue it again."""
    _periodically(RECONCILE, _reconcile)


def expire() -> None:
    """Delete the files of old jobs."""
    _periodically(EXPIRE, _expire)


def _reconcile() -> None:
    context, control = _context(), _control()
    for shard in _settings().shard_tags:
        reconcile_shard(context, control, shard)
    reconcile_marks(context, control)


def _expire() -> None:
    n_jobs = expire_jobs(_context(), _settings().job_ttl_s)
    if n_jobs:
        log.info("jobs.expired", n_jobs=n_jobs)


def _periodically(name: str, work: Callable[[], None]) -> None:
    with measured_task(name) as measure:
        try:
            work()
        except (DependencyError, RedisError) as error:
            measure.outcome = "left"
            log.warning(f"{name}.postponed", error=str(error))


def _on_job(task: Task, job_id: str, work: Callable[[ControlContext, str], None]) -> None:
    """Run ``work`` on a job and turn its error into what happens next."""
    context = _context()
    bound = structlog.contextvars.bound_contextvars(job_id=job_id, task=task.name)
    count_start(task)
    with bound, measured_task(task.name) as measure:
        try:
            work(context, job_id)
        except (DependencyError, RedisError) as error:
            measure.outcome = "retried" if task.request.retries < MAX_RETRIES else "left"
            _retry(task, error)
        except StateError as error:
            # The job was cancelled, deleted or moved on meanwhile; only a file that is gone is a failure.
            measure.outcome = "dropped"
            log.info("task.dropped", error=str(error))
            _fail_unfinished(context, job_id, error)
        except TalkingHeadError as error:
            measure.outcome = "failed"
            log.warning("job.refused", code=error.code, error=error.message)
            _fail_unfinished(context, job_id, error)
        except Exception as error:
            measure.outcome = "failed"
            log.error("task.failed", error=repr(error), exc_info=error)
            _fail_unfinished(context, job_id, TalkingHeadError(f"{task.name} failed unexpectedly: {error!r}"))


def _retry(task: Task, error: Exception) -> None:
    """Try again soon; after that leave it to `reconcile`, so that a long outage does not pile tasks up."""
    if task.request.retries >= MAX_RETRIES:
        log.warning("task.left", error=str(error))
        return
    delay_s = 2**task.request.retries
    log.warning("task.retried", error=str(error), delay_s=delay_s)
    raise task.retry(exc=error, countdown=delay_s) from error


def _fail_unfinished(context: ControlContext, job_id: str, error: TalkingHeadError) -> None:
    try:
        context.jobs.finish(job_id, JobState.FAILED, error)
        close_record(context, job_id)
    except JobNotFound:
        log.info("job.gone", job_id=job_id)


def _periodic(task: str, every_s: float) -> dict[str, Any]:
    return {"task": task, "schedule": every_s, "options": {"expires": every_s}}


@functools.cache
def _settings() -> ControlSettings:
    return ControlSettings()


def _context() -> ControlContext:
    """Connections of this process; a forked child makes its own."""
    return _opened(os.getpid())


@functools.cache
def _opened(_pid: int) -> ControlContext:
    settings = _settings()
    artifacts = open_store(settings.artifacts_url)
    return ControlContext(
        jobs=JobStore.from_settings(settings),
        artifacts=artifacts,
        records=Records(artifacts),
        max_audio_s=settings.gateway_max_audio_s,
        max_tries=settings.max_tries,
        bundle_file=settings.bundle_file,
    )


def _control() -> Control:
    return Control(app)


def _warm_up(**_: object) -> None:
    """Connect before the first task of a child."""
    settings = _settings()
    configure_logging(settings.log_level, settings.log_format, kind=KIND)
    _context()


def _announce(**_: object) -> None:
    """Tell that this worker takes tasks, as the stream workers do, and serve what its children count."""
    serve_control_metrics(_settings())
    threading.Thread(target=_beat_heart, args=(_leaving,), name="heartbeat", daemon=True).start()


def _require_access(**_: object) -> None:
    """End before Celery tries for ever: it takes a refused password for a broker that is away."""
    settings = _settings()
    with refusals("control.refused"):
        for url in dict.fromkeys((settings.broker_url, settings.redis_url)):
            require_access(url)


def _require_store(**_: object) -> None:
    """End before jobs come whose files could never be written."""
    settings = _settings()
    with refusals("control.refused"):
        require_writable(open_store(settings.artifacts_url), settings.artifacts_url)


def _announce_clock(**_: object) -> None:
    """Beat runs no task and has no heartbeat: what it sends is its sign of life."""
    settings = _settings()
    configure_logging(settings.log_level, settings.log_format, kind="beat")
    serve_control_metrics(settings)


def _withdraw(**_: object) -> None:
    _leaving.set()


def _beat_heart(leaving: threading.Event) -> None:
    settings = _settings()
    name = settings.worker_name or f"{KIND}-{os.uname().nodename}-{os.getpid()}"
    key = heartbeat_key(KIND, settings.bundle, name)
    redis = connect(settings.redis_url, retries=0, answer_timeout_s=HEARTBEAT_EVERY_S, shard=WORKERS)
    while True:
        try:
            redis.set(key, b"", ex=HEARTBEAT_TTL_S)
            if leaving.wait(HEARTBEAT_EVERY_S):
                redis.delete(key)
                return
        except RedisError as error:
            log.warning("heartbeat.missed", error=str(error))
            leaving.wait(1)


_leaving = threading.Event()
worker_init.connect(_require_access)
worker_init.connect(_require_store)
worker_process_init.connect(_warm_up)
worker_ready.connect(_announce)
worker_shutting_down.connect(_withdraw)
beat_init.connect(_require_access)
beat_init.connect(_announce_clock)
# Celery finds the application under this name; it connects to nothing until it is run.
with refusals("control.refused"):
    app = make_app(_settings())
