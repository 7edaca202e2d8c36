"""What a worker asks of the data plane: take a unit, commit its effect, hand it back as impossible.

Every method is one script (see ``shared/lua``): still wanted? then write, issue what follows, acknowledge; else only
acknowledge. Doing any of it twice has the effect of doing it once.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import OutOfMemoryError

from shared import metrics
from shared.codec import pack
from shared.errors import RedisUnavailable, ShapeError
from shared.frames import encode_slice
from shared.job_record import error_json, outcome_of
from shared.motion import ROW
from shared.protocol import JobState, MotionPayload, RenderPayload, Unit, appearance_key, job_key, shard_of
from shared.redis_client import Shards, connect_shards
from shared.scripts import Limits, Scripts
from shared.task import JobFields, Rows, Task, payload_of
from shared.timeline import Geometry, slices_of, window_at

SET_ATTEMPTS = 5
MEMORY_POLL_S = 0.2
MEMORY_WAIT_S = 60.0
log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a commit.

    "done": it counts. "skipped": not wanted any more. "again": what it needs is missing, do it again. "lost": this
    worker does not hold the unit. "finalizing": it counts and was the last of its job, which must be assembled now.
    """

    DONE = "done"
    SKIPPED = "skipped"
    AGAIN = "again"
    LOST = "lost"
    FINALIZING = "finalizing"


