"""Are these the lips of this voice, and how many frames apart are they?

The measured lip opening is compared with the loudness of the sound, both low-passed by a Hann window of 5 frames and
less their running mean over a second (what is left are syllables). r(k) is their correlation when the lips are taken k
frames later. The lag is the k of the largest r within `MAX_LAG` frames. That r must beat the null: the best r within as
many neighbouring lags, at places where no recording is (25 <= |k| <= 75 frames), 95th percentile. A clip that does not
shows somebody else, or lips that do not move with the sound.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FPS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MAX_LAG = 10
SMOOTH_FRAMES = 5
NULL_LAGS = (FPS, 3 * FPS)
NULL_QUANTILE = 0.95


@dataclass(frozen=True)
class Sync:
    """Agreement of lips and sound.

    Attributes:
        r0: correlation as recorded.
        r: correlation at the best lag.
        lag: frames that the lips come later than the sound; negative: earlier.
        null: 95th percentile of the best correlation around impossible lags.
    """

    r0: float
    r: float
    lag: int
    null: float


def measure_sync(opening: Floats, loudness: Floats) -> Sync:
    """Compare lips with sound.

    Args:
        opening: (N,) lip opening at 25 fps.
        loudness: (N,) of the same frames, 0..1.
    """
    lips, sound = _syllables(opening), _syllables(loudness)
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    r = np.array([_correlation(lips, sound, int(lag)) for lag in lags])
    null = _null(lips, sound)
    best = int(np.argmax(r))
    return Sync(round(float(r[MAX_LAG]), 4), round(float(r[best]), 4), int(lags[best]), round(null, 4))


def _null(lips: Doubles, sound: Doubles) -> float:
    """What the best correlation of 21 neighbouring lags reaches by chance; 1 for clips too short to tell."""
    low, high = NULL_LAGS
    last = min(high, len(lips) // 2 - 1)
    bests: list[float] = []
    for side in (1, -1):
        r = [_correlation(lips, sound, side * lag) for lag in range(low, last + 1)]
        bests += [max(r[at : at + 2 * MAX_LAG + 1]) for at in range(max(0, len(r) - 2 * MAX_LAG))]
    return float(np.quantile(bests, NULL_QUANTILE)) if bests else 1.0


def _correlation(lips: Doubles, sound: Doubles, lag: int) -> float:
    """Correlation of lips[i + lag] with sound[i]."""
    a, b = (lips[lag:], sound[: len(sound) - lag]) if lag >= 0 else (lips[:lag], sound[-lag:])
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 1e-9 else 0.0


def _syllables(values: Floats) -> Doubles:
    window = np.hanning(SMOOTH_FRAMES + 2)
    smooth = np.convolve(_padded(values, SMOOTH_FRAMES // 2 + 1), window / window.sum(), mode="valid")
    mean = np.convolve(_padded(smooth, FPS // 2), np.full(FPS // 2 * 2 + 1, 1.0 / (FPS // 2 * 2 + 1)), mode="valid")
    return np.asarray(smooth - mean, np.float64)


def _padded(values: NDArray[Any], n: int) -> Doubles:
    return np.pad(values.astype(np.float64), n, mode="edge")
