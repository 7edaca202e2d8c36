"""The durable record of jobs, kept beside their files: what Redis may forget must be found here.

`jobs/ID/manifest.json` holds what was asked for, `jobs/_open/ID` marks a job that has not ended, `jobs/ID/end.json` how
it ended. A marker without a job in Redis is a job to start again; an ended job leaves its end record (and nothing else)
behind when it expires, so that it is never started again. Reconciling lists the markers only, never all jobs.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.artifacts import ArtifactStore
from shared.errors import ArtifactMissing, BadMessage, ModelError
from shared.protocol import JobState, Manifest, artifact_path

OPEN = "_open"
MANIFEST, END, RESULT, SPEECH, SEGMENTS = "manifest.json", "end.json", "result.mp4", "speech.pcm", "segments"
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TIME_CHARACTERS, RANDOM_CHARACTERS = 10, 16
ID_CHARACTERS = TIME_CHARACTERS + RANDOM_CHARACTERS


class JobCrashes(ModelError):
    """Work on a job ended its process again and again."""

    code = "job_crashes"


def new_job_id(shard: str, created: float) -> str:
    """A job id: the shard and a ULID, so that ids sort by time of creation.

    Args:
        shard: shard tag.
        created: Unix time in seconds.
    """
    milliseconds = int(created * 1000)
    stamp = [ALPHABET[milliseconds >> 5 * place & 31] for place in reversed(range(TIME_CHARACTERS))]
    noise = [secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS)]
    return f"{shard}-{''.join(stamp + noise)}"


def is_job_id(text: str, shards: tuple[str, ...]) -> bool:
    """True for what `new_job_id` makes for one of the shards."""
    shard, _, name = text.rpartition("-")
    return bool(shard) and shard in shards and len(name) == ID_CHARACTERS and all(c in ALPHABET for c in name)


def created_at(job_id: str) -> float:
    """Unix time in seconds that a job id carries."""
    milliseconds = 0
    for character in job_id.rpartition("-")[2][:TIME_CHARACTERS]:
        milliseconds = milliseconds << 5 | ALPHABET.index(character)
    return milliseconds / 1000


def segment_path(job_id: str, window: int) -> str:
    """Where the segment of a window lives."""
    return artifact_path(job_id, SEGMENTS, f"{window:05d}.mp4")


def creation_fields(manifest: Manifest) -> dict[str, str | float]:
    """What the job hash keeps of a manifest besides its options."""
    return {
        "created": manifest.created,
        "portrait_file": manifest.portrait_file,
        "audio_file": manifest.audio_file,
    }


class Records:
    """Reads and writes the durable records of jobs."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self.artifacts = artifacts

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep what was asked for."""
        self._write_json(artifact_path(manifest.job_id, MANIFEST), manifest.to_dict())

    def read_manifest(self, job_id: str) -> Manifest:
        """What was asked for.

        Raises:
            ArtifactMissing: no such job.
            BadMessage: damaged.
        """
        return Manifest.from_dict(self._read_json(artifact_path(job_id, MANIFEST)))

    def open(self, job_id: str) -> None:
        """Mark a job as one that must reach an end."""
        self.artifacts.write(artifact_path(OPEN, job_id), b"")

    def unfinished(self) -> list[str]:
        """Ids of marked jobs, oldest first."""
        return _ids_by_age(self.artifacts.names(artifact_path(OPEN)))

    def close(self, job_id: str, state: JobState, facts: dict[str, Any]) -> None:
        """Keep how a job ended and remove its mark; the first end counts."""
        if self.read_end(job_id) is None:
            self._write_json(artifact_path(job_id, END), {"state": state.value, "ended": time.time(), **facts})
        self.artifacts.delete(artifact_path(OPEN, job_id))

    def read_end(self, job_id: str) -> dict[str, Any] | None:
        """How a job ended, or None when it has not."""
        try:
            return self._read_json(artifact_path(job_id, END))
        except ArtifactMissing:
            return None

    def job_ids(self) -> list[str]:
        """Every job with files, oldest first (a long listing: not for every five seconds)."""
        return _ids_by_age(self.artifacts.names("jobs"))

    def strip(self, job_id: str) -> int:
        """Delete a job's files, all but its end record; returns how many there were."""
        names = [name for name in self.artifacts.names(artifact_path(job_id)) if name != END]
        for name in names:
            self.artifacts.delete(artifact_path(job_id, name))
        return len(names)

    def erase(self, job_id: str) -> None:
        """Delete everything of a job."""
        self.artifacts.delete(artifact_path(job_id))
        self.artifacts.delete(artifact_path(OPEN, job_id))

    @contextmanager
    def attempt(self, job_id: str, task: str, max_tries: int) -> Iterator[None]:
        """Count how often a task on a job ended its whole process; errors that Python sees do not count.

        Raises:
            JobCrashes: it did so ``max_tries`` times.
        """
        path = artifact_path(job_id, f"{task}.tries")
        try:
            crashes = int(self.artifacts.read_bytes(path))
        except (ArtifactMissing, ValueError):
            crashes = 0
        if crashes >= max_tries:
            raise JobCrashes(f"{task} ended its process {crashes} times; the files may be crafted or damaged.")
        self.artifacts.write(path, str(crashes + 1).encode())
        try:
            yield
        finally:
            self.artifacts.delete(path)

    def _write_json(self, path: str, value: dict[str, Any]) -> None:
        self.artifacts.write(path, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def _read_json(self, path: str) -> dict[str, Any]:
        data = self.artifacts.read_bytes(path)
        try:
            value = json.loads(data)
        except ValueError as error:
            raise BadMessage(f"{path} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise BadMessage(f"{path} holds {type(value).__name__}; expected an object")
        return value


def _ids_by_age(names: list[str]) -> list[str]:
    """Those names that are job ids, oldest first; whatever else lies there is not ours."""
    ids = [name for name in names if is_job_id(name, (name.rpartition("-")[0],))]
    return sorted(ids, key=created_at)
