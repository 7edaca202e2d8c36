import numpy as np
import pytest
from numpy.typing import NDArray

from services.audio_encoder.loudness import loudness

N = 640 * 20


def tone(rms: float) -> NDArray[np.float32]:
    """A tone with whole periods per 20 ms block, so that every block has exactly this RMS."""
    return np.asarray(rms * np.sqrt(2) * np.sin(2 * np.pi * 500.0 * np.arange(N) / 16_000), np.float32)


@pytest.mark.parametrize(("rms", "gain"), [(0.2, 1.0), (0.02, 1.0), (0.02, 4.0), (0.05, 2.0)])
def test_steady_sound_follows_the_closed_form(rms: float, gain: float) -> None:
    expected = np.clip(1 + 20 * np.log10(rms * gain / 0.2) / 30, 0, 1)
    inner = loudness(tone(rms), gain)[4:-4]
    np.testing.assert_allclose(inner, expected, atol=1e-4)


def test_silence_is_zero_and_overload_is_one() -> None:
    assert not loudness(np.zeros(N, np.float32), 100.0).any()
    np.testing.assert_array_equal(loudness(tone(0.5), 4.0)[4:-4], 1.0)


def test_a_burst_spreads_over_at_most_four_blocks_each_side() -> None:
    wave = np.zeros(N, np.float32)
    wave[640 * 10 : 640 * 10 + 320] = 0.2
    value = loudness(wave, 1.0)
    assert value[10] > 0.5
    assert not value[:8].any()
    assert not value[13:].any()
