"""Life of a job: create, plan, look up, end. What workers do to it is in ``shared/commits.py``, which this extends.

Knows nothing of artifacts: their files are the gateway's concern.
"""

import builtins
import json
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from shared import metrics
from shared.commits import Outcome, WorkStore
from shared.controls import controls_to_text
from shared.errors import JobNotFound
from shared.job_record import JobRecord, error_json, outcome_of
from shared.protocol import WORKERS, JobOptions, JobState, Stage, job_key, prefix, shard_of, stream_key
from shared.reconcile import FollowUp, reconcile_shard
from shared.redis_client import Shards, connect_shards
from shared.scripts import Limits
from shared.settings import Settings
from shared.streams import Backlog, backlog
from shared.task import Task
from shared.timeline import FIRST_WINDOW_SLICE_FRAMES, SLICE_FRAMES, Geometry, window_count

__all__ = ["FollowUp", "JobStore", "Outcome", "Task"]

WORKER_PATTERN = f"{prefix(WORKERS)}*"


class JobStore(WorkStore):
    """Jobs of one Redis; safe to share between threads.

    Args:
        redis: URL, or the clients of all shards (replies as bytes).
        limits: must be the same in every process.
        shards: shard tags.
        task_lease_s: seconds before `reconcile` asks for a control task again.
    """

    def __init__(
        self,
        redis: "str | Shards[Redis]",
        limits: Limits | None = None,
        shards: Sequence[str] = ("0",),
        task_lease_s: float = 10.0,
    ) -> None:
        super().__init__(connect_shards(redis, shards) if isinstance(redis, str) else redis, limits)
        self.shards = tuple(shards)
        self.task_lease_s = task_lease_s

    @classmethod
    def from_settings(cls, settings: Settings) -> "JobStore":
        """The store an operator configured."""
        return cls(settings.redis_url, Limits.from_settings(settings), settings.shard_tags, settings.task_lease_s)

    def create(self, job_id: str, options: JobOptions, bundle: str, fields: Mapping[str, str | float]) -> bool:
        """Make a queued job.

        Args:
            job_id: SHARD-NAME.
            options: what the caller chose.
            bundle: model bundle.
            fields: ``created`` (Unix time in seconds), ``portrait_file`` and ``audio_file``, plus anything the gateway
                wants to keep beside them.

        Returns:
            False when there is such a job already; nothing changes then.
        """
        facts = {
            "bundle": bundle,
            "seed": options.seed,
            "output": options.output,
            **controls_to_text(options),
            **{name: value for name, value in fields.items() if name != "created"},
        }
        flat = [part for name, value in facts.items() for part in (name, str(value))]
        return bool(self._run("create", shard_of(job_id), job_id, repr(float(fields["created"])), *flat))

    def begin_ingest(self, job_id: str) -> bool:
        """True while the job still has to be planned; starts the lease of that task anew."""
        return bool(self._run("begin", shard_of(job_id), job_id, "ingest"))

    def begin_assemble(self, job_id: str) -> bool:
        """True while the job still has to be assembled; starts the lease of that task anew."""
        return bool(self._run("begin", shard_of(job_id), job_id, "assemble"))

    def ready(
        self,
        job_id: str,
        n_frames: int,
        gain: float,
        portrait_digest: str,
        hop: int = Geometry().hop,
        warnings: Sequence[str] = (),
    ) -> bool:
        """Store the plan; the job waits for admission (or runs at once). False when it was planned already or ended."""
        args = (
            job_id,
            n_frames,
            window_count(n_frames, Geometry(hop=hop)),
            hop,
            FIRST_WINDOW_SLICE_FRAMES,
            SLICE_FRAMES,
            repr(float(gain)),
            portrait_digest,
            json.dumps([*warnings], ensure_ascii=False),
        )
        return bool(self._run("ready", shard_of(job_id), *args))

    def finish(
        self, job_id: str, state: JobState, error: BaseException | Mapping[str, Any] | str | None = None
    ) -> bool:
        """End a job, once; succeeded only from finalizing.

        Returns:
            True if it ended now.
        """
        problem = "" if error is None else error_json(error)
        has_ended = bool(self._run("finish", shard_of(job_id), job_id, state.value, problem))
        if has_ended:
            metrics.jobs_total.labels(outcome_of(state, error)).inc()
        return has_ended

    def get(self, job_id: str) -> JobRecord:
        """A job.

        Raises:
            JobNotFound: Redis knows no such job.
        """
        found = self._records([job_id])
        if not found:
            raise JobNotFound(f"no job {job_id}; it never existed or was deleted after its time to live")
        return found[0]

    def list(self, limit: int = 50, after: str | None = None) -> builtins.list[JobRecord]:
        """Jobs, newest first.

        Args:
            limit: at most so many.
            after: continue after this job.

        Raises:
            JobNotFound: ``after`` is unknown.
        """
        newest = float("inf") if after is None else self.get(after).created
        scored: list[tuple[float, str]] = []
        for shard in self.shards:
            rows = self._on(shard).zrevrangebyscore(f"{prefix(shard)}jobs", newest, "-inf", withscores=True)
            scored += [(score, name.decode()) for name, score in rows]
        ids = [name for score, name in sorted(scored, reverse=True)]
        if after in ids:
            ids = ids[ids.index(after) + 1 :]
        return self._records(ids[:limit])

    def missing(self, job_ids: Sequence[str]) -> builtins.list[str]:
        """Those of the jobs that Redis does not know (any more)."""
        found: dict[str, int] = {}
        for shard, ids in self._by_shard(job_ids).items():
            pipe = self._on(shard).pipeline(transaction=False)
            for job_id in ids:
                pipe.exists(job_key(job_id))
            found |= zip(ids, pipe.execute(), strict=True)
        return [job_id for job_id in job_ids if not found[job_id]]

    def unfinished_count(self, shard: str) -> int:
        """Jobs of a shard that have not ended."""
        return int(self._on(shard).scard(f"{prefix(shard)}open"))

    def memory(self) -> tuple[int, int]:
        """Bytes that Redis uses, and its maxmemory (0: no limit); of a cluster, those of the fullest node."""
        clients: list[Any] = self.clients.every()
        found = [client.info("memory") for client in clients]
        nodes = [(int(facts["used_memory"]), int(facts["maxmemory"])) for facts in found]
        return max(nodes, key=lambda node: (node[0] / node[1] if node[1] else 0.0, node[0]))

    def memory_ratio(self) -> float:
        """Used share of Redis' maxmemory; 0.0 when there is no limit."""
        used, limit = self.memory()
        return used / limit if limit else 0.0

    def backlogs(self, bundle: str) -> dict[Stage, Backlog]:
        """What the streams of a bundle hold, all shards together."""
        total = dict.fromkeys(Stage, Backlog())
        for shard in self.shards:
            redis = self._on(shard)
            seconds, microseconds = redis.time()
            now_s = int(seconds) + int(microseconds) / 1e6
            for stage in Stage:
                total[stage] += backlog(redis, stream_key(shard, stage, bundle), now_s)
        return total

    def unfinished(self) -> dict[str, int]:
        """Jobs that have not ended, all shards together: running, waiting for admission, or in a control task."""
        n_running = sum(int(self._on(shard).scard(f"{prefix(shard)}running")) for shard in self.shards)
        n_waiting = sum(int(self._on(shard).zcard(f"{prefix(shard)}ready")) for shard in self.shards)
        n_open = sum(self.unfinished_count(shard) for shard in self.shards)
        return {"running": n_running, "waiting": n_waiting, "control": max(0, n_open - n_running - n_waiting)}

    def dead_letter_count(self) -> int:
        """Messages given up that nobody has deleted yet."""
        return sum(int(self._on(shard).xlen(f"{prefix(shard)}dead")) for shard in self.shards)

    def dead_letters(self) -> builtins.list[tuple[str, str, dict[str, str]]]:
        """Shard, id and facts of each message given up: its job, unit, stream, entry, and the reason; oldest first."""
        found = []
        for shard in self.shards:
            for letter_id, fields in self._on(shard).xrange(f"{prefix(shard)}dead"):
                facts = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
                found.append((shard, letter_id.decode(), facts))
        return sorted(found, key=lambda letter: int(letter[1].partition("-")[0]))

    def delete_dead_letter(self, shard: str, letter_id: str) -> None:
        """Delete one that was read."""
        self._on(shard).xdel(f"{prefix(shard)}dead", letter_id)

    def live_workers(self) -> builtins.list[tuple[str, str, str]]:
        """Kind, bundle and name of every worker that announced itself within the last 15 s."""
        keys = (key.decode().split(":", 4) for key in self._on(WORKERS).scan_iter(WORKER_PATTERN, count=1000))
        return sorted((parts[2], parts[3], parts[4]) for parts in keys if len(parts) == 5)

    def reconcile(self, shard: str) -> builtins.list[FollowUp]:
        """Repair every unfinished job of a shard; returns what the control plane must do, see `FollowUp`."""
        return reconcile_shard(self.clients.of(shard), self._run, shard, self.task_lease_s)

    def _records(self, job_ids: Sequence[str]) -> builtins.list[JobRecord]:
        found: dict[str, JobRecord] = {}
        for shard, ids in self._by_shard(job_ids).items():
            pipe = self._on(shard).pipeline(transaction=False)
            for job_id in ids:
                pipe.hgetall(job_key(job_id))
                pipe.zrank(f"{prefix(shard)}ready", job_id)
            replies = pipe.execute()
            rows = zip(ids, replies[::2], replies[1::2], strict=True)
            found |= {job_id: JobRecord.from_hash(job_id, fields, rank) for job_id, fields, rank in rows if fields}
        return [found[job_id] for job_id in job_ids if job_id in found]

    def _by_shard(self, job_ids: Sequence[str]) -> dict[str, builtins.list[str]]:
        grouped: dict[str, builtins.list[str]] = {}
        for job_id in job_ids:
            grouped.setdefault(shard_of(job_id), []).append(job_id)
        return grouped
