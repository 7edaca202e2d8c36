"""A hand-driven worker of every kind, for tests that look at single steps of the data plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from redis import Redis

from shared.commits import Outcome
from shared.jobs import JobStore
from shared.motion import ROW
from shared.protocol import (
    GROUP,
    MotionPayload,
    RenderPayload,
    Stage,
    Unit,
    job_key,
    shard_of,
    stream_key,
)
from shared.streams import Consumer, Entry
from shared.task import Task
from shared.timeline import Geometry, window_at
from tests.fakes import frame_of

BUNDLE = "embedded"


class Hands:
    """One consumer of every stream, moved step by step.

    Args:
        store: the data plane.
        name: consumer name.
    """

    def __init__(self, store: JobStore, name: str = "hands") -> None:
        self.store = store
        self.name = name
        self.consumers = {
            stage: Consumer(store.client, {stage: stream_key("0", stage, BUNDLE)}, name) for stage in Stage
        }

    def read(self, stage: Stage, count: int = 100) -> list[Entry]:
        """New entries of a stage."""
        return [entry for batch in self.consumers[stage].read(count, 0.0) for entry in batch]

    def take(self, entry: Entry, consumer: str = "") -> Task | None:
        """Take one entry."""
        job_id, unit = entry.parse()
        return self.store.take(entry.stream, entry.entry_id, job_id, unit, consumer or self.name)

    def taken(self, stage: Stage) -> list[Task]:
        """Read and take everything there is of a stage."""
        return [task for entry in self.read(stage) if (task := self.take(entry)) is not None]

    def commit(self, task: Task) -> Outcome:
        """Commit with made-up content."""
        payload = task.payload
        if task.unit.stage is Stage.PORTRAIT:
            return self.store.commit_portrait(task, b"appearance")
        if task.unit.stage is Stage.ENCODE:
            return self.store.commit_encode(task, np.zeros((75, 4), np.float32))
        if isinstance(payload, MotionPayload):
            n_new = window_at(task.unit.index, payload.n_frames, Geometry(hop=payload.hop)).n_new
            return self.store.commit_motion(task, b"state", np.ones((n_new, ROW), np.float32), None)
        if isinstance(payload, RenderPayload):
            return self.store.commit_slice(task, [frame_of(row) for row in payload.motion])
        return self.store.commit_mux(task)

    def work(self, *stages: Stage) -> list[Task]:
        """Take and commit everything that the stages offer, until there is nothing left."""
        done: list[Task] = []
        while tasks := [task for stage in stages or tuple(Stage) for task in self.taken(stage)]:
            for task in tasks:
                self.commit(task)
            done += tasks
        return done


def turns(client: "Redis", job_id: str) -> dict[str, str]:
    """Outstanding units of a job and their entries, without the tries."""
    found: dict[bytes, bytes] = client.hgetall(job_key(job_id, "turns"))  # type: ignore[assignment]
    return {name.decode(): entry.decode() for name, entry in found.items() if not name.endswith(b":tries")}


def pending(client: "Redis", stage: Stage) -> list[str]:
    """Entries of a stage that were delivered and not acknowledged."""
    rows = client.xpending_range(stream_key("0", stage, BUNDLE), GROUP, "-", "+", 1000)
    return [row["message_id"].decode() for row in rows]  # type: ignore[union-attr]


def keys_of(client: "Redis", job_id: str) -> set[str]:
    """Every key of a job, without its common beginning."""
    start = job_key(job_id)
    return {key.decode().removeprefix(start) for key in client.scan_iter(f"{start}*")}


def dead_letters(client: "Redis") -> list[dict[bytes, bytes]]:
    """Fields of the dead letters of shard 0."""
    rows: Any = client.xrange("th:{0}:dead")
    return [fields for _, fields in rows]


def units(tasks: Sequence[Task]) -> list[str]:
    """Units of tasks as text."""
    return [str(task.unit) for task in tasks]


def entry_of(client: "Redis", job_id: str, unit: Unit) -> str:
    """Entry id of an outstanding unit."""
    assert shard_of(job_id) == "0"
    return turns(client, job_id)[str(unit)]
