"""What a viewer of a job gets next: slices in frame order, gaps, states, progress. Pure: no input or output.

`FrameReader` looks at a `Snapshot` of the job, taken in one transaction with the slices it asked for, so a missing
slice of a muxed range is gone for good. A viewer never holds anything up: frames dropped before they were read become a
`Gap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.codec import pack, unpack
from shared.errors import BadMessage
from shared.protocol import JobState
from shared.timeline import Geometry, slices_of, window_at

SLICE_VERSION = 1
SLICES_AT_ONCE = 2


@dataclass(frozen=True)
class Frames:
    """Encoded frames first_frame, first_frame + 1 ..."""

    first_frame: int
    jpegs: tuple[bytes, ...]


@dataclass(frozen=True)
class Gap:
    """Frames first_frame to last_frame, both included, were dropped before they could be read."""

    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class StateChanged:
    """The job is in another state; the first of these says in which it was found. None: Redis knows it no longer."""

    state: JobState | None


@dataclass(frozen=True)
class Progress:
    """Frames drawn, frames in finished segments, frames in all."""

    rendered_frames: int
    muxed_frames: int
    total_frames: int


@dataclass(frozen=True)
class Idle:
    """Nothing happened for a while; the stream is alive."""


Event = Frames | Gap | StateChanged | Progress | Idle


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment, with the slices asked for.

    Attributes:
        state: None when there is no such job.
        n_frames: 0 before the job is planned.
        hop: new frames per window.
        muxed_frames: frames in finished segments, without a hole.
        tail_frame: first frame kept for viewers.
        rendered_frames: frames drawn.
        slices: encoded slices by first frame, None where there is none.
    """

    state: JobState | None
    n_frames: int = 0
    hop: int = 0
    muxed_frames: int = 0
    tail_frame: int = 0
    rendered_frames: int = 0
    slices: dict[int, bytes | None] = field(default_factory=dict)


class FrameReader:
    """What a viewer gets next; no input or output.

    Args:
        after: the last frame the viewer has, -1 for none.
    """

    def __init__(self, after: int = -1) -> None:
        self.next_frame = max(0, after + 1)
        self.is_done = False
        self._n_frames = 0
        self._hop = 0
        self._gap_from: int | None = None
        self._state: JobState | None = None
        self._seen_any = False
        self._progress: Progress | None = None

    def wanted(self, n_slices: int = SLICES_AT_ONCE) -> list[int]:
        """First frames of the slices to look for; empty before the plan is known and after the last frame."""
        firsts: list[int] = []
        frame = self.next_frame
        while len(firsts) < n_slices and frame < self._n_frames:
            first, n = self._slice_of(frame)
            firsts.append(first)
            frame = first + n
        return firsts

    def advance(self, snapshot: Snapshot) -> list[Event]:
        """Events that follow from a snapshot; a terminal state comes after the last frame."""
        self._n_frames, self._hop = snapshot.n_frames, snapshot.hop
        events: list[Event] = []
        is_final = snapshot.state is None or snapshot.state.is_final
        if not is_final:
            events += self._state_event(snapshot.state)
        events += self._progress_event(snapshot)
        while (step := self._step(snapshot)) is not None:
            events += step
        if self.next_frame < self._n_frames and self._slice_of(self.next_frame)[0] not in snapshot.slices:
            return events  # the next slice was not asked for yet
        events += self._flush_gap()
        if is_final:
            events += self._state_event(snapshot.state)
            self.is_done = True
        return events

    def _step(self, snapshot: Snapshot) -> list[Event] | None:
        """One slice further, or None when there is nothing to say about the next one."""
        if self.next_frame >= self._n_frames:
            return None
        first, n = self._slice_of(self.next_frame)
        data = snapshot.slices.get(first)
        if data is not None:
            jpegs = decode_slice(data)[self.next_frame - first :]
            events = self._flush_gap()
            events.append(Frames(self.next_frame, tuple(jpegs)))
            self.next_frame = first + n
            return events
        if first + n <= snapshot.tail_frame or (first in snapshot.slices and first + n <= snapshot.muxed_frames):
            self._gap_from = self.next_frame if self._gap_from is None else self._gap_from
            self.next_frame = first + n
            return []
        return None

    def _flush_gap(self) -> list[Event]:
        if self._gap_from is None:
            return []
        gap = Gap(self._gap_from, self.next_frame - 1)
        self._gap_from = None
        return [gap]

    def _state_event(self, state: JobState | None) -> list[Event]:
        if self._seen_any and state == self._state:
            return []
        self._seen_any, self._state = True, state
        return [StateChanged(state)]

    def _progress_event(self, snapshot: Snapshot) -> list[Event]:
        progress = Progress(snapshot.rendered_frames, snapshot.muxed_frames, snapshot.n_frames)
        if progress == self._progress or not snapshot.n_frames:
            return []
        self._progress = progress
        return [progress]

    def _slice_of(self, frame: int) -> tuple[int, int]:
        window = window_at(frame // self._hop, self._n_frames, Geometry(hop=self._hop))
        part = next(part for part in slices_of(window) if part.first_frame + part.n_frames > frame)
        return part.first_frame, part.n_frames


def encode_slice(first_frame: int, jpegs: Sequence[bytes]) -> bytes:
    """A slice as it is stored."""
    return pack({"v": SLICE_VERSION, "first": first_frame, "jpegs": list(jpegs)})


def decode_slice(data: bytes) -> list[bytes]:
    """The encoded frames of a stored slice.

    Raises:
        BadMessage: not what `encode_slice` made.
    """
    value = unpack(data)
    if not isinstance(value, dict) or value.get("v") != SLICE_VERSION or not isinstance(value.get("jpegs"), list):
        raise BadMessage(f"slice of {len(data)} bytes is not a map of version {SLICE_VERSION} with a list `jpegs`")
    return list(value["jpegs"])
