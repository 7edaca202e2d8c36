"""Slices on their way: which frames of which slice make a batch, and what becomes of each slice.

A slice may span batches and a batch may hold several slices. A slice ends once: with all its frames in order, or with
the first error that hit one of them; what comes later is dropped.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from services.renderer.interface import Drawn, FrameBatch, SubjectT
from shared.errors import NonFiniteOutput, ShapeError
from shared.motion import check_rows


@dataclass(frozen=True)
class Order(Generic[SubjectT]):
    """A slice to be drawn.

    Attributes:
        subject: whose portrait.
        motion: (n, 70) float32 rows, one per frame.
        reference: (70,) row that shows the portrait itself, for absolute motion; None when rows are relative.

    Raises:
        ShapeError: no row, or rows of another shape or dtype.
        NonFiniteOutput: NaN or infinity in a row.
    """

    subject: SubjectT
    motion: NDArray[np.float32]
    reference: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = check_rows(self.motion)
        if not len(rows):
            raise ShapeError("a slice without motion rows; expected at least one frame")
        if self.reference is not None:
            rows = np.concatenate([rows, check_rows(self.reference.reshape(1, -1))])
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise NonFiniteOutput(
                f"motion row {bad[0]} of {len(self.motion)} holds NaN or infinity; nothing can be drawn from it"
            )


class Slice(Generic[SubjectT]):
    """An order and what became of it.

    Attributes:
        order: what is to be drawn.
        future: its encoded frames.
        n_launched: frames that went into batches, from the first on; used by the launching thread only.
    """

    def __init__(self, order: Order[SubjectT]) -> None:
        self.order = order
        self.future: Future[list[bytes]] = Future()
        self.n_launched = 0
        self._frames: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._has_ended = False

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.order.motion)

    @property
    def is_wanted(self) -> bool:
        """Nobody has cancelled it and nothing has hit it."""
        return not self.future.done()

    def begin(self) -> bool:
        """Mark it as begun, before its first frame is launched; False when it was cancelled or has failed."""
        if self.n_launched:
            return self.is_wanted
        with self._lock:
            self._has_ended = self._has_ended or not self.future.set_running_or_notify_cancel()
            return not self._has_ended

    def place(self, index: int, frame: bytes) -> None:
        """One frame is there."""
        with self._lock:
            self._frames[index] = frame
            if self._has_ended or len(self._frames) < len(self):
                return
            self._has_ended = True
        self.future.set_result([self._frames[number] for number in range(len(self))])

    def fail(self, error: Exception) -> None:
        """An error hit it; the first one counts."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            is_heard = self.future.running() or self.future.set_running_or_notify_cancel()
        if is_heard:
            self.future.set_exception(error)


@dataclass(frozen=True)
class Part(Generic[SubjectT]):
    """Frames of one slice in one batch.

    Attributes:
        slice: whose.
        start: its first frame here.
        stop: after its last frame here.
    """

    slice: Slice[SubjectT]
    start: int
    stop: int

    def __len__(self) -> int:
        """Number of frames."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch(Generic[SubjectT]):
    """Frames that are computed at once.

    Attributes:
        parts: in order; none of them empty.
    """

    parts: Sequence[Part[SubjectT]]

    @classmethod
    def pack(cls, waiting: deque[Slice[SubjectT]], limit: int) -> "Batch[SubjectT]":
        """Take up to ``limit`` frames from the front; slices that are launched to their end or unwanted leave."""
        parts: list[Part[SubjectT]] = []
        while waiting and limit:
            piece = waiting[0]
            n_taken = min(len(piece) - piece.n_launched, limit) if piece.begin() else 0
            if n_taken:
                parts.append(Part(piece, piece.n_launched, piece.n_launched + n_taken))
                piece.n_launched += n_taken
                limit -= n_taken
            if not n_taken or piece.n_launched == len(piece):
                waiting.popleft()
        return cls(parts)

    def __len__(self) -> int:
        """Number of frames."""
        return sum(len(part) for part in self.parts)

    def frames(self) -> FrameBatch[SubjectT]:
        """What the renderer is given."""
        orders = [(part.slice.order, len(part)) for part in self.parts]
        return FrameBatch(
            subjects=tuple(order.subject for order, n_frames in orders for _ in range(n_frames)),
            motion=np.concatenate([part.slice.order.motion[part.start : part.stop] for part in self.parts]),
            references=tuple(order.reference for order, n_frames in orders for _ in range(n_frames)),
        )

    def places(self, drawn: Sequence[Drawn]) -> Iterator[tuple[Part[SubjectT], int, Drawn]]:
        """Per frame its part, its number in the slice, and what was drawn."""
        frames = iter(drawn)
        for part in self.parts:
            for index in range(part.start, part.stop):
                yield part, index, next(frames)

    def split(self, limit: int) -> "Iterator[Batch[SubjectT]]":
        """The same frames in batches of at most ``limit``, none of them with two slices."""
        for part in self.parts:
            for start in range(part.start, part.stop, limit):
                yield Batch([Part(part.slice, start, min(start + limit, part.stop))])

    def still_wanted(self) -> "Batch[SubjectT]":
        """Without the slices that have ended meanwhile."""
        return Batch([part for part in self.parts if part.slice.is_wanted])

    def fail(self, error: Exception) -> None:
        """An error hit all of it."""
        for part in self.parts:
            part.slice.fail(error)
