"""SIGKILL of worker processes and of Redis at random moments: every frame equals that of an undisturbed run."""

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from shared.frames import Frames, Gap, follow_async
from shared.jobs import JobStore
from shared.protocol import JobState
from shared.redis_client import AWAY, connect_async
from shared.scripts import Limits
from tests.fakes import Crew, expected_frames, run_process, segment_bytes, submit
from tests.polling import eventually
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.slow]

PROCESSES = ("encoder", "motion", "renderer", "renderer", "muxer")
CLAIM_IDLE_S = 0.6
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.fakes"])


class Processes:
    """Fake workers with processes of their own, killed and started again."""

    def __init__(self, url: str, folder: Path, pause_s: float) -> None:
        known = {"redis_url": url, "claim_idle_s": CLAIM_IDLE_S, "max_tries": 50, "log_level": "warning"}
        self._args = [(kind, folder, pause_s, known) for kind in PROCESSES]
        self._running: list[BaseProcess] = [self._start(i) for i in range(len(PROCESSES))]

    def kill(self, i: int) -> None:
        self._running[i].kill()
        self._running[i].join()
        self._running[i] = self._start(i)

    def pause(self, i: int) -> int:
        pid = self._running[i].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        return pid

    def drain(self) -> list[int | None]:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.join(20.0)
            process.kill()
        return [process.exitcode for process in self._running]

    def _start(self, i: int) -> BaseProcess:
        process = FORKS.Process(target=run_process, args=self._args[i])
        process.start()
        return process


class Upkeep:
    """Reconcile and assemble, as the control plane does; rides out a Redis that is away."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Upkeep":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            try:
                self._store.reconcile("0")
                for record in self._store.list():
                    if record.state is JobState.FINALIZING:
                        self._store.finish(record.id, JobState.SUCCEEDED)
            except AWAY:
                continue


class Viewer:
    """Reads a job's frames in a thread."""

    def __init__(self, url: str, job_id: str) -> None:
        self.frames: list[bytes] = []
        self.gaps: list[Gap] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch(url, job_id)))
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60.0)
        assert not self._thread.is_alive()

    async def _watch(self, url: str, job_id: str) -> None:
        async with connect_async(url, block_s=1.0) as client:
            async for event in follow_async(client, job_id, idle_s=0.5):
                if isinstance(event, Frames):
                    assert event.first_frame == len(self.frames)
                    self.frames += event.jpegs
                elif isinstance(event, Gap):
                    self.gaps.append(event)


@pytest.fixture
def patient_store(own_redis: RedisServer) -> Iterator[JobStore]:
    store = JobStore(own_redis.url, Limits(max_tries=50))
    yield store
    store.client.close()


def check(folder: Path, viewer: Viewer, job_id: str, seed: int, n_frames: int) -> None:
    expected = expected_frames(job_id, seed, n_frames)
    viewer.join()
    assert viewer.gaps == []
    assert viewer.frames == expected
    assert segment_bytes(folder, job_id) == b"".join(expected)


def wait_for(store: JobStore, job_id: str, timeout_s: float) -> None:
    def is_done() -> bool:
        try:
            record = store.get(job_id)
        except AWAY:
            return False
        assert record.state not in (JobState.FAILED, JobState.CANCELED), record.error
        return record.state is JobState.SUCCEEDED

    eventually(is_done, timeout_s, f"the end of {job_id}")


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_and_paused_workers_change_no_frame(
    own_redis: RedisServer, patient_store: JobStore, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    n_frames = 330
    job_id = submit(patient_store, "killed", n_frames, seed=seed)
    processes = Processes(own_redis.url, tmp_path, pause_s=0.02)
    viewer = Viewer(own_redis.url, job_id)
    try:
        with Upkeep(patient_store):
            eventually(lambda: patient_store.get(job_id).rendered_frames > 0, 30.0, "a first frame")
            for _ in range(6):
                paused = processes.pause(rng.randrange(len(PROCESSES))) if rng.random() < 0.3 else None
                processes.kill(rng.randrange(len(PROCESSES)))
                time.sleep(rng.uniform(0.05, 0.5))
                if paused is not None and Path(f"/proc/{paused}").exists():
                    os.kill(paused, signal.SIGCONT)
            wait_for(patient_store, job_id, 60.0)
    finally:
        processes.drain()
    check(tmp_path, viewer, job_id, seed, n_frames)


def test_terminated_workers_drain_with_status_0(own_redis: RedisServer, tmp_path: Path) -> None:
    store = JobStore(own_redis.url)
    processes = Processes(own_redis.url, tmp_path, pause_s=0.0)
    eventually(lambda: len(store.live_workers()) == len(PROCESSES), 30.0, "all workers")
    assert processes.drain() == [0] * len(PROCESSES)
    assert store.live_workers() == []
    store.client.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_redis_killed_and_restarted_from_its_file_changes_no_frame(
    own_redis: RedisServer, patient_store: JobStore, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    job_id = submit(patient_store, "redis", 330, seed=seed)
    with Crew(own_redis.url, tmp_path, claim_idle_s=CLAIM_IDLE_S, max_tries=50), Upkeep(patient_store):
        viewer = Viewer(own_redis.url, job_id)
        eventually(lambda: patient_store.get(job_id).rendered_frames > rng.randrange(100), 30.0, "frames")
        own_redis.restart_after_kill()
        wait_for(patient_store, job_id, 60.0)
        check(tmp_path, viewer, job_id, seed, 330)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_torn_anywhere_is_repaired(
    own_redis: RedisServer, patient_store: JobStore, tmp_path: Path, seed: int
) -> None:
    """Without the mending that a supervisor does: half a script may be applied, `reconcile` completes it."""
    rng = random.Random(seed)
    patient_store.client.config_set("appendfsync", "always")
    job_id = submit(patient_store, "torn", 330, seed=seed)
    with Crew(own_redis.url, tmp_path, claim_idle_s=CLAIM_IDLE_S, max_tries=50):
        eventually(lambda: patient_store.get(job_id).rendered_frames > rng.randrange(5, 250), 30.0, "frames")
        own_redis.kill()
        (increments,) = own_redis.folder.glob("appendonlydir/*.incr.aof")
        data = increments.read_bytes()
        increments.write_bytes(data[: len(data) - rng.randrange(1, 6_000)])
        # A file torn inside a transaction is cut at the last whole command, and only the second start applies it.
        own_redis.start()
        own_redis.kill()
        own_redis.start()
        with Upkeep(patient_store):
            wait_for(patient_store, job_id, 60.0)
    assert segment_bytes(tmp_path, job_id) == b"".join(expected_frames(job_id, seed, 330))
