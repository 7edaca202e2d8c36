"""The pipeline with a renderer that tells what happens to its batches."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.renderer.executor import Executor
from services.renderer.packing import Order
from shared.errors import NonFiniteOutput, ShapeError
from shared.motion import ROW
from tests.polling import eventually
from tests.renderer.fake_renderer import FakeBatch, FakeRenderer, FakeSubject, encode, expected, order

WAIT_S = 10.0
STAGES = ("upload", "compute", "download", "finish")
Fake = Executor[FakeSubject, FakeSubject]


@contextmanager
def executor(
    renderer: FakeRenderer, encoder: Callable[[NDArray[np.uint8]], bytes] = encode, depth: int = 2
) -> Iterator[Fake]:
    """An executor whose threads are gone afterwards, whatever happened."""
    before = set(threading.enumerate())
    made: Fake = Executor(renderer, encoder, depth)
    try:
        yield made
    finally:
        made.close()
    assert set(threading.enumerate()) <= before


class Poison(Exception):
    """What a stage raises."""


class CudaOutOfMemoryError(RuntimeError):
    """Named as torch names it."""


def poisoned_by(number: int, error: Exception) -> Callable[[FakeBatch], None]:
    """Raise where a subject is in the batch."""

    def stage(batch: FakeBatch) -> None:
        if number in {subject.number for subject in batch.subjects}:
            raise error

    return stage


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 11), min_size=1, max_size=8),
    max_batch=st.integers(1, 9),
    depth=st.integers(1, 4),
)
def test_every_slice_gets_its_frames_in_order(lengths: list[int], max_batch: int, depth: int) -> None:
    renderer = FakeRenderer(max_batch)
    with executor(renderer, depth=depth) as pipeline:
        futures = pipeline.submit([order(number, length) for number, length in enumerate(lengths)])
        results = [future.result(WAIT_S) for future in futures]
    assert results == [expected(number, length) for number, length in enumerate(lengths)]
    assert renderer.batches == renderer.finished
    flat = [number for number, length in enumerate(lengths) for _ in range(length)]
    assert renderer.batches == [flat[start : start + max_batch] for start in range(0, len(flat), max_batch)]


def test_slices_of_two_jobs_share_a_batch_with_their_own_references() -> None:
    seen: list[FakeBatch] = []
    renderer = FakeRenderer(8, on={"compute": seen.append})
    reference = np.ones(ROW, np.float32)
    absolute = Order(FakeSubject(2), order(2, 3).motion, reference)
    with executor(renderer) as pipeline:
        first, second = pipeline.submit([order(1, 2), absolute])
        assert (first.result(WAIT_S), second.result(WAIT_S)) == (expected(1, 2), expected(2, 3))
    (batch,) = seen
    assert batch.references == (None, None, reference, reference, reference)
    assert batch.motion[:, 0].tolist() == [0, 1, 0, 1, 2]


def test_the_first_slice_is_delivered_while_the_next_is_computed() -> None:
    go_on = threading.Event()

    def compute(batch: FakeBatch) -> None:
        if batch.subjects[0].number == 2:
            assert go_on.wait(WAIT_S)

    with executor(FakeRenderer(4, on={"compute": compute})) as pipeline:
        first, second = pipeline.submit([order(1, 4), order(2, 4)])
        assert first.result(WAIT_S) == expected(1, 4)
        assert not second.done()
        go_on.set()
        assert second.result(WAIT_S) == expected(2, 4)


def test_only_so_many_batches_are_under_way() -> None:
    depth, n_batches = 3, 10
    encoding, may_encode = threading.Semaphore(0), threading.Semaphore(0)
    encoded: list[bytes] = []
    ahead: list[int] = []

    def slow(frame: NDArray[np.uint8]) -> bytes:
        encoding.release()
        assert may_encode.acquire(timeout=WAIT_S)
        encoded.append(encode(frame))
        return encode(frame)

    renderer = FakeRenderer(1, on={"upload": lambda _: ahead.append(len(renderer.batches) - len(encoded))})
    with executor(renderer, slow, depth) as pipeline:
        (future,) = pipeline.submit([order(1, n_batches)])
        assert encoding.acquire(timeout=WAIT_S)  # the encoder is stuck
        eventually(lambda: len(renderer.finished) == depth, WAIT_S)
        for _ in range(n_batches):
            may_encode.release()
        assert future.result(WAIT_S) == expected(1, n_batches)
    assert max(ahead) == depth


def test_stages_before_the_last_run_in_one_thread_and_the_last_in_another() -> None:
    renderer = FakeRenderer(2)
    with executor(renderer) as pipeline:
        wait(pipeline.submit([order(1, 9), order(2, 9)]), WAIT_S)
    launching = [renderer.threads[name] for name in STAGES[:3]]
    assert launching[0] == launching[1] == launching[2]
    assert len(launching[0]) == len(renderer.threads["finish"]) == 1
    assert launching[0] != renderer.threads["finish"]


@pytest.mark.parametrize("stage", STAGES)
def test_an_error_of_a_stage_hits_its_slice_and_no_later_one(stage: str) -> None:
    renderer = FakeRenderer(4, on={stage: poisoned_by(2, Poison(stage))})
    with executor(renderer) as pipeline:
        good, bad, later = pipeline.submit([order(1, 4), order(2, 8), order(3, 6)])
        with pytest.raises(Poison, match=stage):
            bad.result(WAIT_S)
        assert good.result(WAIT_S) == expected(1, 4)
        assert later.result(WAIT_S) == expected(3, 6)
        (again,) = pipeline.submit([order(4, 3)])
        assert again.result(WAIT_S) == expected(4, 3)


@pytest.mark.parametrize("stage", STAGES[:3])
def test_a_slice_that_cannot_be_launched_does_not_condemn_its_batch(stage: str) -> None:
    renderer = FakeRenderer(8, on={stage: poisoned_by(2, Poison(stage))})
    with executor(renderer) as pipeline:
        good, bad, other = pipeline.submit([order(1, 3), order(2, 2), order(3, 3)])
        assert good.result(WAIT_S) == expected(1, 3)
        assert other.result(WAIT_S) == expected(3, 3)
        with pytest.raises(Poison):
            bad.result(WAIT_S)


def test_a_frame_that_cannot_be_shown_fails_its_slice_alone() -> None:
    renderer = FakeRenderer(8, bad={(2, 1): NonFiniteOutput("frame 1 holds NaN")})
    with executor(renderer) as pipeline:
        good, bad, other = pipeline.submit([order(1, 3), order(2, 2), order(3, 3)])
        assert good.result(WAIT_S) == expected(1, 3)
        assert other.result(WAIT_S) == expected(3, 3)
        with pytest.raises(NonFiniteOutput, match="frame 1"):
            bad.result(WAIT_S)


def test_a_frame_that_the_device_compressed_is_passed_on() -> None:
    renderer = FakeRenderer(8, bad={(1, 1): b"compressed"})
    with executor(renderer) as pipeline:
        (future,) = pipeline.submit([order(1, 3)])
        assert future.result(WAIT_S) == [bytes([1, 0, 0]), b"compressed", bytes([1, 2, 0])]


def test_the_first_error_wins_and_the_rest_of_the_slice_is_not_drawn() -> None:
    renderer = FakeRenderer(1, on={"compute": poisoned_by(1, Poison("first"))})
    with executor(renderer) as pipeline:
        bad, good = pipeline.submit([order(1, 50), order(2, 2)])
        with pytest.raises(Poison, match="first"):
            bad.result(WAIT_S)
        assert good.result(WAIT_S) == expected(2, 2)
    assert renderer.batches == [[1], [2], [2]]


def test_an_encoder_that_fails_hits_its_slice_only() -> None:
    def fail_on_two(frame: NDArray[np.uint8]) -> bytes:
        if frame[0, 0, 0] == 2:
            raise Poison("encoder")
        return encode(frame)

    with executor(FakeRenderer(8), fail_on_two) as pipeline:
        good, bad = pipeline.submit([order(1, 3), order(2, 20)])
        with pytest.raises(Poison):
            bad.result(WAIT_S)
        assert good.result(WAIT_S) == expected(1, 3)


def test_errors_leave_no_room_taken() -> None:
    """More failing batches than may be under way: if one of them kept its room, this would stand still."""
    for stage in STAGES:
        renderer = FakeRenderer(2, on={stage: poisoned_by(1, Poison(stage))})
        with executor(renderer, depth=1) as pipeline:
            futures = pipeline.submit([order(1, 2) for _ in range(7)])
            assert not wait(futures, WAIT_S).not_done
            (good,) = pipeline.submit([order(2, 5)])
            assert good.result(WAIT_S) == expected(2, 5)


def test_a_renderer_that_returns_too_few_frames_is_found_out() -> None:
    class Short(FakeRenderer):
        def finish(self, downloaded: FakeBatch) -> list[NDArray[np.uint8]]:
            return [np.zeros((1, 1, 3), np.uint8)]

    with executor(Short(4)) as pipeline, pytest.raises(Exception, match="1 frames for a batch of 4"):
        pipeline.submit([order(1, 4)])[0].result(WAIT_S)


def test_where_memory_is_short_batches_become_smaller() -> None:
    def three_fit(batch: FakeBatch) -> None:
        if len(batch) > 3:
            raise CudaOutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    renderer = FakeRenderer(8, on={"compute": three_fit})
    with executor(renderer) as pipeline:
        futures = pipeline.submit([order(1, 5), order(2, 9)])
        assert [future.result(WAIT_S) for future in futures] == [expected(1, 5), expected(2, 9)]
        renderer.batches.clear()
        assert pipeline.submit([order(3, 6)])[0].result(WAIT_S) == expected(3, 6)
    assert max(map(len, renderer.batches)) <= 3, "the size that fitted is kept"


def test_one_frame_that_does_not_fit_fails_its_slice() -> None:
    renderer = FakeRenderer(4, on={"compute": poisoned_by(1, CudaOutOfMemoryError("CUDA out of memory"))})
    with executor(renderer) as pipeline:
        bad, good = pipeline.submit([order(1, 6), order(2, 3)])
        with pytest.raises(CudaOutOfMemoryError):
            bad.result(WAIT_S)
        assert good.result(WAIT_S) == expected(2, 3)


@pytest.mark.parametrize("stage", ["compute", "finish"])
def test_a_lost_device_fails_everything_that_waits(stage: str) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    renderer = FakeRenderer(2, on={stage: poisoned_by(1, error)})
    with executor(renderer, depth=1) as pipeline:
        futures = pipeline.submit([order(number, 4) for number in (1, 2, 3, 4, 5)])
        assert not wait(futures, WAIT_S).not_done
        assert futures[0].exception() is error
        (late,) = pipeline.submit([order(6, 1)])
        assert late.exception(WAIT_S) is error


def test_a_slice_that_was_cancelled_in_time_is_not_drawn() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def compute(_: FakeBatch) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    renderer = FakeRenderer(2, on={"compute": compute})
    with executor(renderer) as pipeline:
        running, waiting, last = pipeline.submit([order(1, 2), order(2, 2), order(3, 2)])
        assert begun.wait(WAIT_S)
        assert waiting.cancel()
        assert not running.cancel()
        go_on.set()
        assert running.result(WAIT_S) == expected(1, 2)
        assert last.result(WAIT_S) == expected(3, 2)
        with pytest.raises(CancelledError):
            waiting.result(WAIT_S)
    assert renderer.batches == [[1, 1], [3, 3]]


def test_closing_draws_what_was_submitted() -> None:
    gate = threading.Event()

    def upload(_: FakeBatch) -> None:
        assert gate.wait(WAIT_S)

    renderer = FakeRenderer(2, on={"upload": upload})
    pipeline: Fake = Executor(renderer, encode)
    futures: list[Future[list[bytes]]] = pipeline.submit([order(number, 5) for number in range(4)])
    closing = threading.Thread(target=pipeline.close)
    closing.start()
    gate.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert [future.result(0) for future in futures] == [expected(number, 5) for number in range(4)]
    pipeline.close()
    with pytest.raises(RuntimeError, match="closed"):
        pipeline.submit([order(1, 1)])


def test_closing_at_once_ends_all_threads() -> None:
    with executor(FakeRenderer(2)):
        pass


def test_motion_that_cannot_be_drawn_is_refused_before_it_is_submitted() -> None:
    rows = order(1, 3).motion
    with pytest.raises(ShapeError, match="at least one frame"):
        Order(FakeSubject(1), rows[:0])
    with pytest.raises(ShapeError, match="expected"):
        Order(FakeSubject(1), rows[:, :69])
    with pytest.raises(ShapeError):
        Order(FakeSubject(1), rows, np.zeros(69, np.float32))
    rows[2, 5] = np.nan
    with pytest.raises(NonFiniteOutput, match="row 2 of 3"):
        Order(FakeSubject(1), rows)
