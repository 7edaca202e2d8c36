from dataclasses import replace

import numpy as np
import pytest

from services.motion_dit.events import EventState
from services.motion_dit.window import WindowState, first_state, read_state
from shared.codec import pack, unpack
from shared.errors import BadMessage, VersionMismatch
from shared.motion import neutral_rows


def _state() -> WindowState:
    rng = np.random.default_rng(0)
    events = EventState(next_blink=71, next_glance=66, gaze=(0.5, -1.25), blinks=((63, 0.9375),))
    return WindowState(
        1, rng.normal(size=(10, 70)).astype(np.float32), rng.normal(size=(10, 3)).astype(np.float32), events
    )


def test_a_state_survives_its_bytes() -> None:
    state = _state()
    back = read_state(state.to_bytes(), 1, 10)
    assert np.array_equal(back.rows, state.rows)
    assert np.array_equal(back.tracks, state.tracks)
    assert back.events == state.events
    assert back.to_bytes() == state.to_bytes()


def test_empty_bytes_are_the_first_window() -> None:
    state = read_state(b"", 0, 10)
    assert np.array_equal(state.rows, neutral_rows(10))
    assert not state.tracks.any()
    assert state.events == EventState()


def test_a_state_of_another_window_is_refused() -> None:
    with pytest.raises(BadMessage, match="window 1"):
        read_state(_state().to_bytes(), 2, 10)
    with pytest.raises(BadMessage, match="window 0"):
        read_state(b"", 3, 10)
    with pytest.raises(BadMessage, match="context"):
        read_state(_state().to_bytes(), 1, 8)


def test_another_version_waits_for_a_newer_worker() -> None:
    value = unpack(_state().to_bytes())
    with pytest.raises(VersionMismatch):
        read_state(pack({**value, "v": 99}), 1, 10)


@pytest.mark.parametrize("field", ["window", "rows", "tracks", "ev"])
def test_missing_fields_are_refused(field: str) -> None:
    value = unpack(_state().to_bytes())
    del value[field]
    with pytest.raises(BadMessage):
        read_state(pack(value), 1, 10)


@pytest.mark.parametrize("data", [b"\xc1", b"\x01", pack([1]), pack({"v": 2, "rows": 3, "ev": 1})])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        read_state(data, 1, 10)


def test_wrong_track_shape_is_refused() -> None:
    bad = replace(_state(), tracks=np.zeros((10, 2), np.float32))
    with pytest.raises(BadMessage, match="tracks"):
        read_state(bad.to_bytes(), 1, 10)


def test_first_states_share_nothing() -> None:
    one, other = first_state(10), first_state(10)
    one.rows[0, 0] = 5.0
    assert other.rows[0, 0] == 0.0
