"""Server-sent events of one job: states, progress and frames, resumable after any frame."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from gateway.dependencies import JobId, Services, ServicesDep
from gateway.routes.jobs import read_record
from gateway.viewer import HEARTBEAT, Event, Viewer
from shared.errors import CapacityError, InputError
from shared.metrics import viewers

RECONNECT_MS = 1000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_ID_DIGITS = 9
router = APIRouter(tags=["events"])


@router.get("/v1/jobs/{job_id}/events", response_class=StreamingResponse)
async def events(
    job_id: JobId,
    found: ServicesDep,
    last_event_id: Annotated[str | None, Header(description="index of the last frame received")] = None,
    after: Annotated[str | None, Query(description="the same, for clients that cannot set headers")] = None,
) -> StreamingResponse:
    """Follow a job: a snapshot first, then what happens, until it has ended.

    Events: job.state, job.progress, frame (index, time_s, width, height, jpeg as base64), gap (from, to: frames that
    are gone), job.done, job.error. Only frames carry an id.
    """
    start = resume_after(last_event_id or after)
    await asyncio.to_thread(read_record, found, job_id)
    if found.seats.locked():
        raise CapacityError("too many open event streams here; try again soon.", retry_after_s=5.0)
    return StreamingResponse(_stream(found, job_id, start), media_type="text/event-stream", headers=HEADERS)


def resume_after(text: str | None) -> int:
    """The last frame a client has, from what it sent.

    Raises:
        InputError: not a frame index.
    """
    if text is None or text == "":
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS):
        raise InputError(f"Last-Event-ID is {text[:40]!r}; expected the index of a frame, such as 124.")
    return int(text)


def encode(event: Event) -> bytes:
    """One event as text/event-stream."""
    if event is HEARTBEAT:
        return b": heartbeat\n\n"
    lines = [f"event: {event.name}", f"data: {json.dumps(event.data, separators=(',', ':'))}"]
    if event.frame is not None:
        lines.insert(0, f"id: {event.frame}")
    return ("\n".join(lines) + "\n\n").encode()


async def _stream(found: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    async with found.seats, aclosing(Viewer(found, job_id, after).events()) as told:
        with viewers.track_inprogress():
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            async for event in told:
                yield encode(event)
