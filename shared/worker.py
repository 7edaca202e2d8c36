"""The loop every stream worker runs: read, work, drain on SIGTERM.

One thread per shard reads (``reader.py``), this one works (``attempt.py``), one renews (``keeper.py``). A handler
computes and commits; everything that can go wrong around it is dealt with here. Knows nothing of what the stages do.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from shared import metrics
from shared.attempt import Attempts, Handler
from shared.commits import WorkStore
from shared.errors import ConfigurationError, WeightsMismatch
from shared.exposition import serve_metrics
from shared.inbox import Inbox
from shared.keeper import Keeper
from shared.log import configure_logging
from shared.protocol import heartbeat_key, stream_key
from shared.reader import BLOCK_S, Reader
from shared.redis_access import await_access
from shared.redis_client import connect
from shared.refusal import REFUSED, refusals
from shared.settings import Settings
from shared.streams import Consumer
from shared.task import Task

__all__ = ["REFUSED", "Handler", "Task", "refusing", "serve"]

DRAINED, BROKEN = 0, 1
LONGEST_RENEWAL_S = 4.0
log = structlog.get_logger(__name__)


def serve(
    handler: Handler, store: WorkStore, settings: Settings, kind: str, stop: threading.Event | None = None
) -> int:
    """Work until SIGTERM or SIGINT, then finish what is in hand.

    Args:
        handler: what to do with a message.
        store: the same that the handler commits to.
        settings: of the process.
        kind: name of the process kind, part of the consumer's name.
        stop: ends the loop like a signal; for callers that are not the main thread.

    Returns:
        Exit status: 0 drained, 1 broken (somebody must start it again), 2 refused to start.
    """
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    log.info("worker.starting", settings=settings.effective())
    try:
        metrics.announce(handler.stages)
        serve_metrics(settings.metrics_host, settings.metrics_port)
        handler.warm_up()
        await_access(settings.redis_url, stop)
    except (WeightsMismatch, ConfigurationError) as error:
        log.error("worker.refused", error=error.message)
        return REFUSED
    return Worker(handler, store, settings, kind, stop).run()


def refusing(main: Callable[[], int]) -> int:
    """Run the main function of a process; a wrong setting ends it with what to do instead of a traceback.

    Returns:
        Its exit status.

    Raises:
        SystemExit: with status 2, it refused to start.
    """
    configure_logging()
    with refusals("worker.refused"):
        return main()


class Worker:
    """The threads and connections of one worker; see `serve`."""

    def __init__(
        self, handler: Handler, store: WorkStore, settings: Settings, kind: str, stop: threading.Event
    ) -> None:
        self._store = store
        self._stop = stop
        self._name = settings.worker_name or f"{kind}-{socket.gethostname()}-{os.getpid()}"
        shards = settings.shard_tags or ("0",)
        streams = {tag: {stage: stream_key(tag, stage, settings.bundle) for stage in handler.stages} for tag in shards}
        self._keeper = Keeper(
            store,
            self._name,
            heartbeat_key(kind, settings.bundle, self._name),
            streams,
            min(settings.claim_idle_s / 3, LONGEST_RENEWAL_S),
        )
        self._inbox = Inbox(len(streams))
        self._attempts = Attempts(handler, store, self._keeper, self._name, stop)
        self._consumers = {
            tag: Consumer(connect(settings.redis_url, BLOCK_S, retries=0, shard=tag), stages, self._name)
            for tag, stages in streams.items()
        }
        limits = (settings.claim_idle_s, handler.max_batch)
        self._readers = [
            Reader(consumer, self._inbox, self._keeper, stop, limits) for consumer in self._consumers.values()
        ]

    def run(self) -> int:
        """Work until stopped or broken; returns the exit status."""
        self._keeper.start()
        for reader in self._readers:
            reader.start()
        log.info("worker.ready", consumer=self._name)
        while not self._attempts.is_broken and (batch := self._inbox.get()) is not None:
            self._attempts.work(batch)
        is_asked = self._stop.is_set() and not self._attempts.is_broken
        self._stop.set()
        for reader in self._readers:
            reader.join()
        self._keeper.stop()
        if not is_asked:
            log.error("worker.broken", consumer=self._name)
            return BROKEN
        self._leave()
        log.info("worker.drained", consumer=self._name)
        return DRAINED

    def _leave(self) -> None:
        """Remove the consumers; entries still pending for them keep them until claimed."""
        try:
            for tag, consumer in self._consumers.items():
                for stream in consumer.streams.values():
                    self._store.leave(stream, tag, self._name)
        except RedisError as error:
            log.warning("worker.left_behind", error=str(error))
        for consumer in self._consumers.values():
            consumer.close()
