from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.augment import Augmentation, augment, babble, breathy, coloured_noise, draw_speeds, spectra_at_length

N = 16_000


def with_probability(value: float, level_db: float) -> Augmentation:
    """Every change with the same probability."""
    changes: dict[str, Any] = {f.name: value for f in fields(Augmentation) if f.name.startswith("p_")}
    return replace(Augmentation(), level_db=level_db, **changes)


def off() -> Augmentation:
    """No change at all."""
    return with_probability(0.0, level_db=0.0)


def tone(frequency_hz: float, n_samples: int = N) -> NDArray[np.float32]:
    return np.asarray(0.1 * np.sqrt(2) * np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / 16_000), np.float32)


def test_nothing_switched_on_changes_nothing() -> None:
    spectra = spectra_at_length([tone(440.0)], N)
    np.testing.assert_allclose(augment(spectra, N, off(), np.random.default_rng(0))[0], tone(440.0), atol=1e-5)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_moves_pitch_and_keeps_level(speed: float) -> None:
    spectra = spectra_at_length([tone(400.0, round(N * speed))], N)
    wave = augment(spectra, N, off(), np.random.default_rng(0))[0]
    assert np.abs(np.fft.rfft(wave)).argmax() == pytest.approx(400.0 * speed, abs=1)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.1, rel=0.02)


def test_equal_seeds_give_equal_batches() -> None:
    spectra = spectra_at_length([tone(200.0), tone(300.0), tone(500.0)], N)
    one, two, other = (augment(spectra, N, Augmentation(), np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()


def test_noise_has_the_level_it_was_asked_for() -> None:
    settings = replace(off(), p_noise=1.0, noise_snr_db=(10.0, 10.0))
    spectra = spectra_at_length([tone(440.0)] * 4, N)
    noise = augment(spectra, N, settings, np.random.default_rng(0)) - tone(440.0)
    np.testing.assert_allclose(np.sqrt(np.mean(noise**2, axis=1)), 0.1 * 10**-0.5, rtol=0.02)


def test_coloured_noise_has_unit_level() -> None:
    waves = np.fft.irfft(coloured_noise(3, N, np.random.default_rng(0)), N)
    np.testing.assert_allclose(np.sqrt(np.mean(waves**2, axis=1)), 1.0, rtol=0.02)


def test_babble_is_made_of_the_other_rows_at_unit_level() -> None:
    silent = np.zeros(N, np.float32)
    spectra = spectra_at_length([tone(200.0), tone(300.0), silent], N)
    waves = np.fft.irfft(babble(spectra, N, np.array([0, 1, 2]), np.random.default_rng(4)), N)
    np.testing.assert_allclose(np.sqrt(np.mean(waves**2, axis=1)), 1.0, rtol=0.02)
    alone = babble(spectra_at_length([tone(200.0), silent, silent], N), N, np.array([0]), np.random.default_rng(1))
    assert np.isfinite(alone).all()


def test_babble_and_music_have_the_levels_they_were_asked_for() -> None:
    spectra = spectra_at_length([tone(440.0 + 40 * i) for i in range(4)], N)
    for changes in (
        {"p_babble": 1.0, "babble_snr_db": (10.0, 10.0)},
        {"p_music": 1.0, "music_snr_db": (10.0, 10.0)},
    ):
        settings = replace(off(), **changes)  # type: ignore[arg-type]
        added = augment(spectra, N, settings, np.random.default_rng(0)) - np.fft.irfft(spectra, N)
        np.testing.assert_allclose(np.sqrt(np.mean(added**2, axis=1)), 0.1 * 10**-0.5, rtol=0.03)


def test_breath_in_the_voice_follows_the_voice() -> None:
    voice = np.concatenate([tone(150.0), np.zeros(N, np.float32)])
    added = breathy(voice, np.random.default_rng(0)) - voice
    assert 0.1 * 10**-1.5 < np.sqrt(np.mean(added[:N] ** 2)) < 0.1 * 10**-0.6
    assert np.abs(added[N + 320 :]).max() < 1e-4


def test_every_change_on_stays_finite_and_near_its_level() -> None:
    settings = with_probability(1.0, level_db=10.0)
    rng = np.random.default_rng(0)
    waves = augment(spectra_at_length([tone(150.0), np.zeros(N, np.float32)], N), N, settings, rng)
    assert waves.dtype == np.float32
    assert np.isfinite(waves).all()
    assert np.abs(waves).max() < 10.0


def test_speeds_stay_in_range() -> None:
    speeds = draw_speeds(1000, Augmentation(), np.random.default_rng(0))
    assert speeds.min() >= 0.78
    assert speeds.max() <= 1.28
    assert 0.1 < np.mean(speeds == 1.0) < 0.3
