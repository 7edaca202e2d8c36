import numpy as np
import pytest
from numpy.typing import NDArray

from services.motion_dit.events import (
    BLINK,
    BLINK_PROFILE,
    DOUBLE_BLINK_GAP_FRAMES,
    GAZE_X,
    EventState,
    draw_events,
    interval_stretch,
)
from services.motion_dit.sampler import EVENT_STREAM, philox
from shared.timeline import FPS

FloatArray = NDArray[np.float32]


def _chain(n_windows: int, hop: int, seed: int, loudness: float = 0.6, rate: float | None = None) -> FloatArray:
    state, parts = EventState(), []
    for window in range(n_windows):
        level = np.full(hop, loudness, np.float32)
        tracks, state = draw_events(state, window * hop, level, philox(seed, window, EVENT_STREAM), rate)
        parts.append(tracks)
    return np.concatenate(parts)


def _onsets(track: FloatArray) -> NDArray[np.int64]:
    shut = track > 0.4
    return np.flatnonzero(shut[1:] & ~shut[:-1])


def test_blinks_come_at_a_human_rate() -> None:
    rates = [len(_onsets(_chain(60, 65, seed)[:, BLINK])) / (60 * 65 / FPS / 60) for seed in range(8)]
    assert 12 <= np.mean(rates) <= 20
    assert min(rates) >= 8


@pytest.mark.parametrize(("rate", "hop"), [(0.0, 65), (8.0, 65), (17.0, 13), (40.0, 65)])
def test_blinks_follow_a_given_rate_whatever_the_windows(rate: float, hop: int) -> None:
    """Within three standard deviations of a Poisson process, which counts less evenly than these blinks."""
    n_windows = 450
    expected = rate * n_windows * hop / FPS / 60
    counted = len(_onsets(_chain(n_windows, hop, 5, rate=rate)[:, BLINK]))
    assert abs(counted - expected) <= 3 * np.sqrt(expected)


def test_the_natural_rate_is_not_stretched() -> None:
    assert interval_stretch(None) == 1.0
    natural = 18.767  # per minute: 0.9 * 3.517 s (mean of the clipped lognormal) + 0.1 * 0.32 s
    assert interval_stretch(natural) == pytest.approx(1.0, abs=1e-4)
    assert interval_stretch(40.0) < 1.0 < interval_stretch(10.0)


def test_blinks_at_the_highest_rate_stay_whole() -> None:
    track = _chain(100, 65, 2, rate=40.0)[:, BLINK]
    onsets = _onsets(track)
    assert np.diff(onsets).min() >= DOUBLE_BLINK_GAP_FRAMES - 1
    assert all(track[onset : onset + len(BLINK_PROFILE)].max() >= 0.8 for onset in onsets)


def test_a_blink_across_a_window_border_is_drawn_whole() -> None:
    for seed in range(20):
        track = _chain(40, 13, seed)[:, BLINK]
        for onset in _onsets(track):
            begin = int(onset)
            piece = track[begin : begin + len(BLINK_PROFILE)]
            if len(piece) < len(BLINK_PROFILE):
                continue
            peak = piece[2]
            assert 0.8 <= peak <= 1.0
            assert np.allclose(piece[1:5], peak * np.array(BLINK_PROFILE[1:5]), atol=1e-5)


def test_the_gaze_jumps_and_rests() -> None:
    gaze = _chain(40, 65, 3)[:, GAZE_X]
    jumps = np.count_nonzero(np.diff(gaze))
    assert 0.4 < 40 * 65 / FPS / jumps < 2.0
    assert 0.6 < gaze.std() < 1.4


@pytest.mark.parametrize("hop", [1, 13, 65])
def test_equal_arguments_give_equal_tracks(hop: int) -> None:
    assert np.array_equal(_chain(6, hop, 9), _chain(6, hop, 9))


def test_some_blinks_wait_for_a_pause() -> None:
    level = np.full(400, 0.7, np.float32)
    starts = np.arange(40, 400, 40)
    for start in starts:
        level[start : start + 8] = 0.0
    near = total = 0
    for seed in range(200):
        tracks, _ = draw_events(EventState(), 0, level, philox(seed, 0, EVENT_STREAM))
        onsets = _onsets(tracks[:, BLINK])
        near += sum(int(np.min(np.abs(starts - onset)) <= 2) for onset in onsets)
        total += len(onsets)
    assert near / total > 0.25  # 5 of 40 frames would be 0.12 by chance
