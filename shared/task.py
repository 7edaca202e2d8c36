"""A unit of work in the hands of a worker: what `take` returned, decoded into the payload of its stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.codec import pack, unpack
from shared.controls import NAMES, Controls, controls_from_text
from shared.errors import BadMessage
from shared.protocol import (
    EncodePayload,
    MotionPayload,
    MuxPayload,
    Output,
    Payload,
    PortraitPayload,
    RenderPayload,
    Stage,
    Unit,
    artifact_path,
)
from shared.timeline import Geometry, slices_of, window_at

SPEECH = "speech.pcm"


@dataclass(frozen=True)
class Task:
    """One unit of one job, taken by this worker.

    Attributes:
        job_id: whose work it is.
        unit: what is to be done.
        entry_id: id of the stream entry.
        stream: stream of the entry.
        tries: how often work on the unit began, this time included.
        payload: everything the work needs.
    """

    job_id: str
    unit: Unit
    entry_id: str
    stream: str
    tries: int
    payload: Payload


@dataclass(frozen=True)
class Rows:
    """Motion of one slice as it is stored.

    Attributes:
        motion: (n, 70) float32.
        reference: (70,) float32 or None.
    """

    motion: NDArray[np.float32]
    reference: NDArray[np.float32] | None

    def to_bytes(self) -> bytes:
        """Encode."""
        return pack({"v": 1, "motion": self.motion, "reference": self.reference})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Rows":
        """Decode.

        Raises:
            BadMessage: not what `to_bytes` made.
        """
        value = unpack(data)
        if not (isinstance(value, dict) and value.get("v") == 1 and isinstance(value.get("motion"), np.ndarray)):
            raise BadMessage("stored motion of a slice is not a map of version 1 with an array `motion`")
        return cls(value["motion"], value.get("reference"))


@dataclass(frozen=True)
class JobFields:
    """Fields of the job hash that payloads are made of, in the order `take` returns them."""

    n_frames: int
    hop: int
    seed: int
    output: Output
    portrait_digest: str
    portrait_file: str
    gain: float
    controls: Controls

    @classmethod
    def from_reply(cls, values: Sequence[bytes | None]) -> "JobFields":
        """Decode the tail of `take`'s reply: seven values, then the controls, which older jobs do not all have.

        Raises:
            BadMessage: a field is missing or not a number.
        """
        text = [value.decode() if value is not None else "" for value in values]
        try:
            return cls(
                n_frames=int(text[0]),
                hop=int(text[1]),
                seed=int(text[2]),
                output="full" if text[3] == "full" else "square",
                portrait_digest=text[4],
                portrait_file=text[5],
                gain=float(text[6]),
                controls=controls_from_text(dict(zip(NAMES, text[7:], strict=True))),
            )
        except (ValueError, IndexError) as error:
            raise BadMessage(f"job fields {text}: {error}") from error


def payload_of(job_id: str, unit: Unit, fields: JobFields, blobs: tuple[bytes, bytes]) -> Payload:
    """Build the payload of a unit.

    Args:
        job_id: whose work it is.
        unit: the unit.
        fields: of the job.
        blobs: what the script found for the stage: features and window state, or rows, or nothing.

    Raises:
        BadMessage: a blob cannot be decoded.
    """
    first, second = blobs
    if unit.stage is Stage.PORTRAIT:
        return PortraitPayload(fields.portrait_digest, _portrait_path(job_id, fields), fields.output)
    if unit.stage is Stage.ENCODE:
        return EncodePayload(artifact_path(job_id, SPEECH), fields.n_frames, fields.hop, fields.gain)
    if unit.stage is Stage.MOTION:
        return MotionPayload(
            n_frames=fields.n_frames,
            hop=fields.hop,
            seed=fields.seed,
            controls=fields.controls,
            features=_array(first),
            window_state=second,
        )
    if unit.stage is Stage.RENDER:
        rows = Rows.from_bytes(first)
        return RenderPayload(
            portrait_digest=fields.portrait_digest,
            portrait_file=_portrait_path(job_id, fields),
            output=fields.output,
            n_slice_frames=len(rows.motion),
            motion=rows.motion,
            reference=rows.reference,
        )
    window = window_at(unit.index, fields.n_frames, Geometry(hop=fields.hop))
    slices = tuple((part.first_frame, part.n_frames) for part in slices_of(window))
    return MuxPayload(fields.n_frames, fields.hop, slices, fields.output)


def _portrait_path(job_id: str, fields: JobFields) -> str:
    return fields.portrait_file if "/" in fields.portrait_file else artifact_path(job_id, fields.portrait_file)


def _array(data: bytes) -> Any:
    value = unpack(data)
    if not isinstance(value, np.ndarray):
        raise BadMessage(f"stored features are {type(value).__name__}; expected an array")
    return value
