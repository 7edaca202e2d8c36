"""A renderer whose frames say what they were made of, and that stops or fails where a test wants it to."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.renderer.interface import Drawn, FrameBatch
from services.renderer.packing import Order
from shared.motion import ROW
from shared.protocol import Output

N_ROWS = 256  # as many can be told apart in a pixel
Hook = Callable[["FakeBatch"], None]


@dataclass(frozen=True)
class FakeSubject:
    """A portrait that is a number."""

    number: int
    frame_shape: tuple[int, int, int] = (1, 1, 3)
    warnings: tuple[str, ...] = ()
    output: Output = "square"

    def to_bytes(self) -> bytes:
        return bytes([self.number])


FakeBatch = FrameBatch[FakeSubject]


@dataclass
class FakeRenderer:
    """Draws frames of one pixel: (subject, row number, 0).

    Attributes:
        on: what happens in a stage, by its name.
        bad: what is drawn instead, by subject and row number.
        batches: subject numbers of every batch that was uploaded.
        finished: the same for batches that were finished.
        threads: which threads ran a stage.
    """

    max_batch_frames: int = 4
    on: dict[str, Hook] = field(default_factory=dict)
    bad: dict[tuple[int, int], Drawn] = field(default_factory=dict)
    batches: list[list[int]] = field(default_factory=list)
    finished: list[list[int]] = field(default_factory=list)
    threads: dict[str, set[int]] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Nothing to run."""

    def prepare(self, portrait: NDArray[np.uint8], output: Output) -> FakeSubject:
        return FakeSubject(int(portrait[0, 0, 0]))

    def load(self, data: bytes) -> FakeSubject:
        return FakeSubject(data[0])

    def build(self, appearance: FakeSubject) -> FakeSubject:
        return appearance

    def upload(self, batch: FakeBatch) -> FakeBatch:
        self.batches.append([subject.number for subject in batch.subjects])
        return self._stage("upload", batch)

    def compute(self, uploaded: FakeBatch) -> FakeBatch:
        return self._stage("compute", uploaded)

    def download(self, computed: FakeBatch) -> FakeBatch:
        return self._stage("download", computed)

    def finish(self, downloaded: FakeBatch) -> Sequence[Drawn]:
        batch = self._stage("finish", downloaded)
        self.finished.append([subject.number for subject in batch.subjects])
        return [self._frame(subject.number, row) for subject, row in zip(batch.subjects, batch.motion, strict=True)]

    def _frame(self, number: int, row: NDArray[np.float32]) -> Drawn:
        shown = int(row[0]) % N_ROWS
        return self.bad.get((number, shown), np.array([[[number, shown, 0]]], np.uint8))

    def _stage(self, name: str, batch: FakeBatch) -> FakeBatch:
        self.threads.setdefault(name, set()).add(threading.get_ident())
        if name in self.on:
            self.on[name](batch)
        return batch


def order(number: int, n_frames: int) -> Order[FakeSubject]:
    """A slice whose rows are numbered."""
    motion = np.zeros((n_frames, ROW), np.float32)
    motion[:, 0] = np.arange(n_frames)
    return Order(FakeSubject(number), motion)


def expected(number: int, n_frames: int) -> list[bytes]:
    """What `encode` makes of the slice."""
    return [bytes([number, row, 0]) for row in range(n_frames)]


def encode(frame: NDArray[np.uint8]) -> bytes:
    """Pixels as they are."""
    return frame.tobytes()
