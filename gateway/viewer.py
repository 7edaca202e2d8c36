"""One viewer of one job: its frames in order as they are drawn, with states and progress between them.

The order of reading matters: first the newest event id, then the slice, then the state and where the kept frames begin,
and only then block for newer events. So nothing that happens in between is slept through, and a missing slice is known
to be either not drawn yet or dropped. Where frames lie follows from the plan alone; events are only an alarm clock.
Nothing is buffered: a viewer that reads slowly finds frames gone and is told so. Knows nothing of HTTP.
"""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import RedisError
from shared.frames import decode_slice

from gateway.dependencies import Services
from gateway.schemas import end_view, job_view, problem_view, progress_view
from shared.errors import JobNotFound, RedisUnavailable
from shared.job_record import JobRecord
from shared.metrics import first_frame_seconds, frames_total
from shared.protocol import JobState, job_key
from shared.timeline import FPS, Geometry, Slice, slices_of, window_at

RECONNECT_S = 0.5
LOST_JOB_PATIENCE_S = 60.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Event:
    """What a viewer is told; ``frame`` is set for frames only, and is the id to resume after."""

    name: str
    data: dict[str, Any]
    frame: int | None = None


HEARTBEAT = Event("heartbeat", {})


class Viewer:
    """Where one viewer is in one job.

    Args:
        found: open connections.
        job_id: the job.
        after: index of the last frame the viewer has; -1 for none.
    """

    def __init__(self, found: Services, job_id: str, after: int) -> None:
        self._found = found
        self._job_id = job_id
        self._next_frame = after + 1
        self._state: JobState | None = None
        self._progress: dict[str, Any] = {}

    async def events(self) -> AsyncGenerator[Event, None]:
        """Everything that happens to the job, until it has ended and every frame that is left was told.

        Redis may go away and come back, and may have lost the job meanwhile, which `reconcile` then starts again: the
        viewer waits, with heartbeats.

        Raises:
            JobNotFound: there was no such job to begin with.
        """
        record = await self._record()
        self._state = record.state
        yield Event("job.state", job_view(record))
        gone_since: float | None = None
        while True:
            try:
                alarm = await self._newest_event()
                async for event in self._news():
                    yield event
                gone_since = None
                if self._state.is_final:
                    return
                if not await self._woken(alarm):
                    yield HEARTBEAT
                continue
            except (RedisError, RedisUnavailable) as error:
                log.info("viewer.waits", job_id=self._job_id, error=str(error))
            except JobNotFound as error:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > LOST_JOB_PATIENCE_S:
                    yield Event("job.error", problem_view(error))
                    return
            yield HEARTBEAT
            await asyncio.sleep(RECONNECT_S)

    async def _news(self) -> AsyncGenerator[Event, None]:
        """Everything that can be told now."""
        record = await self._record()
        while True:
            data = await self._next_slice(record)
            record = await self._record()
            for event in self._changes(record):
                yield event
            if data is not None:
                for event in self._frames(data, record):
                    yield event
                continue
            gap = await self._gap(record)
            if gap is None:
                break
            yield gap
        if record.state.is_final:
            self._state = record.state
            yield _last_event(record)

    def _changes(self, record: JobRecord) -> list[Event]:
        """State and progress that differ from what was told; a final state is told last, after the frames."""
        told = []
        if record.state is not self._state and not record.state.is_final:
            self._state = record.state
            told.append(Event("job.state", job_view(record)))
        progress = progress_view(record)
        if progress != self._progress and record.n_frames:
            self._progress = progress
            told.append(Event("job.progress", progress))
        return told

    def _frames(self, data: bytes, record: JobRecord) -> list[Event]:
        found = decode_slice(data)
        told = []
        for index, jpeg in enumerate(found.jpegs, start=found.first):
            if index < self._next_frame:
                continue
            width, height = jpeg_size(jpeg)
            facts = {"index": index, "time_s": index / FPS, "width": width, "height": height}
            told.append(Event("frame", {**facts, "jpeg": base64.b64encode(jpeg).decode()}, frame=index))
            self._next_frame = index + 1
            if index == 0:
                first_frame_seconds.observe(max(0.0, time.time() - record.created))
        frames_total.labels(stage="viewer").inc(len(told))
        return told

    async def _next_slice(self, record: JobRecord) -> bytes | None:
        """The slice that holds the next frame, when it is there."""
        if self._next_frame >= record.n_frames:
            return None
        wanted = slice_holding(record, self._next_frame)
        data = await self._found.redis.get(job_key(self._job_id, "slice", str(wanted.first_frame)))
        return data if isinstance(data, bytes) else None

    async def _gap(self, record: JobRecord) -> Event | None:
        """Frames that will never come: dropped behind the tail, or not kept after the end."""
        stop = record.n_frames if record.state.is_final else min(record.tail_frame, record.n_frames)
        first = self._next_frame
        while first < stop:
            wanted = slice_holding(record, first)
            if await self._found.redis.exists(job_key(self._job_id, "slice", str(wanted.first_frame))):
                break
            first = wanted.first_frame + wanted.n_frames
        if first == self._next_frame:
            return None
        gap = Event("gap", {"from": self._next_frame, "to": first - 1})
        self._next_frame = first
        return gap

    async def _record(self) -> JobRecord:
        return await asyncio.to_thread(self._found.jobs.get, self._job_id)

    async def _newest_event(self) -> bytes:
        newest = await self._found.redis.xrevrange(job_key(self._job_id, "events"), count=1)
        found = newest[0][0] if newest else None
        return found if isinstance(found, bytes) else b"0-0"

    async def _woken(self, alarm: bytes) -> bool:
        """Wait for an event newer than ``alarm``; False when none came in time for a heartbeat."""
        block_ms = max(1, round(self._found.settings.gateway_heartbeat_s * 1000))
        return bool(await self._found.redis.xread({job_key(self._job_id, "events"): alarm}, count=1, block=block_ms))


def slice_holding(record: JobRecord, frame: int) -> Slice:
    """The slice of the plan that a frame of a planned job belongs to."""
    for part in slices_of(window_at(frame // record.hop, record.n_frames, Geometry(hop=record.hop))):
        if part.first_frame <= frame < part.first_frame + part.n_frames:
            return part
    raise ValueError(f"frame {frame} of a video with {record.n_frames} frames")


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the frame header of a JPEG; (0, 0) when there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, n_bytes = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + n_bytes
    return 0, 0


def _last_event(record: JobRecord) -> Event:
    if record.state is JobState.SUCCEEDED:
        return Event("job.done", job_view(record))
    return Event("job.error", end_view(record))
