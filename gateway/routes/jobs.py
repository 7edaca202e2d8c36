"""Jobs over HTTP: create, read, list, cancel, and the finished video."""

import asyncio
import random
import time
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request, Response

from gateway.control import INGEST
from gateway.dependencies import JobId, Services, ServicesDep
from gateway.options import option_schema, require_usable
from gateway.ranges import artifact_response
from gateway.records import RESULT, creation_fields, new_job_id
from gateway.schemas import Job, JobList, Problem, job_view
from gateway.uploads import Submission, received
from shared.artifacts import store_stream
from shared.errors import JobCancelled, JobExpired, JobNotFound, QueueFull, ResultNotReady, StateError
from shared.job_record import JobRecord
from shared.protocol import JobState, Manifest, artifact_path

POLL_AFTER_S = 1
BUSY_RETRY_S = 10.0
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["portrait", "audio"],
    "additionalProperties": False,
    "properties": {
        "portrait": {"type": "string", "format": "binary", "description": "jpg, png or webp with one face"},
        "audio": {"type": "string", "format": "binary", "description": "speech: wav, mp3, m4a, ogg, webm, flac"},
        **option_schema(),
    },
}
BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
PROBLEM: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: PROBLEM, 410: PROBLEM, 503: PROBLEM}
CREATE_PROBLEMS: dict[int | str, dict[str, Any]] = {413: PROBLEM, 415: PROBLEM, 422: PROBLEM, 503: PROBLEM}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
log = structlog.get_logger(__name__)


@router.post("", status_code=202, response_model=Job, openapi_extra=BODY, responses=CREATE_PROBLEMS)
async def create(request: Request, response: Response, found: ServicesDep) -> dict[str, Any]:
    """Take a portrait and speech; answers at once, the work follows. Options: see the form fields."""
    await check_capacity(found)
    async with received(request, found.settings.gateway_max_upload_bytes) as submission:
        require_usable(submission.options, found.bundle)
        job_id = new_job_id(random.choice(found.settings.shard_tags), time.time())
        manifest = await asyncio.to_thread(_store_uploads, found, job_id, submission)
    await asyncio.to_thread(_create, found, manifest)
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    log.info("job.accepted", job_id=job_id)
    return job_view(await asyncio.to_thread(found.jobs.get, job_id))


@router.get("", response_model=JobList, responses={503: PROBLEM})
async def listing(
    found: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100, description="jobs per page")] = 20,
    after: Annotated[str | None, Query(max_length=80, description="`next` of the page before")] = None,
) -> dict[str, Any]:
    """Jobs, newest first."""
    records = await asyncio.to_thread(found.jobs.list, limit + 1, after)
    page = records[:limit]
    has_more = len(records) > limit
    return {
        "jobs": [job_view(record) for record in page],
        "has_more": has_more,
        "next": page[-1].id if has_more else None,
    }


@router.get("/{job_id}", response_model=Job, responses=NOT_FOUND)
async def read(job_id: JobId, found: ServicesDep) -> dict[str, Any]:
    """State, queue position, progress, warnings, timings and links of a job."""
    return job_view(await asyncio.to_thread(read_record, found, job_id))


@router.delete("/{job_id}", response_model=Job, responses=NOT_FOUND)
async def cancel(job_id: JobId, found: ServicesDep) -> dict[str, Any]:
    """Cancel a job; one that has ended stays as it is."""
    return job_view(await asyncio.to_thread(_cancel, found, job_id))


@router.head("/{job_id}/video", include_in_schema=False)
@router.get(
    "/{job_id}/video",
    responses={200: {"content": {"video/mp4": {}}}, 206: {}, 409: PROBLEM, 416: PROBLEM, **NOT_FOUND},
    response_class=Response,
)
async def video(job_id: JobId, request: Request, found: ServicesDep) -> Response:
    """The finished mp4; byte ranges are answered, so players can seek."""
    record = await asyncio.to_thread(read_record, found, job_id)
    require_result(record)
    path = artifact_path(job_id, RESULT)
    return await artifact_response(request, found.artifacts, path, "video/mp4", f'"{job_id}"')


