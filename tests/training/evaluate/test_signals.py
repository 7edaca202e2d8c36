import numpy as np
import pytest
from scipy.signal import welch

from shared.media.audio import measure_level
from training.evaluate import signals


def _db(pcm: signals.Pcm) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(pcm / 32768.0)))))


def test_sounds_have_their_length_and_come_again_from_the_seed() -> None:
    for make in (signals.white_noise, signals.pink_noise, signals.room_noise, signals.music):
        one, again, other = (make(3.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert one.shape == (48_000,)
        assert one.dtype == np.int16
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)


def test_levels_are_what_they_say() -> None:
    assert measure_level(signals.silence(1.0)).is_silent
    rng = np.random.default_rng(0)
    room = signals.room_noise(5.0, rng)
    assert -68 < _db(room) < -64
    assert not measure_level(room).is_silent
    assert measure_level(room).gain == pytest.approx(100.0)
    for make in (signals.white_noise, signals.pink_noise, signals.music):
        assert _db(make(5.0, rng)) == pytest.approx(-20, abs=0.5)


def test_noises_have_their_colours_and_music_has_tones() -> None:
    rng = np.random.default_rng(1)

    def power(pcm: signals.Pcm, low_hz: float, high_hz: float) -> float:
        frequencies, values = welch(pcm.astype(float), 16_000, nperseg=4096)
        return float(values[(frequencies >= low_hz) & (frequencies < high_hz)].mean())

    white, pink = signals.white_noise(10.0, rng), signals.pink_noise(10.0, rng)
    assert power(white, 200, 400) == pytest.approx(power(white, 3200, 6400), rel=0.15)
    assert power(pink, 200, 400) / power(pink, 3200, 6400) == pytest.approx(16, rel=0.3)
    _, tune = welch(signals.music(10.0, rng).astype(float), 16_000, nperseg=4096)
    assert tune[20:500].max() > 30 * np.median(tune[20:500])
