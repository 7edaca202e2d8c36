"""Repair of one shard: what a killed process, a lost entry or a restored Redis left half done.

The rules are in ``lua/reconcile.lua``; this walks the jobs and streams. What needs the artifact store or the control
queue is returned, not done.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from shared.protocol import GROUP, JobState, prefix
from shared.scripts import Scripts

OLDEST_JOBS = 200
SWEEP_ENTRIES = 1000
CONSUMER_IDLE_S = 120.0
NOT_STREAMS_OF_WORK = ("dead",)
log = structlog.get_logger(__name__)


class Action(StrEnum):
    """What the control plane must do about a job.

    "ingest", "assemble": send that task (again). "gone": Redis knows the job no longer; with an end record in the
    artifacts it expired and its files may go, without one it was lost and must be created again from its manifest.
    """

    INGEST = "ingest"
    ASSEMBLE = "assemble"
    GONE = "gone"


@dataclass(frozen=True)
class FollowUp:
    """One thing left to do after a repair."""

    action: Action
    job_id: str


def reconcile_shard(client: "Redis", run: Scripts, shard: str, lease_s: float) -> list[FollowUp]:
    """Repair every unfinished job, sweep the streams, forget expired jobs and dead consumers.

    Args:
        client: replies as bytes.
        run: the scripts.
        shard: tag.
        lease_s: seconds before a control task is asked for again.
    """
    plain: Any = client
    start = prefix(shard)
    oldest = plain.zrange(f"{start}jobs", 0, OLDEST_JOBS - 1)
    unfinished = plain.sunion(f"{start}open", f"{start}running")
    follow_ups = []
    for name in sorted({*unfinished, *_not_ended(plain, start, oldest)}):
        action = run("reconcile", shard, name, lease_s).decode()
        if action:
            follow_ups.append(FollowUp(Action(action), name.decode()))
        if action == Action.GONE:
            plain.zrem(f"{start}jobs", name)
    _tidy_streams(plain, run, shard)
    return follow_ups


def _not_ended(plain: Any, start: str, names: list[bytes]) -> list[bytes]:
    """Jobs without a hash, and unfinished ones, whatever the sets say."""
    pipe = plain.pipeline(transaction=False)
    for name in names:
        pipe.hget(f"{start}job:{name.decode()}", "state")
    states = zip(names, pipe.execute(), strict=True)
    return [name for name, state in states if state is None or not JobState(state.decode()).is_final]


def _tidy_streams(plain: Any, run: Scripts, shard: str) -> None:
    start = prefix(shard)
    for key in plain.scan_iter(f"{start}*", count=1000, _type="stream"):
        stream = key.decode()
        if stream.startswith(f"{start}job:") or stream.removeprefix(start) in NOT_STREAMS_OF_WORK:
            continue
        try:
            consumers = plain.xinfo_consumers(stream, GROUP)
        except ResponseError:
            continue
        swept = run("sweep", shard, SWEEP_ENTRIES, key=stream)
        if swept:
            log.info("stream.swept", stream=stream, n_entries=swept)
        for consumer in consumers:
            if consumer["pending"] == 0 and consumer["idle"] > CONSUMER_IDLE_S * 1000:
                run("leave", shard, consumer["name"], key=stream)
