"""WindowState: all that one window of motion needs to know of the windows before it, as a value and as bytes.

The rows are what the network generated, before any option of the caller was applied. Knows nothing of the network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.motion_dit.events import EVENT_SIZE, EventState
from shared.codec import pack, unpack
from shared.errors import BadMessage, VersionMismatch
from shared.motion import ROW, check_rows, neutral_rows

FloatArray = NDArray[np.float32]

STATE_VERSION = 2
MAX_STATE_BYTES = 64 * 1024


@dataclass(frozen=True)
class WindowState:
    """What the next window starts from.

    Attributes:
        window: index of the window that this state is for.
        rows: (context, 70) float32, the last generated rows, unscaled.
        tracks: (context + look-ahead, 3) float32, event tracks of the same frames and of those looked ahead at: the
            event processes run that far ahead of the motion. Without the look-ahead for window 0.
        events: the event processes.
    """

    window: int
    rows: FloatArray
    tracks: FloatArray
    events: EventState

    def to_bytes(self) -> bytes:
        """Encode for the queue."""
        events = {
            "next_blink": self.events.next_blink,
            "next_glance": self.events.next_glance,
            "gaze": list(self.events.gaze),
            "blinks": [list(blink) for blink in self.events.blinks],
        }
        return pack({"v": STATE_VERSION, "window": self.window, "rows": self.rows, "tracks": self.tracks, "ev": events})


def first_state(context: int) -> WindowState:
    """The state of window 0: neutral rows, nothing has happened yet."""
    return WindowState(0, neutral_rows(context), np.zeros((context, EVENT_SIZE), np.float32), EventState())


def read_state(data: bytes, window: int, context: int, lookahead: int = 0) -> WindowState:
    """Decode what `WindowState.to_bytes` made; empty bytes are the state of window 0.

    Args:
        data: the bytes.
        window: the window about to be generated.
        context: frames of context that the model expects.
        lookahead: frames that the model looks ahead.

    Raises:
        BadMessage: malformed, or the state of another window or context length.
        VersionMismatch: written by another version.
    """
    state = _parse(unpack(data, max_bytes=MAX_STATE_BYTES)) if data else first_state(context)
    n_tracks = context + lookahead if data else context
    if (state.window, len(state.rows), len(state.tracks)) != (window, context, n_tracks):
        raise BadMessage(
            f"state for window {state.window} with {len(state.rows)} context rows and {len(state.tracks)} event rows; "
            f"expected window {window} with {context} and {n_tracks}"
        )
    return state


def _parse(value: Any) -> WindowState:
    if not isinstance(value, dict) or "v" not in value:
        raise BadMessage("a window state is a map with a version")
    if value["v"] != STATE_VERSION:
        raise VersionMismatch(f"window state of version {value['v']}; expected {STATE_VERSION}")
    try:
        events = value["ev"]
        gaze_x, gaze_y = events["gaze"]
        parsed = EventState(
            next_blink=int(events["next_blink"]),
            next_glance=int(events["next_glance"]),
            gaze=(float(gaze_x), float(gaze_y)),
            blinks=tuple((int(onset), float(peak)) for onset, peak in events["blinks"]),
        )
        rows, tracks = check_rows(value["rows"]), np.asarray(value["tracks"])
        window = int(value["window"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadMessage(f"window state with fields {sorted(map(str, value))}: {error}") from error
    if tracks.ndim != 2 or tracks.shape[1] != EVENT_SIZE or tracks.dtype != np.float32 or rows.shape[1] != ROW:
        raise BadMessage(f"event tracks of shape {tracks.shape} and dtype {tracks.dtype} for {len(rows)} rows")
    return WindowState(window, rows, tracks, parsed)
