"""Repair: whatever is lost from Redis, the job ends with every frame right."""

import random
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.jobs import JobStore
from shared.protocol import GROUP, JobOptions, JobState, Stage, Unit, job_key, stream_key
from shared.reconcile import Action, FollowUp
from shared.scripts import Limits
from tests.conftest import emptied
from tests.fakes import KINDS, FakeHandler, expected_frames, segment_bytes, submit
from tests.redis_server import RedisServer
from tests.shared.data_plane import BUNDLE, Hands, entry_of, turns

pytestmark = pytest.mark.redis

STREAMS = [stream_key("0", stage, BUNDLE) for stage in Stage]


@pytest.fixture
def hands(store: JobStore) -> Hands:
    return Hands(store)


def test_overdue_control_tasks_are_asked_for_once_per_lease(redis_url: str) -> None:
    store = JobStore(redis_url, task_lease_s=0.0)
    store.create("0-a", JobOptions(seed=1), BUNDLE, {"created": 1.0})
    assert store.reconcile("0") == [FollowUp(Action.INGEST, "0-a")]
    patient = JobStore(store.clients, task_lease_s=100.0)
    assert patient.reconcile("0") == []
    patient.ready("0-a", 5, 1.0, "digest")
    while Hands(store).work():
        pass
    assert patient.reconcile("0") == []
    assert store.reconcile("0") == [FollowUp(Action.ASSEMBLE, "0-a")]
    store.finish("0-a", JobState.SUCCEEDED)
    assert store.reconcile("0") == []
    store.client.close()


def test_a_job_that_redis_lost_is_reported_once(store: JobStore) -> None:
    job_id = submit(store, "a", 65)
    store.client.delete(job_key(job_id))
    assert store.reconcile("0") == [FollowUp(Action.GONE, job_id)]
    assert store.reconcile("0") == []
    assert store.list() == []


def test_an_expired_job_is_reported_and_forgotten(store: JobStore) -> None:
    job_id = submit(store, "a", 65)
    store.finish(job_id, JobState.CANCELED)
    store.client.delete(job_key(job_id))
    assert store.reconcile("0") == [FollowUp(Action.GONE, job_id)]
    assert store.client.zcard("th:{0}:jobs") == 0


def test_healthy_jobs_are_left_alone(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 400)
    hands.work(Stage.ENCODE, Stage.PORTRAIT, Stage.MOTION)
    hands.taken(Stage.RENDER)
    before = turns(store.client, job_id)
    assert store.reconcile("0") == []
    assert turns(store.client, job_id) == before


