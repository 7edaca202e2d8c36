"""Sounds without speech to try a system on: silence, room noise, noises, and music made of tones and drums.

All from a seed, int16 mono at 16 kHz. The gain that services apply brings each of them to the level of speech, except
silence, so a quiet room becomes as loud as it does when somebody sends one.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from shared.timeline import SAMPLE_RATE

Pcm = NDArray[np.int16]

SCALE_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
BASS_HZ = 110.0


def silence(duration_s: float) -> Pcm:
    """Digital silence."""
    return np.zeros(round(duration_s * SAMPLE_RATE), np.int16)


def white_noise(duration_s: float, rng: np.random.Generator) -> Pcm:
    """Steady white noise."""
    return _to_pcm(rng.standard_normal(round(duration_s * SAMPLE_RATE)), 0.1)


def pink_noise(duration_s: float, rng: np.random.Generator) -> Pcm:
    """Noise with 3 dB less power per octave that swells and fades every few seconds, as traffic does."""
    n = round(duration_s * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(1.0, np.arange(len(spectrum))))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * (np.arange(n) / SAMPLE_RATE / 3.7 + rng.random()))
    return _to_pcm(np.fft.irfft(spectrum, n) * swell, 0.1)


def room_noise(duration_s: float, rng: np.random.Generator) -> Pcm:
    """A quiet room, about -66 dB of full scale: low-passed noise and a little hum."""
    n = round(duration_s * SAMPLE_RATE)
    rumble = lfilter([0.08], [1.0, -0.92], rng.standard_normal(n))
    hum = 0.3 * rumble.std() * np.sin(2 * np.pi * 100.0 * np.arange(n) / SAMPLE_RATE)
    return _to_pcm(rumble + hum, 0.0005)


def music(duration_s: float, rng: np.random.Generator) -> Pcm:
    """A band without a singer: chords, a melody with vibrato, bass and drums at about 110 beats a minute."""
    n = round(duration_s * SAMPLE_RATE)
    beat_s = 60.0 / rng.uniform(95, 125)
    out = np.zeros(n + SAMPLE_RATE)
    for beat in range(int(duration_s / beat_s)):
        at = round(beat * beat_s * SAMPLE_RATE)
        root = int(rng.choice((0, 3, 4, 5)))
        if beat % 4 == 0:
            for step in (0, 2, 4):
                _add(out, at, 0.10 * _note(_pitch(root + step + 7), 4 * beat_s, 6, 0.0, rng))
            _add(out, at, 0.35 * _note(_pitch(root), 2 * beat_s, 4, 0.0, rng))
        for half in range(2):
            if rng.random() < 0.7:
                begin = at + round(half * beat_s * SAMPLE_RATE / 2)
                _add(out, begin, 0.22 * _note(_pitch(int(rng.integers(14, 24))), 0.6 * beat_s, 8, 5.5, rng))
        _add(out, at, _drum(beat % 2 == 1, rng))
    return _to_pcm(out[:n], 0.1)


def _pitch(step: int) -> float:
    octave, degree = divmod(step, len(SCALE_SEMITONES))
    return float(BASS_HZ * 2.0 ** (octave + SCALE_SEMITONES[degree] / 12))


def _note(
    pitch_hz: float, duration_s: float, n_harmonics: int, vibrato_hz: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    times = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * pitch_hz * times + 0.05 * pitch_hz / 100 * np.sin(2 * np.pi * vibrato_hz * times)
    tone = np.sum([np.sin(k * phase + rng.random()) / k for k in range(1, n_harmonics + 1)], axis=0)
    fade = (
        np.minimum(1.0, times / 0.02) * np.exp(-1.5 * times / duration_s) * np.minimum(1, (duration_s - times) / 0.03)
    )
    return np.asarray(tone * fade)


def _drum(is_snare: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    times = np.arange(round(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    if is_snare:
        return np.asarray(0.25 * rng.standard_normal(len(times)) * np.exp(-times / 0.05))
    return np.asarray(0.8 * np.sin(2 * np.pi * 55 * times + 8 * np.exp(-times / 0.03)) * np.exp(-times / 0.08))


def _add(out: NDArray[np.float64], at: int, sound: NDArray[np.float64]) -> None:
    stop = min(len(out), at + len(sound))
    out[at:stop] += sound[: stop - at]


def _to_pcm(sound: NDArray[np.float64], rms: float) -> Pcm:
    level = np.sqrt(np.mean(np.square(sound)))
    scaled = np.clip(sound * (rms / max(level, 1e-12)), -1.0, 1.0)
    pcm: Pcm = np.round(scaled * 32767.0).astype(np.int16)
    return pcm
