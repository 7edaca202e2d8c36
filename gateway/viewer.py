"""One viewer of one job: what `shared.frames` tells of its frames and states, as events for clients.

A viewer waits for a Redis that is away, and for a job that Redis has lost until `reconcile` has started it again from
its manifest; it goes on after the last frame it told. Knows nothing of HTTP.
"""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import structlog

from gateway.dependencies import Services
from gateway.schemas import end_view, job_view, problem_view, progress_of
from shared.errors import JobExpired, JobNotFound, TalkingHeadError
from shared.frames import Event as Found
from shared.frames import Frames, Gap, Progress, StateChanged, follow_async
from shared.job_record import JobRecord
from shared.metrics import first_frame_seconds, frames_total
from shared.protocol import JobState, shard_of
from shared.redis_client import AWAY
from shared.timeline import FPS

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
        self._last_frame = after
        self._state: JobState | None = None
        self._waits_for_first = False
        self._is_over = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """A snapshot, then everything that happens until the job has ended and every frame that is left was told."""
        yield await self._snapshot()
        deadline = time.monotonic() + LOST_JOB_PATIENCE_S
        while not self._is_over:
            try:
                # aclosing needs a generator, which an async iterator of an async function is.
                async with aclosing(cast(AsyncGenerator[Found, None], self._follow())) as told:
                    async for found in told:
                        async for event in self._translated(found):
                            deadline = time.monotonic() + LOST_JOB_PATIENCE_S
                            yield event
            except AWAY as error:
                log.info("viewer.waits", job_id=self._job_id, error=str(error))
            except JobNotFound as error:
                if time.monotonic() > deadline:
                    yield Event("job.error", problem_view(error))
                    return
            except JobExpired as error:
                yield Event("job.error", problem_view(error))
                return
            if not self._is_over:
                yield HEARTBEAT
                await asyncio.sleep(RECONNECT_S)

    def _follow(self) -> AsyncIterator[Found]:
        heartbeat_s = self._found.settings.gateway_heartbeat_s
        return follow_async(self._found.redis.of(shard_of(self._job_id)), self._job_id, self._last_frame, heartbeat_s)

    async def _translated(self, found: Found) -> AsyncIterator[Event]:
        if isinstance(found, Frames):
            for index, jpeg in enumerate(found.jpegs, start=found.first_frame):
                self._last_frame = index
                yield frame_event(index, jpeg)
                frames_total.labels("viewer").inc()
                if self._waits_for_first:
                    await self._measure_first(index)
        elif isinstance(found, Gap):
            self._last_frame = found.last_frame
            yield Event("gap", {"from": found.first_frame, "to": found.last_frame})
        elif isinstance(found, Progress):
            yield Event(
                "job.progress", progress_of(found.rendered_frames, found.muxed_frames, found.total_frames or None)
            )
        elif isinstance(found, StateChanged):
            event = await self._state_event()
            if event is not None:
                yield event
        else:
            yield HEARTBEAT

    async def _snapshot(self) -> Event:
        record = await self._record()
        self._state = None if record.state.is_final else record.state
        self._waits_for_first = self._last_frame < 0 and record.rendered_frames == 0
        return Event("job.state", job_view(record))

    async def _state_event(self) -> Event | None:
        """What the job's state means to the viewer; a final one ends the stream."""
        record = await self._record()
        if record.state.is_final:
            self._is_over = True
            is_good = record.state is JobState.SUCCEEDED
            return Event("job.done", job_view(record)) if is_good else Event("job.error", end_view(record))
        if record.state is self._state:
            return None
        self._state = record.state
        return Event("job.state", job_view(record))

    async def _record(self) -> JobRecord:
        try:
            return await asyncio.to_thread(self._found.jobs.get, self._job_id)
        except JobNotFound as error:
            if await asyncio.to_thread(self._found.records.read_end, self._job_id) is None:
                raise
            raise _expired(error) from None

    async def _measure_first(self, index: int) -> None:
        """Observe how long the first frame took; somebody who came when it was there already says nothing about it."""
        self._waits_for_first = False
        if index == 0:
            told_at = time.time()
            first_frame_seconds.observe(max(0.0, told_at - (await self._record()).created))


def frame_event(index: int, jpeg: bytes) -> Event:
    """A frame as clients get it."""
    width, height = jpeg_size(jpeg)
    facts = {"index": index, "time_s": index / FPS, "width": width, "height": height}
    return Event("frame", {**facts, "jpeg": base64.b64encode(jpeg).decode()}, frame=index)


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the frame header of a JPEG; (0, 0) when there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, n_bytes = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + n_bytes
    return 0, 0


def _expired(error: TalkingHeadError) -> JobExpired:
    return JobExpired(error.message)
