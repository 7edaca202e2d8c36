"""Frames of a job in order, while they are being drawn: for event streams, live sessions and tools.

Feeds `FrameReader` (``shared/frame_reader.py``) from Redis. The newest event id is read before the first snapshot, so
that nothing happens unseen between looking and waiting; events only wake the reader up, what it tells comes from the
snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared.frame_reader import (
    Event,
    FrameReader,
    Frames,
    Gap,
    Idle,
    Progress,
    Snapshot,
    StateChanged,
    decode_slice,
    encode_slice,
)
from shared.protocol import JobState, job_key
from shared.redis_client import AWAY

__all__ = [
    "Event",
    "Frames",
    "Gap",
    "Idle",
    "Progress",
    "StateChanged",
    "decode_slice",
    "encode_slice",
    "follow",
    "follow_async",
]

RECONNECT_S = 0.5
FIELDS = ("state", "n_frames", "hop", "muxed", "tail", "rendered")


def follow(client: "Redis", job_id: str, after: int = -1, idle_s: float = 1.0) -> Iterator[Event]:
    """Frames and events of a job from frame ``after + 1`` on, in order, until it has ended.

    Args:
        client: with a socket timeout above ``idle_s``.
        job_id: the job.
        after: the last frame the viewer has.
        idle_s: yield `Idle` after so much silence.
    """
    plain: Any = client
    reader = FrameReader(after)
    events = job_key(job_id, "events")
    newest = _newest(plain.xrevrange(events, count=1))
    while not reader.is_done:
        wanted = reader.wanted()
        found = reader.advance(_snapshot(_ask(plain.pipeline(transaction=True), job_id, wanted).execute(), wanted))
        yield from found
        if found or reader.is_done or reader.wanted() != wanted:
            continue
        reply = plain.xread({events: newest}, count=100, block=max(1, int(idle_s * 1000)))
        newest = _newest(reply[0][1][::-1], newest) if reply else newest
        if not reply:
            yield Idle()


async def follow_async(client: "AsyncRedis", job_id: str, after: int = -1, idle_s: float = 1.0) -> AsyncIterator[Event]:
    """The same for an event loop; waits for a Redis that is away, yielding `Idle`.

    Args:
        client: with a socket timeout above ``idle_s``.
        job_id: the job.
        after: the last frame the viewer has.
        idle_s: yield `Idle` after so much silence.
    """
    plain: Any = client
    reader = FrameReader(after)
    events = job_key(job_id, "events")
    newest: bytes | None = None
    while not reader.is_done:
        wanted = reader.wanted()
        found: list[Event] = []
        try:
            newest = _newest(await plain.xrevrange(events, count=1)) if newest is None else newest
            replies = await _ask(plain.pipeline(transaction=True), job_id, wanted).execute()
        except AWAY:
            yield Idle()
            await asyncio.sleep(RECONNECT_S)
            continue
        found = reader.advance(_snapshot(replies, wanted))
        for event in found:
            yield event
        if found or reader.is_done or reader.wanted() != wanted:
            continue
        try:
            reply = await plain.xread({events: newest}, count=100, block=max(1, int(idle_s * 1000)))
        except AWAY:
            yield Idle()
            await asyncio.sleep(RECONNECT_S)
            continue
        newest = _newest(reply[0][1][::-1], newest) if reply else newest
        if not reply:
            yield Idle()


def _ask(pipe: Any, job_id: str, wanted: Sequence[int]) -> Any:
    pipe.hmget(job_key(job_id), FIELDS)
    for first in wanted:
        pipe.get(job_key(job_id, "slice", str(first)))
    return pipe


def _snapshot(replies: Sequence[Any], wanted: Sequence[int]) -> Snapshot:
    state, *numbers = replies[0]
    if state is None:
        return Snapshot(None)
    n_frames, hop, muxed, tail, rendered = (int(value or 0) for value in numbers)
    return Snapshot(
        state=JobState(state.decode()),
        n_frames=n_frames,
        hop=hop,
        muxed_frames=muxed,
        tail_frame=tail,
        rendered_frames=rendered,
        slices=dict(zip(wanted, replies[1:], strict=True)),
    )


def _newest(entries: Sequence[Any], otherwise: bytes = b"0-0") -> bytes:
    return entries[0][0] if entries else otherwise
