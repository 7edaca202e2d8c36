"""The work of the tasks `reconcile` and `expire`: what was lost is done again, what is old is deleted. Knows no Celery.

Redis knows running jobs, the artifacts know every job that must reach an end. `reconcile` compares both through a short
list of marks; only `expire`, which runs seldom, looks through all jobs.
"""

import time
from collections.abc import Callable

import structlog

from gateway.control import INGEST, Control
from gateway.ingest import ControlContext, close_record
from gateway.records import created_at, creation_fields
from shared.errors import ArtifactMissing, BadMessage, JobNotFound
from shared.protocol import JobState, Manifest
from shared.reconcile import Action

EXPIRED_PER_RUN = 500
TOMBSTONE_TTLS = 10
log = structlog.get_logger(__name__)


def reconcile_shard(context: ControlContext, control: Control, shard: str) -> None:
    """Issue lost work of one shard again and send its overdue control tasks."""
    for follow_up in context.jobs.reconcile(shard):
        if follow_up.action is Action.GONE:
            # What is to be done about it, the marks say.
            continue
        log.info("job.overdue", job_id=follow_up.job_id, task=follow_up.action)
        control.send(follow_up.action, follow_up.job_id)


def reconcile_marks(context: ControlContext, control: Control) -> None:
    """Start jobs again that Redis has lost; write down the end of jobs that have ended."""
    for job_id in context.records.unfinished():
        try:
            close_record(context, job_id)
        except JobNotFound:
            _restart(context, control, job_id)


def expire_jobs(context: ControlContext, ttl_s: float, now: Callable[[], float] = time.time) -> int:
    """Delete the files of jobs that ended longer than ``ttl_s`` ago; their end record stays for ten times as long.

    Returns:
        Jobs touched.
    """
    n_touched = 0
    unfinished = set(context.records.unfinished())
    for job_id in context.records.job_ids():
        if n_touched >= EXPIRED_PER_RUN:
            break
        if job_id in unfinished or created_at(job_id) + ttl_s > now():
            continue
        n_touched += _expire(context, job_id, now() - ttl_s, ttl_s)
    return n_touched


def _expire(context: ControlContext, job_id: str, before: float, ttl_s: float) -> bool:
    end = context.records.read_end(job_id)
    if end is None:
        # Uploads of a request that broke off before its job was made.
        context.records.erase(job_id)
        return True
    ended = float(end.get("ended", 0.0))
    if ended > before:
        return False
    if ended + TOMBSTONE_TTLS * ttl_s < before:
        context.records.erase(job_id)
        return True
    return context.records.strip(job_id) > 0


def _restart(context: ControlContext, control: Control, job_id: str) -> None:
    """Create a marked job again from its manifest, unless it has ended."""
    end = context.records.read_end(job_id)
    if end is not None:
        context.records.close(job_id, JobState(end["state"]), {})
        return
    try:
        manifest: Manifest = context.records.read_manifest(job_id)
    except (ArtifactMissing, BadMessage) as error:
        log.warning("job.unreadable", job_id=job_id, error=str(error))
        facts = {"error": {"code": error.code, "message": error.message, "retryable": False}}
        context.records.close(job_id, JobState.FAILED, facts)
        return
    log.warning("job.restarted", job_id=job_id)
    context.jobs.create(job_id, manifest.options, manifest.bundle, creation_fields(manifest))
    control.send(INGEST, job_id)
