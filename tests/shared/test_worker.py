"""The worker loop: every error class reaches its action, batches are split, SIGTERM drains, silence does not kill."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis

from shared.error_map import Reaction, reaction_to
from shared.errors import (
    ArtifactUnavailable,
    BadMessage,
    NoFaceFound,
    NonFiniteOutput,
    PortraitNotReady,
    QueueFull,
    RedisUnavailable,
    ShapeError,
    VersionMismatch,
    WeightsMismatch,
)
from shared.jobs import JobStore
from shared.protocol import VERSION, JobState, Stage, heartbeat_key, stream_key
from shared.redis_client import AWAY
from shared.settings import Settings
from shared.worker import Task, serve
from tests.fakes import Crew, FakeHandler, submit
from tests.polling import eventually
from tests.shared.data_plane import Hands, dead_letters, pending, turns

pytestmark = pytest.mark.redis


class Scripted(FakeHandler):
    """A fake worker that runs something before each batch.

    Args:
        kind: see `FakeHandler`.
        store: where it commits.
        before: called with the tasks of a batch; may raise.
    """

    def __init__(self, kind: str, store: JobStore, before: Callable[[Sequence[Task]], object]) -> None:
        super().__init__(kind, store, Path("unused"))
        self.before = before
        self.batches: list[list[str]] = []

    def handle(self, tasks: Sequence[Task]) -> None:
        self.batches.append([f"{task.job_id}/{task.unit}" for task in tasks])
        self.before(tasks)
        super().handle(tasks)


class Running:
    """A worker in a thread."""

    def __init__(self, handler: FakeHandler, url: str, kind: str = "scripted", **environment: object) -> None:
        self.stop = threading.Event()
        self.status: int | None = None
        settings = Settings.model_validate({"redis_url": url, "claim_idle_s": 2.0, "worker_name": kind, **environment})
        self._thread = threading.Thread(target=self._run, args=(handler, settings, kind))
        self._thread.start()

    def _run(self, handler: FakeHandler, settings: Settings, kind: str) -> None:
        self.status = serve(handler, handler.store, settings, kind, self.stop)

    def join(self) -> int | None:
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        return self.status

    def drain(self) -> int | None:
        self.stop.set()
        return self.join()


@contextlib.contextmanager
def running(handler: FakeHandler, url: str, claim_idle_s: float = 2.0) -> Iterator[Running]:
    worker = Running(handler, url, claim_idle_s=claim_idle_s)
    try:
        yield worker
    finally:
        worker.drain()


class Raising:
    """Raises an error for the first ``n`` batches."""

    def __init__(self, error: Exception, n: int = 1_000) -> None:
        self.error = error
        self.left = n

    def __call__(self, tasks: Sequence[Task]) -> None:
        if self.left > 0:
            self.left -= 1
            raise self.error


class CudaLikeError(RuntimeError):
    """What torch raises: only its text tells."""


@pytest.mark.parametrize(
    ("error", "reaction"),
    [
        (NoFaceFound("none"), Reaction.FAIL),
        (NonFiniteOutput("nan"), Reaction.FAIL),
        (BadMessage("bytes"), Reaction.DEAD),
        (ShapeError("shape"), Reaction.DEAD),
        (VersionMismatch("newer"), Reaction.LEAVE),
        (WeightsMismatch("other"), Reaction.EXIT),
        (CudaLikeError("CUDA error: an illegal memory access was encountered"), Reaction.EXIT),
        (CudaLikeError("CUDA out of memory. Tried to allocate"), Reaction.RETRY),
        (RedisUnavailable("away"), Reaction.WAIT),
        (ArtifactUnavailable("full"), Reaction.WAIT),
        (QueueFull("full"), Reaction.WAIT),
        (PortraitNotReady("soon"), Reaction.WAIT),
        (AWAY[0]("refused"), Reaction.WAIT),
        (AWAY[1]("slow"), Reaction.WAIT),
        (ZeroDivisionError(), Reaction.RETRY),
        (MemoryError(), Reaction.RETRY),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_class_has_a_reaction(error: Exception, reaction: Reaction) -> None:
    assert reaction_to(error) is reaction


def failed(store: JobStore, job_id: str) -> dict[str, object]:
    eventually(lambda: store.get(job_id).state is JobState.FAILED, 15.0, "a failed job")
    error = store.get(job_id).error
    assert error is not None
    return error


def test_a_bad_portrait_fails_its_job_and_spares_the_worker(redis_url: str, store: JobStore) -> None:
    bad, good = submit(store, "bad", 5), submit(store, "good", 5)

    def before(tasks: Sequence[Task]) -> None:
        if tasks[0].job_id == bad:
            raise NoFaceFound("the portrait shows no face")

    with running(Scripted("renderer", store, before), redis_url):
        assert failed(store, bad)["code"] == "no_face_found"
        eventually(lambda: "portrait" not in turns(store.client, good))
    assert dead_letters(store.client) == []


def test_protocol_errors_become_dead_letters(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    with running(Scripted("encoder", store, Raising(ShapeError("odd tensor"))), redis_url):
        assert failed(store, job_id)["code"] == "shape"
    assert [letter[b"reason"] for letter in dead_letters(store.client)] == [b"ShapeError: odd tensor"]


def test_a_damaged_payload_becomes_a_dead_letter(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    Hands(store).work(Stage.ENCODE, Stage.PORTRAIT)
    store.client.hset(f"th:{{0}}:job:{job_id}:features", "0", b"\xc1")
    with running(Scripted("motion", store, lambda tasks: None), redis_url):
        assert failed(store, job_id)["code"] == "bad_message"
    assert len(dead_letters(store.client)) == 1


def test_undecodable_entries_become_dead_letters_and_newer_versions_stay(redis_url: str, store: JobStore) -> None:
    stream = stream_key("0", Stage.ENCODE, "embedded")
    store.client.xadd(stream, {"what": "ever"})
    newer = store.client.xadd(stream, {"v": str(VERSION + 1), "things": "unknown"})
    with running(Scripted("encoder", store, lambda tasks: None), redis_url):
        eventually(lambda: len(dead_letters(store.client)) == 1)
        eventually(lambda: [entry.encode() for entry in pending(store.client, Stage.ENCODE)] == [newer])


def test_an_unexpected_error_is_tried_again_and_then_given_up(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    handler = Scripted("encoder", store, Raising(ZeroDivisionError("by zero")))
    with running(handler, redis_url):
        error = failed(store, job_id)
    assert (error["code"], error["message"]) == ("internal", "by zero")
    assert len(handler.batches) == 5
    assert len(dead_letters(store.client)) == 1


def test_an_error_that_passes_is_tried_again_in_place(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    with running(Scripted("encoder", store, Raising(ArtifactUnavailable("full", retry_after_s=0.05), 3)), redis_url):
        eventually(lambda: "encode:0" not in turns(store.client, job_id))
    assert store.get(job_id).state is JobState.RUNNING


def test_one_bad_message_does_not_condemn_its_batch(redis_url: str, store: JobStore) -> None:
    jobs = [submit(store, f"job{i}", 5, created=float(i)) for i in range(3)]
    Hands(store).work(Stage.ENCODE, Stage.PORTRAIT)

    def before(tasks: Sequence[Task]) -> None:
        if any(task.job_id == jobs[1] for task in tasks):
            raise NonFiniteOutput("NaN in the motion")

    handler = Scripted("motion", store, before)
    with running(handler, redis_url):
        assert failed(store, jobs[1])["code"] == "non_finite_output"
        eventually(lambda: not any("motion:0" in turns(store.client, job) for job in jobs))
    assert [len(batch) for batch in handler.batches] == [3, 1, 1, 1]
    assert {store.get(job).state for job in (jobs[0], jobs[2])} == {JobState.RUNNING}


def test_redelivered_entries_are_handled_alone(redis_url: str, store: JobStore) -> None:
    for i in range(3):
        submit(store, f"job{i}", 5, created=float(i))
    Hands(store).work(Stage.ENCODE, Stage.PORTRAIT)
    Hands(store, "dead").read(Stage.MOTION)
    handler = Scripted("motion", store, lambda tasks: None)
    with running(handler, redis_url, claim_idle_s=0.2):
        eventually(lambda: len(handler.batches) == 3)
        assert [len(batch) for batch in handler.batches] == [1, 1, 1]


def test_a_lost_device_ends_the_process_and_leaves_the_entry(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    worker = Running(Scripted("encoder", store, Raising(CudaLikeError("CUDA error: unspecified"))), redis_url)
    assert worker.join() == 1
    assert len(pending(store.client, Stage.ENCODE)) == 1
    assert store.get(job_id).state is JobState.RUNNING
    assert store.live_workers() == []


def test_wrong_weights_refuse_to_start(redis_url: str, store: JobStore) -> None:
    class Refusing(FakeHandler):
        def warm_up(self) -> None:
            raise WeightsMismatch("feature size 193, expected 769")

    settings = Settings.model_validate({"redis_url": redis_url})
    assert serve(Refusing("encoder", store, Path("unused")), store, settings, "encoder", threading.Event()) == 2
    assert store.live_workers() == []


def test_draining_finishes_and_commits_what_is_in_hand(redis_url: str, store: JobStore) -> None:
    first, second = submit(store, "first", 5, created=1.0), submit(store, "second", 5, created=2.0)
    begun, go_on = threading.Event(), threading.Event()

    def before(tasks: Sequence[Task]) -> None:
        begun.set()
        assert go_on.wait(10.0)

    worker = Running(Scripted("encoder", store, before), redis_url)
    assert begun.wait(10.0)
    worker.stop.set()
    go_on.set()
    assert worker.join() == 0
    assert "encode:0" not in turns(store.client, first)
    assert "encode:0" in turns(store.client, second)
    assert pending(store.client, Stage.ENCODE) == []
    consumers = store.client.xinfo_consumers(stream_key("0", Stage.ENCODE, "embedded"), "workers")
    assert consumers == []
    assert store.live_workers() == []


def test_a_worker_announces_itself(redis_url: str, store: JobStore) -> None:
    with running(FakeHandler("encoder", store, Path("unused")), redis_url):
        eventually(lambda: store.live_workers() == [("scripted", "embedded", "scripted")])
        key = heartbeat_key("scripted", "embedded", "scripted")
        assert 0 < int(store.client.ttl(key)) <= 15


def test_a_worker_takes_no_more_than_a_batch(redis_url: str, store: JobStore) -> None:
    for i in range(4):
        submit(store, f"job{i}", 5, created=float(i))
    begun, go_on = threading.Event(), threading.Event()

    def before(tasks: Sequence[Task]) -> None:
        begun.set()
        assert go_on.wait(10.0)

    with running(Scripted("encoder", store, before), redis_url):
        assert begun.wait(10.0)
        assert len(pending(store.client, Stage.ENCODE)) == 1
        go_on.set()
        eventually(lambda: pending(store.client, Stage.ENCODE) == [])


def test_slow_work_is_renewed_and_not_claimed(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    begun = threading.Event()

    def before(tasks: Sequence[Task]) -> None:
        begun.set()
        time.sleep(1.5)

    with running(Scripted("encoder", store, before), redis_url, claim_idle_s=0.4):
        assert begun.wait(10.0)
        heir = Hands(store, "heir").consumers[Stage.ENCODE]
        while "encode:0" in turns(store.client, job_id):
            assert heir.claim(0.4) == []


def test_work_beyond_its_deadline_is_claimed_by_others_and_committed_once(redis_url: str, store: JobStore) -> None:
    job_id = submit(store, "a", 5)
    begun, go_on = threading.Event(), threading.Event()

    def before(tasks: Sequence[Task]) -> None:
        begun.set()
        assert go_on.wait(10.0)

    handler = Scripted("encoder", store, before)
    handler.deadline_s = 0.3
    with running(handler, redis_url, claim_idle_s=0.3):
        assert begun.wait(10.0)
        hands = Hands(store, "heir")
        (entry,) = eventually(lambda: hands.consumers[Stage.ENCODE].claim(0.3), 10.0, "a claim")
        task = hands.take(entry)
        assert task is not None
        hands.commit(task)
        go_on.set()
    assert store.get(job_id).state is JobState.RUNNING
    assert turns(store.client, job_id).keys() == {"portrait"}


def test_a_full_redis_holds_work_up_and_loses_nothing(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    blocker = submit(store, "old", 650, created=1.0)
    while Hands(store).work():
        pass
    assert store.get(blocker).tail_frame < 650
    job_id = submit(store, "new", 130, created=2.0)
    used = int(store.client.info("memory")["used_memory"])
    store.client.config_set("maxmemory", used - 200_000)
    store.client.config_set("maxmemory-policy", "noeviction")
    with Crew(redis_url, tmp_path):
        eventually(lambda: store.get(blocker).tail_frame == 650, 20.0, "the viewer tail to be dropped")
        store.client.config_set("maxmemory", used + 50_000_000)
        eventually(lambda: store.get(job_id).state is JobState.FINALIZING, 30.0)
    assert store.get(job_id).muxed_frames == 130


@pytest.mark.slow
def test_an_idle_worker_outlives_its_socket_timeout(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    """Default timeouts of the client would end it after ten seconds of silence and as many retries."""
    with Crew(redis_url, tmp_path) as crew:
        time.sleep(13.0)
        job_id = submit(store, "late", 65)
        eventually(lambda: store.get(job_id).state is JobState.FINALIZING)
        assert crew.exit_statuses == []
    assert isinstance(store.client, Redis)
