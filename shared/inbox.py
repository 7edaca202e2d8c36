"""Hand-over of entries from reader threads to the thread that works, on demand: nobody hoards what others could do."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from shared.streams import Entry


class Inbox:
    """Batches of entries that were read and not yet begun.

    Readers ask Redis only while the working thread waits, so at most one batch per reader lies here.

    Args:
        n_readers: how many readers will call `close`.
    """

    def __init__(self, n_readers: int) -> None:
        self._condition = threading.Condition()
        self._batches: deque[Sequence[Entry]] = deque()
        self._is_wanted = False
        self._n_readers = n_readers

    def close(self) -> None:
        """One reader has ended; after the last one, `get` returns None once everything was handed over."""
        with self._condition:
            self._n_readers -= 1
            self._condition.notify_all()

    def wait_wanted(self, timeout_s: float) -> bool:
        """Wait until the working thread has nothing to do; False after the timeout."""
        with self._condition:
            return self._condition.wait_for(lambda: self._is_wanted and not self._batches, timeout_s)

    def put(self, batches: Iterable[Sequence[Entry]]) -> None:
        """Hand batches over."""
        with self._condition:
            self._batches.extend(batches)
            self._condition.notify_all()

    def get(self) -> Sequence[Entry] | None:
        """Wait for a batch; None when all readers have ended."""
        with self._condition:
            self._is_wanted = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._batches or self._n_readers == 0)
            self._is_wanted = False
            return self._batches.popleft() if self._batches else None
