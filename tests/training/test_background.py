from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from training.background import background, breath, breaths, drums, fade, hum, knocks, modulated_noise, music

N = 24_000
Sound = Callable[[int, np.random.Generator], NDArray[np.float32]]


@pytest.mark.parametrize("sound", [background, music, modulated_noise, hum, knocks, breaths, drums])
def test_every_sound_is_finite_and_of_unit_level(sound: Sound) -> None:
    for seed in range(6):
        wave = sound(N, np.random.default_rng(seed))
        assert wave.shape == (N,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        level = float(np.sqrt(np.mean(np.square(wave))))
        assert level == pytest.approx(1.0, rel=1e-3) or not wave.any()


def test_equal_seeds_sound_alike_and_others_differ() -> None:
    one, two, other = (background(N, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes() != other.tobytes()


def test_music_has_pitch_and_noise_has_none() -> None:
    def flatness(wave: NDArray[np.float32]) -> float:
        power = np.abs(np.fft.rfft(wave[:16_000] * np.hanning(16_000)))[50:4000] ** 2 + 1e-9
        return float(np.exp(np.mean(np.log(power))) / np.mean(power))

    tonal = [flatness(music(N, np.random.default_rng(seed))) for seed in range(12)]
    noisy = [flatness(modulated_noise(N, np.random.default_rng(seed))) for seed in range(12)]
    assert np.median(tonal) < 0.2 * np.median(noisy)


def test_a_breath_rises_and_falls() -> None:
    one = breath(8000, np.random.default_rng(3))
    level = np.sqrt(np.mean(np.square(one.reshape(10, 800)), axis=1))
    assert 1 <= int(level.argmax()) <= 8
    assert max(level[0], level[-1]) < 0.6 * level.max()


def test_a_fade_starts_and_ends_at_nothing() -> None:
    faded = fade(np.ones(1000, np.float32), 100)
    assert faded[0] == faded[-1] == 0.0
    assert (faded[100:900] == 1.0).all()
    assert (np.diff(faded[:100]) > 0).all()
    assert fade(np.ones(3, np.float32)).shape == (3,)
