"""Working on a batch of entries: take, handle, and what to do when that fails.

A batch that fails is tried again entry by entry, so that one bad message does not condemn the others; an entry that
fails alone is tried again, given up or left to others, by ``shared/error_map.py``.
"""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from shared import metrics
from shared.commits import WorkStore
from shared.error_map import Reaction, reaction_to
from shared.errors import BadMessage, ProtocolError, TalkingHeadError, VersionMismatch
from shared.keeper import Keeper
from shared.protocol import Stage
from shared.redis_client import AWAY
from shared.streams import Entry
from shared.task import Task

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
log = structlog.get_logger(__name__)


class Handler(Protocol):
    """What one worker kind can do.

    Attributes:
        stages: what it takes work of; the first is preferred.
        max_batch: messages per call of `handle`.
        deadline_s: after so long other workers may take the messages over.
    """

    stages: Sequence[Stage]
    max_batch: int
    deadline_s: float

    def warm_up(self) -> None:
        """Load and run everything once; the worker announces itself afterwards."""

    def handle(self, tasks: Sequence[Task]) -> None:
        """Compute and commit tasks of one stage, each as soon as it is done."""


class Attempts:
    """Works on batches with one handler.

    Args:
        handler: computes and commits.
        store: the data plane.
        keeper: renews entries.
        consumer: consumer name.
        stop: ends waiting between two tries.
    """

    def __init__(
        self, handler: Handler, store: WorkStore, keeper: Keeper, consumer: str, stop: threading.Event
    ) -> None:
        self._handler = handler
        self._store = store
        self._keeper = keeper
        self._consumer = consumer
        self._stop = stop
        self._tries: dict[str, int] = {}
        self.is_broken = False

    def work(self, batch: Sequence[Entry]) -> None:
        """Work on a batch; what cannot be decided while Redis is away stays pending and is claimed later.

        Sets `is_broken` when this process cannot go on.
        """
        try:
            self._work(batch)
        except RedisError as error:
            log.warning("work.left", reason="redis", error=str(error))
            self._stop.wait(FIRST_RETRY_S)
        finally:
            for entry in batch:
                self._keeper.drop(entry)
            self._tries.clear()

    def _work(self, batch: Sequence[Entry]) -> None:
        error = self._attempt(batch)
        if error is None:
            return
        if len(batch) == 1:
            self._persist(batch[0], error)
            return
        log.warning("batch.split", n_entries=len(batch), error=str(error))
        for entry in batch:
            error = None if self.is_broken else self._attempt([entry])
            if error is not None:
                self._persist(entry, error)

    def _persist(self, entry: Entry, error: Exception) -> None:
        """Try one entry until it is done, given up or left to others."""
        wait_s = FIRST_RETRY_S
        while self._react(entry, error):
            hint_s = error.retry_after_s if isinstance(error, TalkingHeadError) else None
            if self._stop.wait(min(hint_s or wait_s, LONGEST_RETRY_S)):
                return
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)
            again = self._attempt([entry])
            if again is None:
                return
            error = again

    def _attempt(self, entries: Sequence[Entry]) -> Exception | None:
        """Take entries and handle them once; the error, if there was one."""
        started = time.perf_counter()
        try:
            tasks = [task for entry in entries if (task := self._take(entry)) is not None]
            if not tasks:
                return None
            bound = {"job_id": tasks[0].job_id, "unit": str(tasks[0].unit), "entry_id": tasks[0].entry_id}
            self._keeper.begin(self._handler.deadline_s)
            with structlog.contextvars.bound_contextvars(**(bound if len(tasks) == 1 else {})):
                self._handler.handle(tasks)
                self._count(tasks, time.perf_counter() - started)
        except Exception as error:  # noqa: BLE001 - the one place that maps every error to a reaction
            return error
        finally:
            self._keeper.end()
        return None

    def _take(self, entry: Entry) -> Task | None:
        """The task of an entry, or None when there is nothing to do."""
        try:
            job_id, unit = entry.parse()
        except VersionMismatch as error:
            log.warning("entry.left", entry_id=entry.entry_id, stream=entry.stream, error=error.message)
            self._keeper.drop(entry)
            return None
        except BadMessage as error:
            shard = entry.stream.partition("{")[2].partition("}")[0]
            self._store.bad(entry.stream, shard, entry.entry_id, error.message)
            metrics.dead_letters_total.labels(entry.stage, error.code).inc()
            log.error("entry.undecodable", error=error.message)
            return None
        try:
            task = self._store.take(entry.stream, entry.entry_id, job_id, unit, self._consumer)
        except ProtocolError as error:
            self._give_up(entry, error, Reaction.DEAD)
            return None
        if task is None:
            metrics.messages_total.labels(entry.stage, "dropped").inc()
            return None
        self._tries[entry.entry_id] = task.tries
        if task.tries == 1:
            metrics.queue_duration_seconds.labels(entry.stage).observe(max(0.0, time.time() - entry.queued_at_s))
        return task

    def _react(self, entry: Entry, error: Exception) -> bool:
        """React to the error of one entry; True when it should be tried again here."""
        reaction = reaction_to(error)
        job_id, unit = entry.parse()
        with structlog.contextvars.bound_contextvars(job_id=job_id, unit=str(unit), entry_id=entry.entry_id):
            if reaction in (Reaction.WAIT, Reaction.RETRY) and not self._is_used_up(entry, error):
                outcome = "retried"
                log.warning("work.retried", error=_text(error), exc_info=_trace(error, reaction))
            elif reaction is Reaction.LEAVE:
                outcome = "left"
                log.warning("work.left", reason="version", error=_text(error))
            elif reaction is Reaction.EXIT:
                outcome = "broken"
                self.is_broken = True
                log.error("worker.lost", error=_text(error), exc_info=error)
            else:
                outcome = "failed"
                self._give_up(entry, error, reaction)
        metrics.messages_total.labels(entry.stage, outcome).inc()
        return outcome == "retried"

    def _is_used_up(self, entry: Entry, error: Exception) -> bool:
        """True when the last allowed try failed; a Redis that was away says nothing about the message."""
        return not isinstance(error, AWAY) and self._tries.get(entry.entry_id, 0) >= self._store.limits.max_tries

    def _give_up(self, entry: Entry, error: Exception, reaction: Reaction) -> None:
        job_id, unit = entry.parse()
        dead_letter = "" if reaction is Reaction.FAIL else _text(error)
        log.error("work.failed", error=_text(error), exc_info=_trace(error, reaction))
        if dead_letter:
            metrics.dead_letters_total.labels(entry.stage, getattr(error, "code", "internal")).inc()
        self._store.give_up(entry.stream, entry.entry_id, job_id, unit, (error, dead_letter))

    def _count(self, tasks: Sequence[Task], seconds: float) -> None:
        stage = tasks[0].unit.stage
        metrics.stage_duration_seconds.labels(stage).observe(seconds)
        metrics.messages_total.labels(stage, "done").inc(len(tasks))
        metrics.batch_messages.labels(stage).observe(len(tasks))
        log.info("message.handled", stage=stage.value, n_messages=len(tasks), duration_s=round(seconds, 4))


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _trace(error: Exception, reaction: Reaction) -> Exception | None:
    """A traceback for what nobody expected."""
    return error if reaction is Reaction.RETRY else None
