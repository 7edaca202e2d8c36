"""The thread that fetches work for one shard, only while the working thread waits for some."""

import threading
import time

import structlog
from redis.exceptions import RedisError

from shared import metrics
from shared.inbox import Inbox
from shared.keeper import Keeper
from shared.streams import Consumer, Entry

BLOCK_S = 1.0
DEMAND_S = 0.5
RECONNECT_S = 0.3
OWN_ENTRIES = 100
log = structlog.get_logger(__name__)


class Reader:
    """Reads new entries and takes over those of dead workers.

    Args:
        consumer: of the shard's streams; its client's socket timeout is above `BLOCK_S`.
        inbox: where entries go.
        keeper: renews them from the moment they were read.
        stop: ends the thread.
        claim_idle_s: silence after which a worker counts as dead.
        max_batch: entries per read and stage.
    """

    def __init__(
        self,
        consumer: Consumer,
        inbox: Inbox,
        keeper: Keeper,
        stop: threading.Event,
        limits: tuple[float, int],
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._keeper = keeper
        self._stop = stop
        self._claim_idle_s, self._max_batch = limits
        self._next_claim = 0.0
        self._was_away = True
        self._thread = threading.Thread(target=self._run, name=f"reader-{consumer.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, at most one blocking read after the stop event."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._inbox.wait_wanted(DEMAND_S) and not self._stop.is_set():
                    self._fetch_safely()
        finally:
            self._inbox.close()

    def _fetch_safely(self) -> None:
        try:
            batches = self._fetch()
        except RedisError as error:
            self._was_away = True
            log.warning("stream.unread", error=str(error))
            self._stop.wait(RECONNECT_S)
            return
        for batch in batches:
            for entry in batch:
                self._keeper.hold(entry)
        self._inbox.put(batches)

    def _fetch(self) -> list[list[Entry]]:
        """Batches of one stage; an entry that was delivered before comes alone, because it may be poison."""
        if self._was_away:
            again = [entry for entry in self._consumer.own_pending(OWN_ENTRIES) if not self._keeper.holds(entry)]
            self._was_away = False
            if again:
                return _alone(again)
        if time.monotonic() >= self._next_claim:
            claimed = self._consumer.claim(self._claim_idle_s)
            if claimed:
                return _alone(claimed)
            self._next_claim = time.monotonic() + self._claim_idle_s / 4
        return self._consumer.read(self._max_batch, min(BLOCK_S, self._claim_idle_s / 4))


def _alone(entries: list[Entry]) -> list[list[Entry]]:
    for entry in entries:
        metrics.deliveries_total.labels(entry.stage).inc()
        log.info("entry.claimed", stream=entry.stream, entry_id=entry.entry_id)
    return [[entry] for entry in entries]
