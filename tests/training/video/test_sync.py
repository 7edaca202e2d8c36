import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from training.video.sync import measure_sync


def syllables(seed: int, n_frames: int = 500) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=n_frames)
    loud: NDArray[np.float32] = np.maximum(gaussian_filter1d(noise, 2.0) * 3, 0).astype(np.float32)
    return loud


@pytest.mark.parametrize("lag", [-7, 0, 1, 6])
def test_the_lag_of_the_lips_is_found(lag: int) -> None:
    sound = syllables(1)
    lips = np.roll(sound, lag) + np.random.default_rng(2).normal(0, 0.1, 500).astype(np.float32)
    sync = measure_sync(lips, sound)
    assert sync.lag == lag
    assert sync.r > max(0.8, sync.null)


def test_strange_lips_do_not_pass_more_often_than_chance() -> None:
    spoken = [measure_sync(syllables(2 * i), syllables(2 * i + 1)).r for i in range(40)]
    assert np.median(spoken) < 0.35


@pytest.mark.parametrize("lips", [np.zeros(300, np.float32), np.full(300, 0.2, np.float32)])
def test_lips_that_stand_still_are_not_spoken(lips: NDArray[np.float32]) -> None:
    sync = measure_sync(lips, syllables(3, 300))
    assert sync.r <= sync.null


def test_a_clip_too_short_for_a_null_is_not_spoken() -> None:
    sync = measure_sync(syllables(4, 40), syllables(4, 40))
    assert sync.r <= sync.null