def read_record(found: Services, job_id: str) -> JobRecord:
    """The job.

    Raises:
        JobExpired: it was there once.
        JobNotFound: it never was.
    """
    try:
        record = found.jobs.get(job_id)
    except JobNotFound:
        if found.records.read_end(job_id) is None:
            raise
        raise _expired(job_id) from None
    return record


def require_result(record: JobRecord) -> None:
    """Say why there is no video, unless there is one.

    Raises:
        ResultNotReady: not yet.
        JobExpired: deleted.
        JobCancelled, StateError: never.
    """
    if record.state is JobState.SUCCEEDED:
        return
    if record.state is JobState.EXPIRED:
        raise _expired(record.id)
    if record.state is JobState.CANCELED:
        raise JobCancelled(f"job {record.id} was canceled; it has no video. Submit it again.")
    if record.state is JobState.FAILED:
        reason = (record.error or {}).get("message", "unknown reason")
        raise StateError(f"job {record.id} failed, it has no video: {reason}")
    raise ResultNotReady(
        f"job {record.id} is {record.state.value}; its video is there when it has succeeded. "
        f"Follow /v1/jobs/{record.id}/events or ask again.",
        retry_after_s=POLL_AFTER_S,
    )


async def check_capacity(found: Services) -> None:
    """Refuse new work while Redis is nearly full or too many jobs are unfinished.

    Raises:
        QueueFull: try later.
    """
    ratio = await asyncio.to_thread(found.jobs.memory_ratio)
    if ratio > found.settings.gateway_max_memory_ratio:
        raise QueueFull(
            f"the queue's memory is {ratio:.0%} full; new jobs are taken below "
            f"{found.settings.gateway_max_memory_ratio:.0%}. Try again when running jobs have ended.",
            retry_after_s=BUSY_RETRY_S,
        )
    n_unfinished = 0
    for shard in found.settings.shard_tags:
        n_unfinished += await asyncio.to_thread(found.jobs.unfinished_count, shard)
    if n_unfinished >= found.settings.gateway_max_unfinished_jobs:
        raise QueueFull(
            f"{n_unfinished} jobs are unfinished, the limit is {found.settings.gateway_max_unfinished_jobs}. "
            "Try again when some have ended.",
            retry_after_s=BUSY_RETRY_S,
        )


def _store_uploads(found: Services, job_id: str, submission: Submission) -> Manifest:
    manifest = Manifest(
        job_id=job_id,
        created=time.time(),
        bundle=found.bundle.name,
        options=submission.options,
        portrait_file=f"portrait.{submission.portrait_extension}",
        audio_file=f"audio.{submission.audio_extension}",
    )
    store_stream(found.artifacts, artifact_path(job_id, manifest.portrait_file), submission.portrait)
    store_stream(found.artifacts, artifact_path(job_id, manifest.audio_file), submission.audio)
    found.records.write_manifest(manifest)
    return manifest


def _create(found: Services, manifest: Manifest) -> None:
    """Create the job and mark it; from the mark on it is certain to be worked on."""
    found.jobs.create(manifest.job_id, manifest.options, manifest.bundle, creation_fields(manifest))
    found.records.open(manifest.job_id)
    found.control.send(INGEST, manifest.job_id)


def _cancel(found: Services, job_id: str) -> JobRecord:
    record = read_record(found, job_id)
    if not record.state.is_final:
        found.jobs.finish(job_id, JobState.CANCELED)
        record = found.jobs.get(job_id)
        found.records.close(job_id, record.state, {"error": record.error})
    return record


def _expired(job_id: str) -> JobExpired:
    return JobExpired(f"job {job_id} has expired, its files were deleted. Submit it again.")
