"""Sound that is not speech, made from arithmetic: music, noise, hum, knocks, breaths; one mono piece at a time.

The encoder has to call all of this silence. At run time a job's gain lifts whatever comes in to the same level, so
music alone arrives as loud as speech does. Nothing here has moving formants. Knows nothing of files or networks.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d

from shared.timeline import SAMPLE_RATE

Wave = NDArray[np.float32]
Rng = np.random.Generator

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))
LOWEST_HZ = 55.0
HIGHEST_HARMONIC_HZ = 7600.0
MAX_HARMONICS = 14


def background(n_samples: int, rng: Rng) -> Wave:
    """Music (60 %) or another sound: (n_samples,) float32 of unit RMS, or silence where nothing happened to sound."""
    if rng.random() < 0.6:
        return music(n_samples, rng)
    kinds: tuple[Callable[[int, Rng], Wave], ...] = (modulated_noise, hum, knocks, breaths, drums)
    wave = kinds[rng.integers(len(kinds))](n_samples, rng)
    if rng.random() < 0.3:
        wave = wave + np.float32(rng.uniform(0.1, 1.0)) * modulated_noise(n_samples, rng)
    return _unit(wave)


def music(n_samples: int, rng: Rng) -> Wave:
    """Chords or an arpeggio, and perhaps a melody, a bass and drums, in one scale and tempo, unit RMS."""
    beat_s = 60.0 / rng.uniform(60.0, 170.0)
    scale = np.array(SCALES[rng.integers(len(SCALES))])
    root_hz = LOWEST_HZ * 2.0 ** (rng.integers(12) / 12.0)
    # A line alone may sound like a held vowel: chords or an arpeggio carry the piece, melody and bass are softer.
    out = _unit((_chords if rng.random() < 0.6 else _arpeggio)(n_samples, beat_s, scale, root_hz, rng))
    for layer, loudest in ((_arpeggio, 1.0), (_melody, 0.6), (_bass, 0.8)):
        if rng.random() < 0.45:
            out += _unit(layer(n_samples, beat_s, scale, root_hz, rng)) * np.float32(rng.uniform(0.2, loudest))
    if rng.random() < 0.45:
        out += drums(n_samples, rng, beat_s) * np.float32(rng.uniform(0.2, 1.0))
    return _unit(out)


def modulated_noise(n_samples: int, rng: Rng) -> Wave:
    """Noise with a random spectral slope and a hump, swelling slowly, fast or not at all; unit RMS."""
    hz = np.maximum(fft.rfftfreq(n_samples, 1.0 / SAMPLE_RATE), 30.0)
    hump = 1.0 + rng.uniform(0.0, 8.0) * np.exp(
        -((np.log2(hz / rng.uniform(150.0, 6000.0)) / rng.uniform(0.3, 1.5)) ** 2)
    )
    shape = (hz / 1000.0) ** -rng.uniform(-0.3, 1.3) * hump
    parts = rng.standard_normal((2, len(hz)), dtype=np.float32)
    wave = _unit(fft.irfft(((parts[0] + 1j * parts[1]) * shape).astype(np.complex64), n_samples))
    if rng.random() < 0.6:
        wave = wave * _swell(n_samples, float(np.exp(rng.uniform(np.log(0.3), np.log(12.0)))), rng)
    return _unit(wave)


def hum(n_samples: int, rng: Rng) -> Wave:
    """Mains or a machine: steady, falling harmonics of 50 to 120 Hz; unit RMS."""
    f0 = float(rng.choice([50.0, 60.0, 100.0, 120.0]))
    n_harmonics = int(rng.integers(1, 16))
    t = np.arange(n_samples, dtype=np.float32) / SAMPLE_RATE
    out = np.zeros(n_samples, np.float32)
    for h in range(1, n_harmonics + 1):
        if f0 * h < HIGHEST_HARMONIC_HZ:
            out += np.float32(rng.exponential() / h ** rng.uniform(0.8, 1.8)) * np.sin(
                np.float32(2 * np.pi * f0 * h) * t + np.float32(rng.uniform(0, 6.28))
            )
    return _unit(out)


def knocks(n_samples: int, rng: Rng) -> Wave:
    """Clicks, knocks, steps, typing: short decaying resonances or noise at irregular times; unit RMS."""
    out = np.zeros(n_samples, np.float32)
    at = rng.uniform(0.0, 0.3)
    gap_s = rng.uniform(0.05, 0.6)
    while at * SAMPLE_RATE < n_samples:
        decay_s = float(np.exp(rng.uniform(np.log(0.002), np.log(0.12))))
        n = int(5 * decay_s * SAMPLE_RATE) + 16
        t = np.arange(n, dtype=np.float32) / SAMPLE_RATE
        source = rng.standard_normal(n, dtype=np.float32) * np.float32(rng.uniform(0.1, 1.0))
        source += np.sin(np.float32(2 * np.pi * rng.uniform(80.0, 3000.0)) * t)
        _add(out, source * np.exp(-t / np.float32(decay_s)) * np.float32(rng.uniform(0.2, 1.0)), at)
        at += rng.exponential(gap_s) + 0.03
    return _unit(out)


def breaths(n_samples: int, rng: Rng) -> Wave:
    """Breaths one after another with pauses; unit RMS."""
    out = np.zeros(n_samples, np.float32)
    at = rng.uniform(-0.2, 0.6)
    while at * SAMPLE_RATE < n_samples:
        one = breath(int(rng.uniform(0.2, 1.0) * SAMPLE_RATE), rng)
        _add(out, one * np.float32(rng.uniform(0.3, 1.0)), at)
        at += len(one) / SAMPLE_RATE + rng.uniform(0.1, 1.0)
    return _unit(out)


def breath(n_samples: int, rng: Rng) -> Wave:
    """One breath: noise with two broad humps that rises and falls; (n_samples,) float32, peak envelope about 1."""
    hz = fft.rfftfreq(n_samples, 1.0 / SAMPLE_RATE)
    shape = np.zeros_like(hz)
    for low, high in ((300.0, 1500.0), (1500.0, 5000.0)):
        centre = rng.uniform(low, high)
        shape += rng.uniform(0.2, 1.0) * np.exp(-(((hz - centre) / (0.5 * centre)) ** 2))
    parts = rng.standard_normal((2, len(hz)), dtype=np.float32)
    noise = _unit(fft.irfft(((parts[0] + 1j * parts[1]) * (shape + 0.03)).astype(np.complex64), n_samples))
    x = np.linspace(0.0, 1.0, n_samples) ** rng.uniform(0.6, 1.8)
    return np.asarray(noise * np.sin(np.pi * x) ** rng.uniform(0.7, 2.0), np.float32)


def drums(n_samples: int, rng: Rng, beat_s: float = 0.5) -> Wave:
    """Kick, snare and hi-hat on a random pattern of eight half beats; unit RMS."""
    step_s = beat_s / 2.0
    hits = {"kick": rng.random(8) < 0.3, "snare": rng.random(8) < 0.25, "hat": rng.random(8) < rng.uniform(0.2, 0.9)}
    hits["kick"][0] = True
    sounds = {"kick": _kick(rng), "snare": _snare(rng), "hat": _hat(rng)}
    volumes = {name: np.float32(rng.uniform(0.2, 1.0)) for name in hits}
    out = np.zeros(n_samples, np.float32)
    start = int(rng.integers(8))
    for k in range(int(n_samples / SAMPLE_RATE / step_s) + 1):
        for name, pattern in hits.items():
            if pattern[(start + k) % 8]:
                _add(out, sounds[name] * volumes[name], k * step_s)
    return _unit(out)


def fade(wave: Wave, n_fade: int = 160) -> Wave:
    """The wave with raised-cosine ends of ``n_fade`` samples."""
    n = min(n_fade, len(wave) // 2)
    ramp = np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(1, n)), np.float32)
    out = wave.copy()
    out[:n] *= ramp
    out[len(out) - n :] *= ramp[::-1]
    return out


def _chords(n_samples: int, beat_s: float, scale: NDArray[np.int64], root_hz: float, rng: Rng) -> Wave:
    out = np.zeros(n_samples, np.float32)
    tone = _Timbre(rng, plucked=rng.random() < 0.4)
    at, length_s = -rng.uniform(0.0, 2 * beat_s), beat_s * float(rng.choice([1, 2, 4]))
    while at * SAMPLE_RATE < n_samples:
        degree = int(rng.integers(len(scale)))
        for step in (0, 2, 4)[: int(rng.integers(2, 4))]:
            _add(out, tone.note(_pitch_hz(root_hz, scale, degree + step, 1), length_s * 1.05, rng), at)
        at += length_s
    return out


def _arpeggio(n_samples: int, beat_s: float, scale: NDArray[np.int64], root_hz: float, rng: Rng) -> Wave:
    out = np.zeros(n_samples, np.float32)
    tone = _Timbre(rng, plucked=True)
    step_s = beat_s * float(rng.choice([0.25, 0.5, 1.0], p=[0.3, 0.5, 0.2]))
    steps = rng.choice([0, 1, 2, 4, 5, 7, 9], 8)
    octave = int(rng.integers(1, 4))
    for k in range(int(n_samples / SAMPLE_RATE / step_s) + 1):
        if rng.random() < 0.85:
            _add(out, tone.note(_pitch_hz(root_hz, scale, int(steps[k % 8]), octave), 2 * step_s, rng), k * step_s)
    return out


def _melody(n_samples: int, beat_s: float, scale: NDArray[np.int64], root_hz: float, rng: Rng) -> Wave:
    out = np.zeros(n_samples, np.float32)
    tone = _Timbre(rng, plucked=rng.random() < 0.3)
    at, degree, octave = -rng.uniform(0.0, beat_s), int(rng.integers(0, 7)), int(rng.integers(1, 4))
    while at * SAMPLE_RATE < n_samples:
        length_s = beat_s * float(rng.choice([0.5, 1.0, 2.0, 3.0]))
        if rng.random() < 0.85:
            _add(out, tone.note(_pitch_hz(root_hz, scale, degree, octave), length_s, rng), at)
        degree += int(rng.integers(-3, 4))
        at += length_s
    return out


def _bass(n_samples: int, beat_s: float, scale: NDArray[np.int64], root_hz: float, rng: Rng) -> Wave:
    out = np.zeros(n_samples, np.float32)
    tone = _Timbre(rng, plucked=rng.random() < 0.6)
    length_s = beat_s * float(rng.choice([0.5, 1.0, 2.0]))
    for k in range(int(n_samples / SAMPLE_RATE / length_s) + 1):
        _add(out, tone.note(_pitch_hz(root_hz, scale, int(rng.integers(0, 5)), 0), length_s, rng), k * length_s)
    return out


class _Timbre:
    """One instrument: strengths of its harmonics, attack, decay, vibrato and chorus."""

    def __init__(self, rng: Rng, plucked: bool) -> None:
        number = np.arange(1, int(rng.integers(2, MAX_HARMONICS + 1)))
        strength = number ** -rng.uniform(0.4, 2.2) * np.exp(rng.normal(0.0, 0.5, len(number)))
        if rng.random() < 0.25:
            strength[1::2] *= 0.05  # clarinet-like: odd harmonics only
        self._ratio = number * np.sqrt(1.0 + rng.choice([0.0, 0.0, 0.0004, 0.01]) * number**2)  # stiff strings, bells
        self._strength = strength
        self._attack_s = rng.uniform(0.002, 0.02) if plucked else rng.uniform(0.02, 0.25)
        self._decay_hz = rng.uniform(1.0, 9.0) if plucked else rng.uniform(0.0, 0.6)
        self._vibrato = (rng.uniform(4.0, 7.5), rng.uniform(0.0, 0.012) if not plucked and rng.random() < 0.6 else 0.0)

    def note(self, f0_hz: float, length_s: float, rng: Rng) -> Wave:
        """One note: (N,) float32, a release of 50 ms included."""
        t = np.arange(int((length_s + 0.05) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        rate_hz, depth = self._vibrato
        wobble = depth / rate_hz * np.sin(2 * np.pi * rate_hz * t + rng.uniform(0, 6.28)) if depth else 0.0
        phase = np.asarray(2 * np.pi * f0_hz * (t + wobble / (2 * np.pi)), np.float32)
        out = np.zeros(len(t), np.float32)
        for ratio, strength in zip(self._ratio, self._strength, strict=True):
            if f0_hz * ratio < HIGHEST_HARMONIC_HZ:
                out += np.float32(strength) * np.sin(phase * np.float32(ratio))
        rise = np.minimum(1.0, t / np.float32(self._attack_s))
        fall = np.minimum(1.0, (t[-1] - t) / np.float32(0.05))
        return np.asarray(out * rise * fall * np.exp(-np.float32(self._decay_hz) * t), np.float32)


def _pitch_hz(root_hz: float, scale: NDArray[np.int64], degree: int, octave: int) -> float:
    octaves, index = divmod(degree, len(scale))
    return float(root_hz * 2.0 ** (octave + octaves + scale[index] / 12.0))


def _kick(rng: Rng) -> Wave:
    t = np.arange(int(0.25 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    sweep = rng.uniform(40.0, 70.0) * t + rng.uniform(2.0, 6.0) * (1.0 - np.exp(-t * 35.0))
    return np.asarray(np.sin(2 * np.pi * sweep) * np.exp(-t * rng.uniform(12.0, 30.0)), np.float32)


def _snare(rng: Rng) -> Wave:
    t = np.arange(int(0.2 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    noise = rng.standard_normal(len(t), dtype=np.float32)
    body = np.sin(2 * np.pi * rng.uniform(150.0, 260.0) * t) * rng.uniform(0.2, 1.0)
    return np.asarray((0.6 * noise + body) * np.exp(-t * rng.uniform(15.0, 40.0)), np.float32)


def _hat(rng: Rng) -> Wave:
    t = np.arange(int(0.15 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    noise = np.diff(rng.standard_normal(len(t) + 1, dtype=np.float32))  # about +6 dB per octave
    return np.asarray(noise * np.exp(-t * rng.uniform(25.0, 120.0)), np.float32)


def _swell(n_samples: int, rate_hz: float, rng: Rng) -> Wave:
    """A smooth random envelope, 0.03 to 1, changing about ``rate_hz`` times a second."""
    n_points = int(n_samples / SAMPLE_RATE * rate_hz) + 3
    points = rng.uniform(0.03, 1.0, n_points)
    place = np.linspace(0.0, n_points - 1.0, n_samples)
    return np.asarray(uniform_filter1d(np.interp(place, np.arange(n_points), points), 800), np.float32)


def _add(out: Wave, piece: Wave, at_s: float) -> None:
    """Add a piece at a time that may lie partly outside, in place."""
    start = int(at_s * SAMPLE_RATE)
    first, last = max(0, start), min(len(out), start + len(piece))
    if last > first:
        out[first:last] += piece[first - start : last - start]


def _unit(wave: Wave) -> Wave:
    return np.asarray(wave / np.float32(max(1e-6, float(np.sqrt(np.mean(np.square(wave)))))), np.float32)