class WorkStore:
    """The data plane as workers see it; safe to share between threads.

    Args:
        redis: URL of one server, or the clients of all shards (replies as bytes).
        limits: must be the same in every process.
    """

    def __init__(self, redis: "str | Shards[Redis]", limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.clients = connect_shards(redis, ("0",)) if isinstance(redis, str) else redis
        self._run = Scripts(self.clients, self.limits)
        self._memory_waits = 0
        self._memory_lock = threading.Lock()

    @property
    def waits_for_memory(self) -> bool:
        """True while a write is held back because Redis is full; such time does not count against a deadline."""
        return self._memory_waits > 0

    def take(self, stream: str, entry_id: str, job_id: str, unit: Unit, consumer: str) -> Task | None:
        """Begin work on a delivered entry.

        Returns:
            The task, or None when the entry is not this consumer's any more, or its work not wanted any more, or it was
            begun too often (its job fails then).
        """
        shard = shard_of(job_id)
        reply = self._run("take", shard, job_id, str(unit), unit.stage, unit.index, entry_id, consumer, key=stream)
        if reply[0] != b"taken":
            log.info("entry.dropped", job_id=job_id, unit=str(unit), entry_id=entry_id, reason=reply[0].decode())
            if reply[0] == b"failed":
                metrics.dead_letters_total.labels(unit.stage, reply[1].decode()).inc()
                metrics.jobs_total.labels(outcome_of(JobState.FAILED)).inc()
            return None
        fields = JobFields.from_reply(reply[4:])
        payload = payload_of(job_id, unit, fields, (reply[2], reply[3]))
        return Task(job_id, unit, entry_id, stream, int(reply[1]), payload)

    def renew(self, stream: str, shard: str, consumer: str, entry_ids: Sequence[str]) -> int:
        """Keep entries from being claimed by others; returns how many still belong to the consumer."""
        return int(self._run("renew", shard, consumer, *entry_ids, key=stream)) if entry_ids else 0

    def commit_portrait(self, task: Task, appearance: bytes, warnings: Sequence[str] = ()) -> Outcome:
        """Store a prepared portrait and mark it ready; ``warnings`` are added to the job's."""
        digest = getattr(task.payload, "portrait_digest", "")
        key = appearance_key(shard_of(task.job_id), digest)
        value = (key, appearance, self.limits.appearance_ttl_s)
        told = json.dumps(list(warnings), ensure_ascii=False) if warnings else ""
        return self._set_and_commit("commit_portrait", task, value, digest, told)

    def commit_encode(self, task: Task, features: NDArray[np.float32]) -> Outcome:
        """Store the features of a window, (context + hop + lookahead, D) float32."""
        return self._commit("commit_encode", task, task.unit.index, pack(np.asarray(features, np.float32)))

    def commit_motion(
        self, task: Task, next_state: bytes, motion: NDArray[np.float32], reference: NDArray[np.float32] | None
    ) -> Outcome:
        """Store the motion of a window and issue its slices.

        Args:
            task: the motion unit.
            next_state: what the motion model needs to start the next window.
            motion: (n_new, 70) float32, the window's new frames.
            reference: (70,) float32 that absolute motion is relative to, or None.

        Raises:
            ShapeError: ``motion`` does not fit the window.
        """
        payload = task.payload
        if not isinstance(payload, MotionPayload):
            raise ShapeError(f"commit_motion of {task.unit}; expected a motion unit")
        window = window_at(task.unit.index, payload.n_frames, Geometry(hop=payload.hop))
        if motion.shape != (window.n_new, ROW):
            raise ShapeError(
                f"motion of window {window.index} has shape {motion.shape}; expected {window.n_new}, {ROW}"
            )
        rows: list[int | bytes] = []
        for part in slices_of(window):
            start = part.first_frame - window.first_frame
            cut = np.asarray(motion[start : start + part.n_frames], np.float32)
            rows += [part.first_frame, Rows(cut, reference).to_bytes()]
        return self._commit("commit_motion", task, task.unit.index, next_state, *rows)

    def commit_slice(self, task: Task, jpegs: Sequence[bytes]) -> Outcome:
        """Store the encoded frames of a slice.

        Raises:
            ShapeError: not as many frames as the slice has.
        """
        payload = task.payload
        if not isinstance(payload, RenderPayload) or len(jpegs) != payload.n_slice_frames:
            raise ShapeError(f"{len(jpegs)} frames for {task.unit}; expected those of its payload")
        key = job_key(task.job_id, "slice", str(task.unit.index))
        value = encode_slice(task.unit.index, jpegs)
        return self._set_and_commit(
            "commit_slice", task, (key, value, self.limits.slice_ttl_s), task.unit.index, len(jpegs)
        )

    def commit_mux(self, task: Task) -> Outcome:
        """Count a window whose segment is in its place; "finalizing" when it was the last."""
        return self._commit("commit_mux", task, task.unit.index)

    def lost_slices(self, task: Task, firsts: Sequence[int]) -> Outcome:
        """Have slices that the muxer did not find drawn again; "again" when they are all there after all."""
        return self._commit("lost_slices", task, *firsts)

    def fail(self, task: Task, error: BaseException | Mapping[str, Any] | str, dead_letter: str = "") -> Outcome:
        """Give a unit up: its job fails with a readable error.

        Args:
            task: the unit.
            error: why; its text is what the caller of the job reads.
            dead_letter: reason under which the message is kept for the operator; empty: it is not.
        """
        return self.give_up(task.stream, task.entry_id, task.job_id, task.unit, (error, dead_letter))

    def give_up(
        self,
        stream: str,
        entry_id: str,
        job_id: str,
        unit: Unit,
        reason: tuple[BaseException | Mapping[str, Any] | str, str],
    ) -> Outcome:
        """`fail` for a unit whose payload could not be decoded; ``reason`` is (error, dead letter)."""
        error, dead_letter = reason
        args = (job_id, str(unit), unit.stage, entry_id, error_json(error), dead_letter)
        outcome = Outcome(self._run("fail", shard_of(job_id), *args, key=stream).decode())
        if outcome is Outcome.DONE:
            metrics.jobs_total.labels(outcome_of(JobState.FAILED, error)).inc()
        return outcome

    def bad(self, stream: str, shard: str, entry_id: str, reason: str) -> bool:
        """Move an undecodable entry to the dead letters; False when somebody did already."""
        return bool(self._run("bad", shard, entry_id, reason, key=stream))

    def leave(self, stream: str, shard: str, consumer: str) -> bool:
        """Remove a consumer that holds nothing."""
        return bool(self._run("leave", shard, consumer, key=stream))

    def shed(self, job_id: str) -> None:
        """Drop the frames of a job that are kept for viewers only."""
        self._run("shed", shard_of(job_id), job_id)

    def load_appearance(self, shard: str, digest: str) -> bytes | None:
        """A prepared portrait, if it is still cached; using it keeps it."""
        redis = self._on(shard)
        found: bytes | None = redis.get(appearance_key(shard, digest))
        if found is not None:
            redis.expire(appearance_key(shard, digest), self.limits.appearance_ttl_s)
        return found

    def store_appearance(self, shard: str, digest: str, appearance: bytes) -> None:
        """Cache a prepared portrait again, outside of a commit."""
        self._on(shard).set(appearance_key(shard, digest), appearance, ex=self.limits.appearance_ttl_s)

    def load_slices(self, job_id: str, firsts: Sequence[int]) -> list[bytes | None]:
        """Slices by their first frames, None where there is none; `shared.frames.decode_slice` reads them."""
        if not firsts:
            return []
        found: list[bytes | None] = self._on(shard_of(job_id)).mget(
            [job_key(job_id, "slice", str(first)) for first in firsts]
        )
        return found

    @property
    def client(self) -> "Redis":
        """The client of a single server, or of the first shard of a cluster."""
        return self.clients.home

    def close(self) -> None:
        """Close the connections."""
        for client in self.clients.every():
            client.close()

    def _on(self, shard: str) -> Any:
        return self.clients.of(shard)

    def _commit(self, name: str, task: Task, *args: str | bytes | int) -> Outcome:
        reply = self._run(
            name, shard_of(task.job_id), task.job_id, str(task.unit), task.entry_id, *args, key=task.stream
        )
        return Outcome(reply.decode())

    def _set_and_commit(self, name: str, task: Task, value: tuple[str, bytes, int], *args: str | int) -> Outcome:
        for _ in range(SET_ATTEMPTS):
            self._set(task.job_id, *value)
            outcome = self._commit(name, task, *args)
            if outcome is not Outcome.AGAIN:
                return outcome
        raise RedisUnavailable(
            f"{value[0]} vanished {SET_ATTEMPTS} times right after it was stored; is Redis evicting keys?"
        )

    def _set(self, job_id: str, key: str, data: bytes, ttl_s: int) -> None:
        """SET with a TTL; while Redis is full, drop what only viewers need and wait."""
        try:
            self._on(shard_of(job_id)).set(key, data, ex=ttl_s)
            return
        except OutOfMemoryError:
            log.warning("redis.full", job_id=job_id)
        with self._memory_lock:
            self._memory_waits += 1
        try:
            self._set_when_possible(job_id, key, data, ttl_s)
        finally:
            with self._memory_lock:
                self._memory_waits -= 1

    def _set_when_possible(self, job_id: str, key: str, data: bytes, ttl_s: int) -> None:
        deadline = time.monotonic() + MEMORY_WAIT_S
        while True:
            for other in self._sheddable(job_id):
                self.shed(other)
            try:
                self._on(shard_of(job_id)).set(key, data, ex=ttl_s)
                return
            except OutOfMemoryError as error:
                if time.monotonic() > deadline:
                    raise RedisUnavailable(
                        f"Redis is full: {len(data)} bytes were refused for {MEMORY_WAIT_S:.0f} s. Raise maxmemory or "
                        "lower TH_MAX_RUNNING_JOBS or TH_VIEWER_TAIL_FRAMES."
                    ) from error
            time.sleep(MEMORY_POLL_S)

    def _sheddable(self, job_id: str) -> list[str]:
        start = job_key(job_id).partition("job:")[0]
        newest: list[bytes] = self._on(shard_of(job_id)).zrevrange(f"{start}jobs", 0, 31)
        return [job_id, *(found.decode() for found in newest if found.decode() != job_id)]
