"""The bounded pipeline of a renderer: upload | compute | download | finish | encode, all at once for different batches.

Frames of the slices that wait are packed into batches, whatever job they belong to. One thread queues a batch's way
through the device (`upload`, `compute`, `download` do not wait for it), a second one waits for the pixels, a pool
compresses them. One semaphore bounds how many batches are between the first stage and the last encoded byte; nothing
else can fill up, so nothing can wait in a circle. Errors belong to the slices whose frames they hit. Knows nothing of
jobs, Redis or any particular renderer.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic

import numpy as np
import structlog
from numpy.typing import NDArray

from services.renderer.interface import AppearanceT, Drawn, FrameBatch, Renderer, SubjectT
from services.renderer.packing import Batch, Order, Part, Slice
from shared import metrics
from shared.error_map import is_device_lost, is_out_of_memory
from shared.errors import ModelError
from shared.protocol import Stage

DEPTH_BATCHES = 4  # one computing, one queued behind it, one on its way back, one being compressed
N_ENCODERS = 1  # 0.7 ms a frame: enough for a thousand frames a second

log = structlog.get_logger(__name__)


class Executor(Generic[AppearanceT, SubjectT]):
    """Draws slices with one renderer; see the module.

    Args:
        renderer: what draws; its stages are called by the threads of this executor only.
        encode: (h, w, 3) uint8 RGB -> bytes; called from several threads.
        depth: batches that may be under way.
        n_encoders: threads that compress.
    """

    def __init__(
        self,
        renderer: Renderer[AppearanceT, SubjectT],
        encode: Callable[[NDArray[np.uint8]], bytes],
        depth: int = DEPTH_BATCHES,
        n_encoders: int = N_ENCODERS,
    ) -> None:
        self._renderer = renderer
        self._encode = encode
        self._depth = depth
        self._limit = renderer.max_batch_frames
        self._room = threading.Semaphore(depth)
        self._waiting: deque[Slice[SubjectT]] = deque()
        self._condition = threading.Condition()
        self._is_closing = False
        self._lost: Exception | None = None
        self._returning: queue.SimpleQueue[tuple[Batch[SubjectT], Any] | None] = queue.SimpleQueue()
        self._encoders = ThreadPoolExecutor(n_encoders, thread_name_prefix="encode")
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("launch", self._launch_all), ("finish", self._finish_all))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, orders: Sequence[Order[SubjectT]]) -> list[Future[list[bytes]]]:
        """Draw slices, frames of neighbours packed together; returns at once.

        Returns:
            Per order its encoded frames in order, as soon as they exist, or the error that hit them. A future that is
            cancelled before its first frame was launched is not drawn.

        Raises:
            RuntimeError: the executor was closed.
        """
        slices = [Slice(order) for order in orders]
        with self._condition:
            if self._is_closing:
                raise RuntimeError("this executor was closed; make another one")
            lost = self._lost
            if lost is None:
                self._waiting += slices
                self._condition.notify()
        if lost is not None:
            for piece in slices:
                piece.fail(lost)
        return [piece.future for piece in slices]

    def close(self) -> None:
        """Draw what was submitted, then end all threads; once more does nothing."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()
        for thread in self._threads:
            thread.join()
        self._encoders.shutdown()

    # --- the launching thread ---

    def _launch_all(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._launch(batch)
        self._returning.put(None)

    def _next_batch(self) -> Batch[SubjectT] | None:
        """The next frames, in the order they were submitted; None when closed and done."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._is_closing)
            return Batch.pack(self._waiting, self._limit) if self._waiting else None

    def _launch(self, batch: Batch[SubjectT]) -> None:
        if not batch.parts:
            return
        self._room.acquire()
        error: Exception | None = None
        try:
            downloaded = self._queue(batch.frames())
        except Exception as caught:  # noqa: BLE001 - whatever it is, it belongs to the futures of these slices
            error = caught
        if error is None:
            self._returning.put((batch, downloaded))
            return
        self._room.release()
        self._recover(batch, error)

    def _queue(self, frames: FrameBatch[SubjectT]) -> Any:
        """Queue a batch's way through the device."""
        metrics.batch_frames.labels(Stage.RENDER.value).observe(len(frames))
        return self._renderer.download(self._renderer.compute(self._renderer.upload(frames)))

    def _recover(self, batch: Batch[SubjectT], error: Exception) -> None:
        """Find out whom an error concerns: smaller batches where memory is short, slices alone where one may be bad."""
        if is_device_lost(error):
            self._give_up(batch, error)
        elif is_out_of_memory(error) and len(batch) > 1:
            error.__traceback__ = None  # it keeps the tensors of the failed try
            self._limit = max(1, len(batch) // 2)
            log.warning("batch.halved", n_frames=len(batch), limit_frames=self._limit, error=str(error))
            self._drain()
            self._launch_each(batch.split(self._limit))
        elif len(batch.parts) > 1:
            log.warning("batch.split", n_slices=len(batch.parts), error=str(error))
            self._launch_each(Batch([part]) for part in batch.parts)
        else:
            batch.fail(error)

    def _launch_each(self, batches: Iterable[Batch[SubjectT]]) -> None:
        for batch in batches:
            self._launch(batch.still_wanted())

    def _drain(self) -> None:
        """Wait until no batch is under way."""
        for _ in range(self._depth):
            self._room.acquire()
        self._room.release(self._depth)

    def _give_up(self, batch: Batch[SubjectT], error: Exception) -> None:
        """The device is gone: nothing that waits can be drawn here."""
        with self._condition:
            self._lost = error
            waiting = list(self._waiting)
            self._waiting.clear()
        log.error("device.lost", error=str(error))
        batch.fail(error)
        for piece in waiting:
            piece.fail(error)

    # --- the finishing thread and the pool ---

    def _finish_all(self) -> None:
        while (returned := self._returning.get()) is not None:
            self._return(*returned)
            del returned  # its tensors

    def _return(self, batch: Batch[SubjectT], downloaded: Any) -> None:
        try:
            drawn = self._finish(batch, downloaded)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the futures of these slices
            batch.fail(error)
            if is_device_lost(error):
                self._give_up(batch, error)
            self._room.release()
            return
        self._deliver(batch, drawn)

    def _finish(self, batch: Batch[SubjectT], downloaded: Any) -> Sequence[Drawn]:
        drawn = self._renderer.finish(downloaded)
        if len(drawn) != len(batch):
            raise ModelError(
                f"a renderer returned {len(drawn)} frames for a batch of {len(batch)}; this is a bug in it"
            )
        return drawn

    def _deliver(self, batch: Batch[SubjectT], drawn: Sequence[Drawn]) -> None:
        """Compress the frames of a batch; the last one makes room for another batch."""
        started = time.perf_counter()
        left = _Countdown(len(drawn), lambda: self._leave(started))
        for part, index, frame in batch.places(drawn):
            if isinstance(frame, np.ndarray):
                self._encoders.submit(self._encode_one, part, index, frame).add_done_callback(left.one_less)
                continue
            if isinstance(frame, ModelError):
                part.slice.fail(frame)
            else:
                part.slice.place(index, frame)
            left.one_less()

    def _encode_one(self, part: Part[SubjectT], index: int, frame: NDArray[np.uint8]) -> None:
        if not part.slice.is_wanted:
            return
        try:
            part.slice.place(index, self._encode(frame))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the future of this slice
            part.slice.fail(error)

    def _leave(self, started: float) -> None:
        metrics.render_step_duration_seconds.labels("encode").observe(time.perf_counter() - started)
        self._room.release()


class _Countdown:
    """Calls ``then`` when ``one_less`` was called ``n`` times, from whatever threads."""

    def __init__(self, n: int, then: Callable[[], None]) -> None:
        self._left = n
        self._then = then
        self._lock = threading.Lock()

    def one_less(self, _: object = None) -> None:
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._then()
