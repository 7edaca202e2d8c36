"""Names and messages that cross process boundaries: keys, stages, states, options, payloads.

A stream entry names only a job and a unit of its work; `take` (``shared/jobs.py``) returns the payload. Keys of one job
share a hash tag ``{shard}``, so that one script touches one slot of a Redis Cluster.
"""

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.controls import Controls, Emotion
from shared.errors import BadMessage

VERSION = 2  # of entries and manifests; 2 since motion has more controls than two factors
OLDEST_VERSION = 1  # that is still understood: its missing fields have their defaults
GROUP = "workers"
WORKERS = "worker"  # tag of the keys that belong to no shard: a cluster keeps them together, so that they can be listed
Output = Literal["square", "full"]


class Stage(StrEnum):
    """What can be done to a job by a stream worker."""

    PORTRAIT = "portrait"
    ENCODE = "encode"
    MOTION = "motion"
    RENDER = "render"
    MUX = "mux"


class JobState(StrEnum):
    """Life of a job, in order; the last four are final."""

    QUEUED = "queued"
    INGESTING = "ingesting"
    READY = "ready"
    RUNNING = "running"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """True when nothing will change any more."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED)


@dataclass(frozen=True)
class Unit:
    """One piece of work of a job: a stage and the window or first frame it is for.

    Attributes:
        stage: what is to be done.
        index: window (encode, motion, mux) or first frame (render); 0 for the portrait.
    """

    stage: Stage
    index: int = 0

    def __str__(self) -> str:
        return self.stage.value if self.stage is Stage.PORTRAIT else f"{self.stage.value}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """Read "portrait", "encode:3", "render:65".

        Raises:
            BadMessage: not a unit.
        """
        name, _, index = text.partition(":")
        try:
            stage = Stage(name)
        except ValueError as error:
            raise BadMessage(f"unit {text!r}; expected one of {[s.value for s in Stage]}") from error
        if stage is Stage.PORTRAIT and not index:
            return cls(stage)
        if stage is Stage.PORTRAIT or not (index.isascii() and index.isdigit()):
            raise BadMessage(f"unit {text!r}; expected STAGE:NUMBER")
        return cls(stage, int(index))


@dataclass(frozen=True, kw_only=True)
class JobOptions(Controls):
    """What a caller may choose, validated once in the gateway: the controls of the motion, and two more.

    Attributes:
        seed: noise of the motion model, 0 .. 2**63 - 1.
        output: "square" (512x512 crop) or "full" (the whole photo).
    """

    seed: int
    output: Output = "square"


@dataclass(frozen=True)
class Manifest:
    """The durable record of a job, stored as ``jobs/ID/manifest.json``; enough to start the job again."""

    job_id: str
    created: float
    bundle: str
    options: JobOptions
    portrait_file: str
    audio_file: str
    version: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Manifest":
        """Read what `to_dict` made.

        Raises:
            BadMessage: fields are missing or of a newer version.
        """
        try:
            options = JobOptions(**value["options"])
            options = replace(options, emotion=Emotion(options.emotion))
            manifest = cls(**{**value, "options": options})
            is_known = OLDEST_VERSION <= manifest.version <= VERSION
        except (KeyError, TypeError, ValueError) as error:
            raise BadMessage(f"manifest with fields {sorted(value)}: {error}") from error
        if not is_known:
            raise BadMessage(f"manifest of version {manifest.version}; expected {OLDEST_VERSION} to {VERSION}")
        return manifest


@dataclass(frozen=True)
class PortraitPayload:
    """Prepare the appearance of a portrait."""

    portrait_digest: str
    portrait_file: str
    output: Output


@dataclass(frozen=True)
class EncodePayload:
    """Encode one window of speech (raw little-endian int16 mono 16 kHz in ``speech_file``)."""

    speech_file: str
    n_frames: int
    hop: int
    gain: float


@dataclass(frozen=True)
class MotionPayload:
    """Generate one window of motion.

    Attributes:
        features: (context + hop + lookahead, D) float32.
        window_state: what the previous window left, b"" for window 0.
    """

    n_frames: int
    hop: int
    seed: int
    controls: Controls
    features: NDArray[np.float32]
    window_state: bytes = field(repr=False)


@dataclass(frozen=True)
class RenderPayload:
    """Draw one slice.

    Attributes:
        motion: (n_slice_frames, 70) float32.
        reference: (70,) float32 row that absolute motion is relative to, or None.
    """

    portrait_digest: str
    portrait_file: str
    output: Output
    n_slice_frames: int
    motion: NDArray[np.float32]
    reference: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MuxPayload:
    """Encode one window of frames as a video segment; ``slices`` are (first frame, frames)."""

    n_frames: int
    hop: int
    slices: tuple[tuple[int, int], ...]
    output: Output


Payload = PortraitPayload | EncodePayload | MotionPayload | RenderPayload | MuxPayload


def shard_of(job_id: str) -> str:
    """The shard that is part of a job id ("3-01J..." -> "3").

    Raises:
        BadMessage: the id has no shard.
    """
    shard, dash, rest = job_id.partition("-")
    if not (dash and shard and rest):
        raise BadMessage(f"job id {job_id!r}; expected SHARD-NAME")
    return shard


def prefix(shard: str) -> str:
    """Beginning of every key of a shard."""
    return f"th:{{{shard}}}:"


def stream_key(shard: str, stage: Stage, bundle: str) -> str:
    """Stream of a stage; mux work is the same for every bundle."""
    return f"{prefix(shard)}mux" if stage is Stage.MUX else f"{prefix(shard)}{stage.value}:{bundle}"


def job_key(job_id: str, *parts: str) -> str:
    """A key of one job: ``job_key(id)`` is its hash, ``job_key(id, "slice", "65")`` a slice."""
    return ":".join((f"{prefix(shard_of(job_id))}job:{job_id}", *parts))


def appearance_key(shard: str, digest: str) -> str:
    """Key of a prepared portrait."""
    return f"{prefix(shard)}portrait:{digest}"


def dead_key(shard: str) -> str:
    """Stream of dead letters."""
    return f"{prefix(shard)}dead"


def heartbeat_key(kind: str, bundle: str, name: str) -> str:
    """Key that a live worker renews."""
    return f"{prefix(WORKERS)}{kind}:{bundle}:{name}"


def artifact_path(job_id: str, *parts: str) -> str:
    """Path of a job's file in the artifact store."""
    return "/".join(("jobs", job_id, *parts))
