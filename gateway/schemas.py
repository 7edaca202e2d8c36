"""What clients see of a job, as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from shared.controls import Emotion
from shared.errors import JobCancelled, JobExpired, TalkingHeadError
from shared.job_record import JobRecord
from shared.protocol import JobState, Output


class Options(BaseModel):
    """Options in effect; the seed is the one to send for the same video again."""

    seed: int
    head_motion: float
    expressiveness: float
    blinks_per_minute: float | None = Field(description="null: the motion model's own rate")
    gaze_x: float
    gaze_y: float
    emotion: Emotion
    emotion_strength: float
    output: Output


class Progress(BaseModel):
    """How far a job is, in frames; the total is unknown until the sound is decoded."""

    frames_rendered: int
    frames_muxed: int
    frames_total: int | None
    ratio: float = Field(ge=0, le=1)


class Links(BaseModel):
    """Where to go on."""

    self: str
    events: str
    video: str


class Job(BaseModel):
    """A job."""

    id: str
    state: JobState
    created_at: datetime
    ended_at: datetime | None
    queue_position: int | None = Field(description="jobs to start before this one; null when it does not wait")
    bundle: str
    options: Options
    progress: Progress
    warnings: list[str] = Field(description="what is odd about the files, but was accepted")
    timings: dict[str, float] = Field(description="seconds waited for a turn, worked, and both together")
    error: dict[str, Any] | None = Field(description="problem object of a job that failed")
    links: Links


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    has_more: bool
    next: str | None = Field(description="value of `after` for the next page")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    instance: str | None = None


def job_view(record: JobRecord) -> dict[str, Any]:
    """A job as clients see it."""
    path = f"/v1/jobs/{record.id}"
    return {
        "id": record.id,
        "state": record.state.value,
        "created_at": _moment(record.created),
        "ended_at": _moment(record.ended_at) if record.ended_at else None,
        "queue_position": record.queue_position,
        "bundle": record.bundle,
        "options": asdict(record.options),
        "progress": progress_of(record.rendered_frames, record.muxed_frames, record.n_frames or None),
        "warnings": list(record.warnings),
        "timings": _timings(record),
        "error": _failure(record.error) if record.error else None,
        "links": {"self": path, "events": f"{path}/events", "video": f"{path}/video"},
    }


def progress_of(rendered: int, muxed: int, total: int | None) -> dict[str, Any]:
    """Frames drawn, in finished segments, and in all, with the share of the whole work."""
    ratio = (rendered + muxed) / (2 * total) if total else 0.0
    return {
        "frames_rendered": rendered,
        "frames_muxed": muxed,
        "frames_total": total,
        "ratio": round(min(ratio, 1.0), 4),
    }


def end_view(record: JobRecord) -> dict[str, Any]:
    """Why a job ended without a video, as a problem."""
    if record.error:
        return _failure(record.error)
    canceled = record.state is JobState.CANCELED
    code = JobCancelled.code if canceled else JobExpired.code
    return _failure({"code": code, "message": f"job {record.id} was {'canceled' if canceled else 'deleted'}."})


def problem_view(error: TalkingHeadError) -> dict[str, Any]:
    """An error as it stands in a job or an event; the HTTP answer adds a status."""
    return _failure({"code": error.code, "message": error.message, "retryable": error.retryable})


def _failure(stored: Mapping[str, Any]) -> dict[str, Any]:
    code = stored.get("code", "internal")
    return {
        "type": f"urn:talkinghead:problem:{code}",
        "code": code,
        "detail": stored.get("message", ""),
        "retryable": bool(stored.get("retryable", False)),
    }


def _timings(record: JobRecord) -> dict[str, float]:
    found = {}
    if record.started_at:
        found["waited_s"] = record.started_at - record.created
        if record.ended_at:
            found["worked_s"] = record.ended_at - record.started_at
    if record.ended_at:
        found["total_s"] = record.ended_at - record.created
    return {name: round(seconds, 3) for name, seconds in found.items()}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
