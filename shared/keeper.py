"""What a live worker repeats in the background: renewing its entries, its heartbeat."""

import threading
import time
from collections.abc import Mapping

import structlog
from redis.exceptions import RedisError

from shared.commits import WorkStore
from shared.protocol import WORKERS, Stage
from shared.streams import Entry

HEARTBEAT_TTL_S = 15
HEARTBEAT_S = 4.0
log = structlog.get_logger(__name__)


class Keeper:
    """A thread that keeps the entries in hand from being claimed, until their deadline.

    Args:
        store: the data plane.
        consumer: consumer name.
        heartbeat: key that says this worker lives.
        streams: shard tag -> stage -> stream.
        interval_s: between two renewals.
    """

    def __init__(
        self,
        store: WorkStore,
        consumer: str,
        heartbeat: str,
        streams: Mapping[str, Mapping[Stage, str]],
        interval_s: float,
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._heartbeat = heartbeat
        self._interval_s = interval_s
        self._shard_of = {stream: shard for shard, stages in streams.items() for stream in stages.values()}
        self._lock = threading.Lock()
        self._held: dict[str, dict[str, None]] = {stream: {} for stream in self._shard_of}
        self._work_left_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._next_heartbeat = 0.0

    def start(self) -> None:
        """Announce the worker and begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing and take the announcement back."""
        self._stop.set()
        self._thread.join()
        try:
            self._store.clients.of(WORKERS).delete(self._heartbeat)
        except RedisError as error:
            log.warning("heartbeat.undeleted", error=str(error))

    def hold(self, entry: Entry) -> None:
        """Renew this entry from now on."""
        with self._lock:
            self._held[entry.stream][entry.entry_id] = None

    def drop(self, entry: Entry) -> None:
        """Renew it no longer."""
        with self._lock:
            self._held[entry.stream].pop(entry.entry_id, None)

    def holds(self, entry: Entry) -> bool:
        """True while the entry is renewed."""
        with self._lock:
            return entry.entry_id in self._held[entry.stream]

    def begin(self, deadline_s: float) -> None:
        """Work begins: when it takes longer than this, nothing is renewed any more and others take over."""
        with self._lock:
            self._work_left_s = deadline_s

    def end(self) -> None:
        """Work ended."""
        with self._lock:
            self._work_left_s = None

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            now = time.monotonic()
            self._spend(now - last)
            last = now
            try:
                self._tick(now)
            except RedisError as error:
                log.warning("keeper.failed", error=str(error))
            if self._stop.wait(self._interval_s):
                return

    def _spend(self, elapsed_s: float) -> None:
        if self._store.waits_for_memory:
            return
        with self._lock:
            if self._work_left_s is not None:
                self._work_left_s -= elapsed_s

    def _tick(self, now: float) -> None:
        with self._lock:
            is_late = self._work_left_s is not None and self._work_left_s < 0
            held = {stream: list(entries) for stream, entries in self._held.items() if entries}
        if is_late:
            log.warning("work.late", n_entries=sum(map(len, held.values())))
            return
        for stream, entry_ids in held.items():
            self._store.renew(stream, self._shard_of[stream], self._consumer, entry_ids)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_S
            self._store.clients.of(WORKERS).set(self._heartbeat, f"{time.time():.3f}", ex=HEARTBEAT_TTL_S)