def test_a_lost_entry_is_issued_again(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    unit = Unit(Stage.ENCODE, 0)
    lost = entry_of(store.client, job_id, unit)
    store.client.xdel(stream_key("0", Stage.ENCODE, BUNDLE), lost)
    store.reconcile("0")
    assert entry_of(store.client, job_id, unit) != lost


def test_an_entry_acknowledged_by_half_a_script_is_issued_again_and_swept(store: JobStore, hands: Hands) -> None:
    job_id = submit(store, "a", 65)
    stream = stream_key("0", Stage.ENCODE, BUNDLE)
    (entry,) = hands.read(Stage.ENCODE)
    store.client.xack(stream, GROUP, entry.entry_id)
    store.reconcile("0")
    assert entry_of(store.client, job_id, Unit(Stage.ENCODE, 0)) != entry.entry_id
    rows: Any = store.client.xrange(stream)
    assert entry.entry_id.encode() not in [row[0] for row in rows]


def test_undelivered_entries_are_never_swept(store: JobStore, hands: Hands) -> None:
    stream = stream_key("0", Stage.ENCODE, BUNDLE)
    jobs = [submit(store, f"job{i}", 65, created=float(i)) for i in range(3)]
    hands.read(Stage.ENCODE, count=1)
    store.finish(jobs[2], JobState.CANCELED)
    store.reconcile("0")
    assert store.client.xlen(stream) == 3


def test_consumers_leave_only_with_empty_hands(store: JobStore, hands: Hands) -> None:
    submit(store, "a", 65)
    (entry,) = hands.read(Stage.ENCODE)
    assert not store.leave(entry.stream, "0", "hands")
    task = hands.take(entry)
    assert task is not None
    hands.commit(task)
    assert store.leave(entry.stream, "0", "hands")


def test_room_left_by_a_lost_job_is_used(store: JobStore) -> None:
    jobs = [submit(store, f"job{i}", 65, created=float(i)) for i in range(5)]
    store.client.delete(job_key(jobs[0]))
    store.reconcile("0")
    store.reconcile("0")
    assert store.get(jobs[4]).state is JobState.RUNNING


def damage(client: "Redis", job_id: str, rng: random.Random) -> str:
    """Lose one thing that a script cut in the middle, a torn file or an expiry could lose."""
    key = job_key(job_id)
    kinds = ["entry", "ack", "turns field", "turns", "slice", "features", "group", "stream", "running", "open", "ready"]
    kind = rng.choice(kinds)
    stream = rng.choice(STREAMS)
    plain: Any = client
    if kind == "entry" and (rows := plain.xrange(stream)):
        plain.xdel(stream, rng.choice(rows)[0])
    elif kind == "ack" and plain.exists(stream):
        groups = [row["name"] for row in plain.xinfo_groups(stream)]
        rows = plain.xpending_range(stream, GROUP, "-", "+", 100) if GROUP.encode() in groups else []
        if rows:
            plain.xack(stream, GROUP, rng.choice(rows)["message_id"])
    elif kind == "turns field" and (fields := plain.hkeys(f"{key}:turns")):
        plain.hdel(f"{key}:turns", rng.choice(fields))
    elif kind == "slice" and (slices := list(plain.scan_iter(f"{key}:slice:*"))):
        plain.delete(rng.choice(slices))
    elif kind in ("turns", "features"):
        plain.delete(f"{key}:{kind}")
    elif kind == "group" and plain.exists(stream):
        plain.xgroup_destroy(stream, GROUP)
    elif kind == "stream":
        plain.delete(stream)
    elif kind in ("running", "open", "ready"):
        plain.delete("th:{0}:" + kind)
    return kind


def survive_losses(url: str, folder: Path, seed: int, n_frames: int = 270) -> None:
    """Work in random order on a job that keeps losing things; every frame must come out right."""
    rng = random.Random(seed)
    store = JobStore(url, Limits(max_tries=50))
    hands = Hands(store)
    handlers = [FakeHandler(kind, store, folder) for kind in KINDS]
    job_id = submit(store, "a", n_frames, seed=seed)
    lost: list[str] = []
    for step in range(600):
        if store.get(job_id).state is not JobState.RUNNING:
            break
        handler = rng.choice(handlers)
        for stage in handler.stages:
            consumer = hands.consumers[stage]
            again = consumer.claim(0.0) if rng.random() < 0.3 else []
            for entry in [*again, *hands.read(stage, rng.randint(1, 10))]:
                task = hands.take(entry)
                if task is not None and rng.random() < 0.9:
                    handler.handle([task])
        if step < 60:
            lost.append(damage(store.client, job_id, rng))
        elif step % 10 == 0:
            store.reconcile("0")
    store.client.close()
    record = store.get(job_id)
    assert record.state is JobState.FINALIZING, (lost, record, turns(store.client, job_id))
    assert segment_bytes(folder, job_id) == b"".join(expected_frames(job_id, seed, n_frames))


@pytest.mark.parametrize("seed", range(5))
def test_a_job_survives_losing_anything(redis_url: str, tmp_path: Path, seed: int) -> None:
    survive_losses(redis_url, tmp_path, seed)


def test_a_job_survives_losing_anything_on_redis_62(old_redis_server: RedisServer, tmp_path: Path) -> None:
    survive_losses(emptied(old_redis_server), tmp_path, 1)
