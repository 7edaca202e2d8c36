"""The time base: exact arithmetic, windows and slices that tile the video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import timeline
from shared.timeline import Geometry, encoder_span, frame_count, slices_of, window_at, window_count

GEOMETRY = Geometry()


@pytest.mark.parametrize(("n_samples", "expected"), [(0, 1), (1, 1), (640, 1), (641, 2), (16_000, 25), (16_001, 26)])
def test_frame_count_rounds_up_and_is_never_zero(n_samples: int, expected: int) -> None:
    assert frame_count(n_samples) == expected


def test_frame_count_refuses_negative_length() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        frame_count(-1)


def test_exact_div_refuses_a_remainder() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        timeline.exact_div(7, 2)


@given(n_frames=st.integers(1, 20_000), hop=st.integers(1, 65))
def test_windows_tile_the_video_without_gap_or_overlap(n_frames: int, hop: int) -> None:
    geometry = Geometry(hop=hop)
    windows = [window_at(i, n_frames, geometry) for i in range(min(40, window_count(n_frames, geometry)))]
    position = 0
    for window in windows:
        assert window.first_frame == position
        assert 1 <= window.n_new <= hop
        position += window.n_new
    last = window_at(window_count(n_frames, geometry) - 1, n_frames, geometry)
    assert last.first_frame + last.n_new == n_frames


@given(n_frames=st.integers(1, 2_000))
def test_slices_tile_their_window(n_frames: int) -> None:
    for index in range(window_count(n_frames, GEOMETRY)):
        window = window_at(index, n_frames, GEOMETRY)
        slices = slices_of(window)
        frames = [f for piece in slices for f in range(piece.first_frame, piece.first_frame + piece.n_frames)]
        assert frames == list(range(window.first_frame, window.first_frame + window.n_new))
        assert slices[0].n_frames <= (5 if index == 0 else 13)


@pytest.mark.parametrize("index", [-1, 2])
def test_a_window_outside_the_video_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="window"):
        window_at(index, 130, GEOMETRY)


@pytest.mark.parametrize("lookahead", [-1, 11])
def test_a_lookahead_that_is_not_heard_is_refused(lookahead: int) -> None:
    with pytest.raises(ValueError, match="look-ahead"):
        Geometry(lookahead=lookahead)


def test_looking_ahead_adds_rows_but_no_sound() -> None:
    ahead = Geometry(lookahead=4)
    assert (ahead.length, ahead.heard) == (GEOMETRY.length + 4, GEOMETRY.heard)
    window = window_at(1, 500, GEOMETRY)
    assert encoder_span(window, ahead, 720) == encoder_span(window, GEOMETRY, 720)


@pytest.mark.parametrize("receptive_field", [400, 720])
@pytest.mark.parametrize("index", [0, 3])
def test_span_gives_exactly_two_features_per_frame_centred_on_it(receptive_field: int, index: int) -> None:
    window = window_at(index, 500, GEOMETRY)
    start, stop = encoder_span(window, GEOMETRY, receptive_field)
    n_features = (stop - start - receptive_field) // 320 + 1
    assert (stop - start - receptive_field) % 320 == 0
    assert n_features == 2 * GEOMETRY.heard
    centre_of_first_pair = start + receptive_field / 2 + 160
    first_frame = window.first_frame - GEOMETRY.context - GEOMETRY.margin
    assert centre_of_first_pair == first_frame * 640 + 320
