"""Whole jobs through real workers on a real Redis, with hash chains instead of models."""

from pathlib import Path

import pytest
from redis import Redis

from shared.frames import Frames, StateChanged, follow
from shared.jobs import JobStore
from shared.protocol import JobState
from tests.fakes import Crew, expected_frames, segment_bytes, submit
from tests.polling import eventually

pytestmark = pytest.mark.redis


def state_of(store: JobStore, job_id: str) -> JobState:
    return store.get(job_id).state


@pytest.mark.parametrize("n_frames", [1, 5, 65, 66, 400])
def test_every_frame_of_a_job_arrives_once_and_in_order(any_redis_url: str, tmp_path: Path, n_frames: int) -> None:
    store = JobStore(any_redis_url)
    job_id = submit(store, "whole", n_frames, seed=7)
    with Crew(any_redis_url, tmp_path) as crew, Redis.from_url(any_redis_url, socket_timeout=10) as client:
        frames: list[bytes] = []
        states: list[JobState | None] = []
        for event in follow(client, job_id):
            if isinstance(event, Frames):
                assert event.first_frame == len(frames)
                frames += event.jpegs
            elif isinstance(event, StateChanged):
                states.append(event.state)
                if event.state is JobState.FINALIZING:
                    assert store.finish(job_id, JobState.SUCCEEDED)
    assert frames == expected_frames(job_id, 7, n_frames)
    assert segment_bytes(tmp_path, job_id) == b"".join(frames)
    assert states[-1] is JobState.SUCCEEDED
    assert crew.exit_statuses == [0, 0, 0, 0]
    record = store.get(job_id)
    assert (record.rendered_frames, record.muxed_frames, record.n_frames) == (n_frames, n_frames, n_frames)
    store.client.close()


def test_jobs_wait_for_admission_and_all_finish(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    jobs = [submit(store, f"job{i}", 140, seed=i, created=100.0 + i) for i in range(7)]
    assert [store.get(job_id).queue_position for job_id in jobs] == [None] * 4 + [1, 2, 3]
    with Crew(redis_url, tmp_path):
        for job_id in jobs:
            eventually(lambda j=job_id: state_of(store, j) is JobState.FINALIZING, 20.0)  # type: ignore[misc]
    for i, job_id in enumerate(jobs):
        assert segment_bytes(tmp_path, job_id) == b"".join(expected_frames(job_id, i, 140))


def test_equal_jobs_advance_together(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    jobs = [submit(store, f"job{i}", 900, seed=i, created=100.0 + i) for i in range(2)]
    with Crew(redis_url, tmp_path):
        ended = eventually(lambda: [j for j in jobs if state_of(store, j) is JobState.FINALIZING], 40.0)
        (other,) = set(jobs) - {ended[0]}
        assert store.get(other).rendered_frames >= 0.8 * 900


def test_a_short_job_passes_a_long_one(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    long_job = submit(store, "long", 3_000, created=1.0)
    with Crew(redis_url, tmp_path):
        eventually(lambda: store.get(long_job).muxed_frames > 0, 20.0)
        short_job = submit(store, "short", 130, created=2.0)
        eventually(lambda: state_of(store, short_job) is JobState.FINALIZING, 20.0)
        assert state_of(store, long_job) is JobState.RUNNING
        store.finish(long_job, JobState.CANCELED)


def test_a_canceled_job_ends_for_its_viewer_and_its_workers(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    job_id = submit(store, "cancel", 6_500)
    with Crew(redis_url, tmp_path), Redis.from_url(redis_url, socket_timeout=10) as client:
        for event in follow(client, job_id):
            if isinstance(event, Frames) and event.first_frame > 100:
                store.finish(job_id, JobState.CANCELED)
        assert state_of(store, job_id) is JobState.CANCELED
        eventually(lambda: all(held.n_pending == 0 for held in store.backlogs("embedded").values()))
    assert store.unfinished_count("0") == 0


def test_one_worker_serves_several_shards(redis_url: str, tmp_path: Path) -> None:
    store = JobStore(redis_url, shards=("0", "1.0"))
    jobs = [submit(store, "a", 140, seed=1, created=1.0), submit(store, "b", 140, seed=2, created=2.0, shard="1.0")]
    with Crew(redis_url, tmp_path, shards="0,1.0") as crew:
        eventually(lambda: all(state_of(store, job_id) is JobState.FINALIZING for job_id in jobs), 20.0)
    assert crew.exit_statuses == [0] * 4
    assert [record.id for record in store.list()] == jobs[::-1]
    for seed, job_id in enumerate(jobs, start=1):
        assert segment_bytes(tmp_path, job_id) == b"".join(expected_frames(job_id, seed, 140))
    store.client.close()
