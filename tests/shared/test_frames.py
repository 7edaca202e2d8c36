"""The ordered reader: as a pure state machine, and fed from a real Redis."""

import asyncio
import random
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadMessage
from shared.frame_reader import Event, FrameReader, Frames, Gap, Idle, Progress, Snapshot, StateChanged
from shared.frames import decode_slice, encode_slice, follow, follow_async
from shared.jobs import JobStore
from shared.protocol import JobState, job_key
from shared.redis_client import connect_async
from shared.scripts import Limits
from shared.timeline import Geometry, slices_of, window_at, window_count
from tests.fakes import submit
from tests.shared.data_plane import Hands

GEOMETRY = Geometry()


def jpeg(frame: int) -> bytes:
    return b"frame %d" % frame


def cuts(n_frames: int) -> list[tuple[int, int]]:
    windows = (window_at(w, n_frames, GEOMETRY) for w in range(window_count(n_frames, GEOMETRY)))
    return [(part.first_frame, part.n_frames) for window in windows for part in slices_of(window)]


class FakeJob:
    """A job whose slices appear and vanish."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self.state = JobState.RUNNING
        self.stored: dict[int, bytes] = {}
        self.muxed = 0
        self.tail = 0

    def draw(self, first: int, n: int) -> None:
        self.stored[first] = encode_slice(first, [jpeg(first + i) for i in range(n)])

    def look(self, reader: FrameReader) -> list[Event]:
        slices = {first: self.stored.get(first) for first in reader.wanted()}
        return reader.advance(
            Snapshot(self.state, self.n_frames, GEOMETRY.hop, self.muxed, self.tail, len(self.stored), slices)
        )

    def look_until_quiet(self, reader: FrameReader) -> list[Event]:
        events: list[Event] = []
        while not reader.is_done:
            wanted = reader.wanted()
            found = self.look(reader)
            events += found
            if not found and reader.wanted() == wanted:
                break
        return events


def frames_in(events: list[Event]) -> list[int]:
    told: list[int] = []
    for event in events:
        if isinstance(event, Frames):
            assert event.jpegs == tuple(jpeg(event.first_frame + i) for i in range(len(event.jpegs)))
            told += range(event.first_frame, event.first_frame + len(event.jpegs))
    return told


@given(n_frames=st.integers(1, 300), after=st.integers(-1, 320), seed=st.integers(0, 2**32), looks=st.integers(1, 4))
def test_frames_come_in_order_whatever_order_they_are_drawn_in(
    n_frames: int, after: int, seed: int, looks: int
) -> None:
    rng = random.Random(seed)
    job, reader = FakeJob(n_frames), FrameReader(after)
    events = job.look_until_quiet(reader)
    todo = cuts(n_frames)
    rng.shuffle(todo)
    for first, n in todo:
        job.draw(first, n)
        if rng.randrange(looks) == 0:
            events += job.look_until_quiet(reader)
    job.muxed, job.state = n_frames, JobState.SUCCEEDED
    events += job.look_until_quiet(reader)
    assert frames_in(events) == list(range(after + 1, n_frames))
    assert events[-1] == StateChanged(JobState.SUCCEEDED)
    assert reader.is_done
    assert not [event for event in events if isinstance(event, Gap)]


def test_a_dropped_range_is_one_gap() -> None:
    job, reader = FakeJob(400), FrameReader()
    for first, n in cuts(400):
        if first >= 130:
            job.draw(first, n)
    job.muxed, job.tail, job.state = 400, 130, JobState.SUCCEEDED
    events = job.look_until_quiet(reader)
    assert [event for event in events if isinstance(event, Gap)] == [Gap(0, 129)]
    assert frames_in(events) == list(range(130, 400))


def test_a_gap_begins_where_the_viewer_stopped() -> None:
    job, reader = FakeJob(400), FrameReader(after=6)
    job.muxed, job.tail = 130, 130
    events = job.look_until_quiet(reader)
    assert events[-1] == Gap(7, 129)
    job.draw(130, 13)
    assert job.look_until_quiet(reader)[-1] == Frames(130, tuple(jpeg(i) for i in range(130, 143)))


def test_muxed_frames_that_are_missing_within_the_tail_are_a_gap() -> None:
    job, reader = FakeJob(65), FrameReader()
    for first, n in cuts(65):
        if first not in (5, 10):
            job.draw(first, n)
    job.muxed, job.state = 65, JobState.SUCCEEDED
    events = job.look_until_quiet(reader)
    assert Gap(5, 14) in events
    assert frames_in(events) == [*range(5), *range(15, 65)]


def test_everything_expired_is_one_gap_to_the_end() -> None:
    job, reader = FakeJob(5000), FrameReader(after=99)
    job.muxed, job.tail, job.state = 5000, 4745, JobState.SUCCEEDED
    events = job.look_until_quiet(reader)
    assert events[-2:] == [Gap(100, 4999), StateChanged(JobState.SUCCEEDED)]


def test_a_canceled_job_ends_after_the_frames_that_were_drawn() -> None:
    job, reader = FakeJob(400), FrameReader()
    job.draw(0, 5)
    job.state = JobState.CANCELED
    events = job.look_until_quiet(reader)
    assert frames_in(events) == list(range(5))
    assert events[-1] == StateChanged(JobState.CANCELED)


def test_a_failed_job_without_a_plan_ends_at_once() -> None:
    reader = FrameReader()
    assert reader.advance(Snapshot(JobState.FAILED)) == [StateChanged(JobState.FAILED)]
    assert reader.is_done


def test_states_and_progress_are_told_once() -> None:
    job, reader = FakeJob(65), FrameReader()
    assert job.look(reader) == [StateChanged(JobState.RUNNING), Progress(0, 0, 65)]
    assert job.look(reader) == []
    job.draw(0, 5)
    assert job.look(reader)[0] == Progress(1, 0, 65)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 10_000))
def test_slices_survive_the_round_trip(jpegs: list[bytes], first: int) -> None:
    assert decode_slice(encode_slice(first, jpegs)) == jpegs


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x81\xa1v\x02", b"\xc0"])
def test_foreign_bytes_are_no_slice(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_slice(data)


@pytest.mark.redis
def test_a_viewer_of_a_job_that_does_not_exist_is_told_so(store: JobStore) -> None:
    assert list(follow(store.client, "0-none")) == [StateChanged(None)]


@pytest.mark.redis
def test_an_idle_viewer_is_told_that_it_is_alive(store: JobStore) -> None:
    job_id = submit(store, "a", 65)
    told = follow(store.client, job_id, idle_s=0.05)
    assert [type(next(told)) for _ in range(3)] == [StateChanged, Progress, Idle]


def in_background(store: JobStore, job_id: str) -> Iterator[threading.Thread]:
    def work() -> None:
        hands = Hands(store)
        while hands.work():
            pass
        store.finish(job_id, JobState.SUCCEEDED)

    thread = threading.Thread(target=work)
    thread.start()
    yield thread
    thread.join()


@pytest.mark.redis
@pytest.mark.parametrize("after", [-1, 3, 70, 199])
async def test_async_viewers_resume_after_the_frame_they_have(redis_url: str, store: JobStore, after: int) -> None:
    job_id = submit(store, "a", 200)
    client = connect_async(redis_url, block_s=1.0)
    running = in_background(store, job_id)
    next(running)
    told: list[int] = []
    states: list[JobState | None] = []
    async for event in follow_async(client, job_id, after, idle_s=0.2):
        if isinstance(event, Frames):
            told += range(event.first_frame, event.first_frame + len(event.jpegs))
        elif isinstance(event, StateChanged):
            states.append(event.state)
    await asyncio.to_thread(next, running, None)
    await client.aclose()
    assert told == list(range(after + 1, 200))
    assert states[-1] is JobState.SUCCEEDED


@pytest.mark.redis
def test_a_late_viewer_gets_one_gap_and_the_tail(store: JobStore) -> None:
    job_id = submit(store, "a", 650)
    hands = Hands(store)
    while hands.work():
        pass
    store.finish(job_id, JobState.SUCCEEDED)
    events = list(follow(store.client, job_id))
    tail = store.get(job_id).tail_frame
    assert [event for event in events if isinstance(event, Gap)] == [Gap(0, tail - 1)]
    told = [event.first_frame for event in events if isinstance(event, Frames)]
    assert told[0] == tail
    store.client.unlink(job_key(job_id, "slice", str(tail)))
    assert Gap(0, told[1] - 1) in list(follow(store.client, job_id))


@pytest.mark.redis
def test_events_are_bounded(redis_url: str) -> None:
    store = JobStore(redis_url, Limits(max_events=20))
    job_id = submit(store, "a", 2_600)
    hands = Hands(store)
    while hands.work():
        pass
    assert int(store.client.xlen(job_key(job_id, "events"))) < 150
    store.client.close()
