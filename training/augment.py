"""Make clean synthetic speech sound like recordings: one batch at a time, mostly in the frequency domain.

Order: speed (resampling moves pitch, formants and labels together), equaliser, low- and high-pass, reverberation,
babble, coloured noise, music, mu-law, clipping, level. Circular convolution wraps a reverberation tail to the
start of the crop, where it is one more noise. Knows nothing of files or networks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d

from shared.timeline import SAMPLE_RATE
from training.background import background

Waves = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """How likely and how strong each change is; probabilities per crop.

    The last five are done by ``crops``: a stretch of 0.2 to 1 s cut to silence (``p_cut``), such a stretch filled with
    loud background (``p_fill``), no speech at all, a breath in a pause, a breathy voice.
    """

    speed: tuple[float, float] = (0.78, 1.28)
    p_speed: float = 0.8
    level_db: float = 10.0
    eq_db: float = 12.0
    p_eq: float = 0.7
    p_low_pass: float = 0.3
    low_pass_hz: tuple[float, float] = (3200.0, 7200.0)
    p_high_pass: float = 0.3
    high_pass_hz: float = 320.0
    p_reverb: float = 0.45
    reverb_s: tuple[float, float] = (0.08, 0.58)
    p_noise: float = 0.8
    noise_snr_db: tuple[float, float] = (0.0, 40.0)
    p_babble: float = 0.2
    babble_snr_db: tuple[float, float] = (5.0, 25.0)
    p_music: float = 0.18
    music_snr_db: tuple[float, float] = (3.0, 22.0)
    p_mu_law: float = 0.12
    p_clip: float = 0.1
    p_cut: float = 0.15
    p_fill: float = 0.4
    p_no_speech: float = 0.08
    p_breath: float = 0.2
    p_breathy: float = 0.2


def draw_speeds(n: int, settings: Augmentation, rng: Rng) -> NDArray[np.float64]:
    """Playback speed of each crop: (n,) float64, 1 where unchanged."""
    low, high = np.log(settings.speed)
    speeds = np.exp(rng.uniform(low, high, n))
    return np.where(rng.random(n) < settings.p_speed, speeds, 1.0)


def spectra_at_length(crops: list[Waves], n_samples: int) -> NDArray[np.complex64]:
    """Resample crops of different lengths to ``n_samples`` by cutting or padding their spectra.

    Args:
        crops: (N_i,) each.
        n_samples: even length of the result.

    Returns:
        (len(crops), n_samples // 2 + 1) complex64, for ``irfft`` with n_samples.
    """
    out = np.zeros((len(crops), n_samples // 2 + 1), np.complex64)
    for row, crop in zip(out, crops, strict=True):
        spectrum = fft.rfft(crop)
        n_bins = min(len(spectrum), len(row))
        row[:n_bins] = spectrum[:n_bins] * (n_samples / len(crop))
    return out


def augment(spectra: NDArray[np.complex64], n_samples: int, settings: Augmentation, rng: Rng) -> Waves:
    """Turn spectra of speech at a level of about RMS 0.1 into (B, n_samples) float32 recordings."""
    n_rows = len(spectra)
    spectra = spectra * _filters(n_rows, n_samples, settings, rng)
    _reverberate(spectra, n_samples, settings, rng)
    level = np.maximum(_rms_of_spectra(spectra, n_samples), 0.03)
    babbling = _chosen(n_rows, settings.p_babble, rng)
    ratio = _ratio(len(babbling), *settings.babble_snr_db, rng) * level[babbling]
    spectra[babbling] += babble(spectra, n_samples, babbling, rng) * ratio[:, None]
    noisy = _chosen(n_rows, settings.p_noise, rng)
    ratio = _ratio(len(noisy), *settings.noise_snr_db, rng) * level[noisy]
    spectra[noisy] += coloured_noise(len(noisy), n_samples, rng) * ratio[:, None]
    waves: Waves = fft.irfft(spectra, n_samples).astype(np.float32, copy=False)
    for i in _chosen(n_rows, settings.p_music, rng):
        waves[i] += background(n_samples, rng) * (_ratio(1, *settings.music_snr_db, rng) * level[i]).astype(np.float32)
    _mu_law(waves, _chosen(n_rows, settings.p_mu_law, rng))
    _clip(waves, _chosen(n_rows, settings.p_clip, rng), rng)
    gain_db = rng.uniform(-settings.level_db, settings.level_db, (n_rows, 1))
    return (waves * 10.0 ** (gain_db / 20.0)).astype(np.float32)


def coloured_noise(n_rows: int, n_samples: int, rng: Rng) -> NDArray[np.complex64]:
    """Spectra of noise of unit RMS, slopes from above white to brown: (n_rows, n_samples // 2 + 1) complex64."""
    n_bins = n_samples // 2 + 1
    parts = rng.standard_normal((2, n_rows, n_bins), dtype=np.float32)
    slope = rng.uniform(-0.15, 1.2, (n_rows, 1))
    shape = (np.maximum(_bins_hz(n_samples), 40.0)[None] / 1000.0) ** -slope
    noise = ((parts[0] + 1j * parts[1]) * shape).astype(np.complex64)
    return np.asarray(noise / _rms_of_spectra(noise, n_samples)[:, None], np.complex64)


def babble(spectra: NDArray[np.complex64], n_samples: int, rows: NDArray[np.int64], rng: Rng) -> NDArray[np.complex64]:
    """Spectra of one to four other talkers of the batch for each of ``rows``, of unit RMS (0 where all are silent)."""
    out = np.zeros((len(rows), spectra.shape[1]), np.complex64)
    for place, row in enumerate(rows):
        for shift in range(1, 1 + int(rng.integers(1, 5))):
            out[place] += spectra[(row + shift) % len(spectra)]
    return np.asarray(out / np.maximum(_rms_of_spectra(out, n_samples), 1e-3)[:, None], np.complex64)


def breathy(wave: Waves, rng: Rng) -> Waves:
    """Add aspiration: high noise that follows the voice's own envelope, 12 to 30 dB below it."""
    envelope = np.sqrt(np.maximum(uniform_filter1d(np.square(wave), 320), 0.0))  # its running sum may end below 0
    noise = np.diff(rng.standard_normal(len(wave) + 1, dtype=np.float32)) / np.float32(np.sqrt(2.0))
    return np.asarray(wave + noise * envelope * _ratio(1, 12.0, 30.0, rng), np.float32)


def _filters(n_rows: int, n_samples: int, settings: Augmentation, rng: Rng) -> NDArray[np.float32]:
    """Equaliser of nine points, low-pass and high-pass as one gain per bin: (n_rows, bins)."""
    bins_hz = _bins_hz(n_samples)
    position = np.log2(np.maximum(bins_hz, 60.0) / 60.0)
    points = np.linspace(0.0, np.log2(SAMPLE_RATE / 2 / 60.0), 9)
    gains = np.ones((n_rows, len(bins_hz)), np.float32)
    for i in range(n_rows):
        if rng.random() < settings.p_eq:
            gain_db = np.interp(position, points, rng.uniform(-1.0, 1.0, 9) * rng.uniform(0.0, settings.eq_db))
            gains[i] *= 10.0 ** (gain_db / 20.0)
        if rng.random() < settings.p_low_pass:
            gains[i] /= np.sqrt(1.0 + (bins_hz / rng.uniform(*settings.low_pass_hz)) ** 16)
        if rng.random() < settings.p_high_pass:
            gains[i] /= np.sqrt(1.0 + (rng.uniform(60.0, settings.high_pass_hz) / np.maximum(bins_hz, 1.0)) ** 8)
    return gains


def _reverberate(spectra: NDArray[np.complex64], n_samples: int, settings: Augmentation, rng: Rng) -> None:
    """Convolve some rows with decaying noise behind a direct path, in place; energy is kept about equal."""
    for i in _chosen(len(spectra), settings.p_reverb, rng):
        decay_s = rng.uniform(*settings.reverb_s)
        n = min(n_samples, int(decay_s * SAMPLE_RATE))
        tail = rng.standard_normal(n, dtype=np.float32) * np.exp(-6.9 * np.arange(n) / n)
        tail *= 10.0 ** (rng.uniform(-14.0, 1.0) / 20.0) / np.sqrt(np.sum(tail * tail))
        tail[: int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0.0
        tail[0] = 1.0
        tail /= np.sqrt(np.sum(tail * tail))
        spectra[i] *= fft.rfft(tail.astype(np.float32), n_samples)


def _mu_law(waves: Waves, rows: NDArray[np.int64]) -> None:
    """Eight-bit telephone companding of some rows, in place."""
    peak = np.maximum(np.abs(waves[rows]).max(axis=1, keepdims=True, initial=0.0), 1e-6)
    x = waves[rows] / peak
    code = np.round(np.sign(x) * np.log1p(255.0 * np.abs(x)) / np.log(256.0) * 127.0) / 127.0
    waves[rows] = np.sign(code) * (np.expm1(np.abs(code) * np.log(256.0)) / 255.0) * peak


def _clip(waves: Waves, rows: NDArray[np.int64], rng: Rng) -> None:
    for i in rows:
        limit = np.quantile(np.abs(waves[i, ::7]), rng.uniform(0.95, 0.995))
        np.clip(waves[i], -limit, limit, out=waves[i])


def _rms_of_spectra(spectra: NDArray[np.complex64], n_samples: int) -> NDArray[np.float32]:
    energy = np.sum(spectra.real**2 + spectra.imag**2, axis=1)
    return np.asarray(np.sqrt(2.0 * energy) / n_samples, np.float32)


def _bins_hz(n_samples: int) -> NDArray[np.float64]:
    return np.asarray(np.arange(n_samples // 2 + 1) * (SAMPLE_RATE / n_samples))


def _ratio(n: int, low_db: float, high_db: float, rng: Rng) -> NDArray[np.float32]:
    """Amplitude ratios of noise to speech for SNRs in [low, high] dB."""
    return np.asarray(10.0 ** (-rng.uniform(low_db, high_db, n) / 20.0), np.float32)


def _chosen(n_rows: int, probability: float, rng: Rng) -> NDArray[np.int64]:
    return np.flatnonzero(rng.random(n_rows) < probability)
