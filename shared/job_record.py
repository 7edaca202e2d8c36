"""What is known of a job: the job hash as a value."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shared.controls import controls_from_text
from shared.errors import ConfigurationError, InputError, TalkingHeadError
from shared.protocol import JobOptions, JobState


@dataclass(frozen=True)
class JobRecord:
    """A job as Redis knows it.

    Attributes:
        id: shard and name.
        state: where in its life it is.
        bundle: model bundle.
        options: what the caller chose.
        created: Unix time in seconds.
        started_at: when it was admitted, 0.0 before.
        ended_at: when it ended, 0.0 before.
        error: {"code", "message", "retryable"} of a failed job, else None.
        warnings: what `ingest` noticed and accepted.
        portrait_file: of the upload.
        audio_file: of the upload.
        portrait_digest: names the prepared portrait; empty before ingest.
        gain: factor on the speech, 1.0 before ingest.
        n_frames: frames of the video, 0 before ingest.
        n_windows: windows of the video, 0 before ingest.
        hop: new frames per window, 0 before ingest.
        rendered_frames: frames drawn.
        muxed_frames: frames in finished segments, without a hole.
        tail_frame: first frame still kept for viewers.
        queue_position: 1 for the next job to be admitted; None unless it waits for admission.
    """

    id: str
    state: JobState
    bundle: str
    options: JobOptions
    created: float
    started_at: float = 0.0
    ended_at: float = 0.0
    error: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    portrait_file: str = ""
    audio_file: str = ""
    portrait_digest: str = ""
    gain: float = 1.0
    n_frames: int = 0
    n_windows: int = 0
    hop: int = 0
    rendered_frames: int = 0
    muxed_frames: int = 0
    tail_frame: int = 0
    queue_position: int | None = None

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[bytes, bytes], rank: int | None) -> "JobRecord":
        """Read a job hash.

        Args:
            job_id: the job.
            fields: HGETALL of its hash.
            rank: place among the jobs waiting for admission, from 0.
        """
        text = {name.decode(): value.decode() for name, value in fields.items()}

        def whole(name: str) -> int:
            return int(text.get(name, 0))

        def real(name: str, default: float = 0.0) -> float:
            return float(text.get(name, default))

        return cls(
            id=job_id,
            state=JobState(text["state"]),
            bundle=text.get("bundle", ""),
            options=JobOptions(
                seed=whole("seed"),
                **asdict(controls_from_text(text)),
                output="full" if text.get("output") == "full" else "square",
            ),
            created=real("created"),
            started_at=real("started_at"),
            ended_at=real("ended_at"),
            error=json.loads(text["error"]) if text.get("error") else None,
            warnings=tuple(json.loads(text.get("warnings", "[]"))),
            portrait_file=text.get("portrait_file", ""),
            audio_file=text.get("audio_file", ""),
            portrait_digest=text.get("portrait_digest", ""),
            gain=real("gain", 1.0),
            n_frames=whole("n_frames"),
            n_windows=whole("n_windows"),
            hop=whole("hop"),
            rendered_frames=whole("rendered"),
            muxed_frames=whole("muxed"),
            tail_frame=whole("tail"),
            queue_position=None if rank is None else rank + 1,
        )


def outcome_of(state: JobState, error: BaseException | Mapping[str, Any] | str | None = None) -> str:
    """How a job ended, as its metric counts it: a failure that is the caller's fault is "rejected".

    Args:
        state: final.
        error: why it failed.
    """
    is_callers_fault = isinstance(error, InputError) and not isinstance(error, ConfigurationError)
    return "rejected" if state is JobState.FAILED and is_callers_fault else state.value


def error_json(error: BaseException | Mapping[str, Any] | str) -> str:
    """An error as it is stored in the job hash: code, message, retryable.

    Args:
        error: one of ours, any other exception, a ready map, or a text.
    """
    if isinstance(error, Mapping):
        return json.dumps(dict(error), ensure_ascii=False)
    if isinstance(error, TalkingHeadError):
        facts: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    else:
        facts = {"code": "internal", "message": f"{error}" or type(error).__name__, "retryable": False}
    return json.dumps(facts, ensure_ascii=False)
