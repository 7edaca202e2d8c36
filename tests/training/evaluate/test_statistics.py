import numpy as np
import pytest
from numpy.typing import NDArray

from shared.motion import SLIDER_INDEX, SLIDERS, exp_from_sliders
from training.evaluate import statistics as st

FPS = 25


def _walk(seed: int, n_frames: int, size: int = 3) -> NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(seed).normal(size=(n_frames, size)), axis=0)


def test_curves_without_seams_have_a_ratio_of_one() -> None:
    clips = [_walk(seed, 65 * 12) for seed in range(8)]
    seams = [list(range(65, 65 * 12, 65))] * 8
    ratio = st.step_ratio(clips, seams)
    assert ratio.low < 1.0 < ratio.high
    assert ratio.value == pytest.approx(1.0, abs=0.15)


def test_steps_that_are_twice_as_large_at_seams_give_two() -> None:
    clips, seams = [], []
    for seed in range(8):
        steps = np.random.default_rng(seed).normal(size=(65 * 12, 3))
        borders = list(range(65, 65 * 12, 65))
        steps[borders] *= 2.0
        clips.append(np.cumsum(steps, axis=0))
        seams.append(borders)
    ratio = st.step_ratio(clips, seams)
    assert ratio.value == pytest.approx(2.0, abs=0.25)
    assert ratio.low > 1.4
    shifted = [[border + 1 for border in borders] for borders in seams]
    assert st.step_ratio(clips, shifted).value < 1.3


def test_a_clip_of_one_window_has_no_seam_ratio() -> None:
    assert np.isnan(st.step_ratio([_walk(0, 60)], [[]]).value)


def test_jitter_hears_fast_motion_only() -> None:
    times = np.arange(500) / FPS
    slow, fast = np.sin(2 * np.pi * 1.5 * times), 0.1 * np.sin(2 * np.pi * 10 * times)
    assert st.jitter(slow)[25:-25].max() < 0.01
    assert np.sqrt(np.mean(st.jitter(slow + fast) ** 2)) == pytest.approx(0.1 / np.sqrt(2), rel=0.1)


def test_paired_ratio_of_twice_the_jitter_is_two() -> None:
    later = np.random.default_rng(0).uniform(0.5, 1.5, size=50)
    ratio = st.paired_ratio(2 * later, later)
    assert ratio.value == pytest.approx(2.0)
    assert ratio.low == pytest.approx(2.0)


def test_the_spectrum_finds_where_motion_is_fast() -> None:
    times = np.arange(2000) / FPS
    shares = st.band_shares([np.sin(2 * np.pi * 6.5 * times)])
    assert shares["5-8_hz"] > 0.95
    assert sum(shares.values()) == pytest.approx(1.0)
    both = [_walk(1, 2000)], [_walk(2, 2000)]
    assert st.spectral_distance_db(*both) < 1.5
    assert st.spectral_distance_db([2 * both[0][0]], both[0]) == pytest.approx(20 * np.log10(2), abs=0.01)


def test_a_drift_is_found_and_its_absence_too() -> None:
    n = 20 * 60 * FPS
    noise = np.random.default_rng(3).normal(size=n)
    still = st.trend(noise)
    assert still.low <= 0 <= still.high
    assert abs(still.per_10_min) < 0.05
    rising = st.trend(noise + 0.5 * np.arange(n) / (600 * FPS))
    assert rising.per_10_min == pytest.approx(0.5, abs=0.05)
    assert rising.low > 0
    assert len(rising.means) == 4
    assert rising.means[-1] > rising.means[0] + 0.5


def test_openings_are_counted() -> None:
    opening = np.zeros(250)
    for at in (20, 60, 100, 140, 200):
        opening[at : at + 6] = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]
    assert st.openings_per_s(opening) == pytest.approx(0.5)
    assert st.open_share(opening) == pytest.approx(30 / 250)
    assert st.closed_share(opening) == pytest.approx(220 / 250)
    assert st.openings_per_s(np.zeros(100)) == 0.0
    assert st.openings_per_s(0.3 + 0.01 * np.sin(np.arange(250))) == pytest.approx(0.1)  # held open, trembling: one


def test_blinks_are_counted_once_each() -> None:
    sliders = np.zeros((750, len(SLIDERS)), np.float32)
    for at in range(20, 740, 90):
        for side in ("blink_left", "blink_right"):
            sliders[at : at + 4, SLIDER_INDEX[side]] = [0.5, 1.0, 0.9, 0.3]
    closure = st.lids(exp_from_sliders(sliders))
    assert closure.max() == pytest.approx(0.98, abs=0.05)
    assert st.blinks_per_minute(closure) == pytest.approx(16.0)
