"""Statistics of motion as plain numbers: seams, spectra, jitter, drift, openings, blinks. Pure functions of arrays.

Formulas and units stand in docs/evaluation.md. Knows no model, no sound and no labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, find_peaks, sosfiltfilt, welch
from scipy.stats import linregress, t

from shared.motion import SLIDER_INDEX, sliders_from_exp
from shared.timeline import FPS

Floats = NDArray[np.floating[Any]]
FloatArray = NDArray[np.float32]

N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)
OPEN = 0.05  # commanded opening from which lips are seen apart; mouth widths
CLOSED = 0.02
OPENING_PROMINENCE = 0.06  # 15 % of what speech reaches
BLINK_CLOSED = 0.6
JITTER_HZ, JITTER_ORDER = 6.0, 4
SPECTRUM_FRAMES = 128
BANDS_HZ = ((0.0, 2.0), (2.0, 5.0), (5.0, 8.0), (8.0, 12.6))


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def step_ratio(clips: Sequence[Floats], seams: Sequence[Sequence[int]], seed: int = 0) -> Ratio:
    """Mean step at window joints over the mean step elsewhere; 1 is seamless.

    A step is the Euclidean distance of two neighbouring frames. The interval is a bootstrap over joints and over
    seconds of other steps.

    Args:
        clips: (N, D) or (N,) curves.
        seams: of each clip, first frames of all windows but the first.
        seed: of the bootstrap.

    Returns:
        NaN where there is no joint.
    """
    at, elsewhere = [], []
    for clip, borders in zip(clips, seams, strict=True):
        steps = np.linalg.norm(np.diff(np.asarray(clip, np.float64).reshape(len(clip), -1), axis=0), axis=1)
        is_border = np.zeros(len(steps), bool)
        is_border[[border - 1 for border in borders]] = True
        at.append(steps[is_border])
        elsewhere += np.split(steps[~is_border], range(FPS, int((~is_border).sum()), FPS))  # seconds
    joints = np.concatenate(at)
    if len(joints) == 0:
        return Ratio(float("nan"), float("nan"), float("nan"))
    sums = np.array([[part.sum(), len(part)] for part in elsewhere])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(N_RESAMPLES):
        others = sums[rng.integers(len(sums), size=len(sums))].sum(axis=0)
        drawn.append(joints[rng.integers(len(joints), size=len(joints))].mean() / (others[0] / others[1]))
    value = joints.mean() / (sums[:, 0].sum() / sums[:, 1].sum())
    return Ratio(float(value), *(float(q) for q in np.quantile(drawn, INTERVAL)))


def jitter(curve: Floats) -> FloatArray:
    """What moves faster than 6 Hz: (N, D) high-passed without delay, norm over D; (N,)."""
    values = np.asarray(curve, np.float64).reshape(len(curve), -1)
    sections = butter(JITTER_ORDER, JITTER_HZ, btype="highpass", fs=FPS, output="sos")
    fast = sosfiltfilt(sections, values, axis=0, padlen=min(len(values) - 1, FPS))
    return np.asarray(np.linalg.norm(fast, axis=1), np.float32)


def paired_ratio(first: Floats, second: Floats, seed: int = 0) -> Ratio:
    """Root of the ratio of mean squares of paired values, with a bootstrap over pairs.

    Args:
        first: (N,) RMS values.
        second: (N,) RMS values of the same things elsewhere.
        seed: of the bootstrap.
    """
    one, other = np.square(np.asarray(first, np.float64)), np.square(np.asarray(second, np.float64))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(N_RESAMPLES):
        index = rng.integers(len(one), size=len(one))
        drawn.append(np.sqrt(one[index].mean() / max(1e-12, other[index].mean())))
    value = np.sqrt(one.mean() / max(1e-12, other.mean()))
    return Ratio(float(value), *(float(q) for q in np.quantile(drawn, INTERVAL)))


def velocity_spectrum(clips: Sequence[Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Power of the velocity per frequency, summed over columns and averaged over time (Welch, 128 frames, Hann).

    Args:
        clips: (N, D) or (N,) curves; shorter ones than 128 frames are left out.

    Returns:
        (F,) frequencies in Hz and (F,) power per Hz, in units squared per second squared.
    """
    total, n_frames = np.zeros(SPECTRUM_FRAMES // 2 + 1), 0
    frequencies = np.fft.rfftfreq(SPECTRUM_FRAMES, 1 / FPS)
    for clip in clips:
        values = np.asarray(clip, np.float64).reshape(len(clip), -1)
        if len(values) <= SPECTRUM_FRAMES:
            continue
        velocity = np.diff(values, axis=0) * FPS
        _, power = welch(velocity, FPS, nperseg=SPECTRUM_FRAMES, axis=0, detrend=False)
        total += power.sum(axis=1) * len(velocity)
        n_frames += len(velocity)
    return frequencies, total / max(1, n_frames)


def spectral_distance_db(found: Sequence[Floats], wanted: Sequence[Floats]) -> float:
    """Root mean square over frequencies of 10 log10 (found / wanted), in dB; 0 is equal, 3 is about a factor of 2."""
    spectra = [velocity_spectrum(clips)[1][1:] for clips in (found, wanted)]
    return float(np.sqrt(np.mean(np.square(10 * np.log10((spectra[0] + 1e-12) / (spectra[1] + 1e-12))))))


def band_shares(clips: Sequence[Floats]) -> dict[str, float]:
    """Share of the velocity's power in 0-2, 2-5, 5-8 and 8-12.5 Hz."""
    frequencies, power = velocity_spectrum(clips)
    total = max(1e-12, float(power.sum()))
    return {
        f"{low:g}-{min(high, FPS / 2):g}_hz": float(power[(frequencies >= low) & (frequencies < high)].sum()) / total
        for low, high in BANDS_HZ
    }


@dataclass(frozen=True)
class Trend:
    """A straight line through means of minutes.

    Attributes:
        per_10_min: slope, units per ten minutes.
        low: of its 95 % interval.
        high: of its 95 % interval.
        means: of each block of five minutes.
    """

    per_10_min: float
    low: float
    high: float
    means: tuple[float, ...]


def trend(values: Floats) -> Trend:
    """Drift of a long curve: least squares through the means of its whole minutes (at least three); (N,) at 25 fps."""
    per_minute = 60 * FPS
    minutes = np.asarray(values[: len(values) // per_minute * per_minute], np.float64).reshape(-1, per_minute)
    means = minutes.mean(axis=1)
    line = linregress(np.arange(len(means)), means)
    half = float(t.ppf(INTERVAL[1], len(means) - 2)) * float(line.stderr)
    blocks = tuple(float(means[begin : begin + 5].mean()) for begin in range(0, len(means), 5))
    return Trend(10 * float(line.slope), 10 * (float(line.slope) - half), 10 * (float(line.slope) + half), blocks)


def open_share(opening: Floats) -> float:
    """Share of frames with the lips visibly apart."""
    return float(np.mean(np.asarray(opening) > OPEN))


def openings_per_s(opening: Floats) -> float:
    """Peaks of the commanded opening that stand out by 0.06, per second."""
    values = np.concatenate([[0.0], np.asarray(opening, np.float64), [0.0]])
    peaks, _ = find_peaks(values, prominence=OPENING_PROMINENCE)
    return float(len(peaks) * FPS / max(1, len(opening)))


def closed_share(opening: Floats) -> float:
    """Share of frames with the lips closed, at most 0.02 mouth widths apart."""
    return float(np.mean(np.asarray(opening) <= CLOSED))


def lids(exp: Floats) -> FloatArray:
    """Mean closure of both lids of (N, 63) expressions: (N,), 1 is shut."""
    sliders = sliders_from_exp(exp)
    both = 0.5 * (sliders[:, SLIDER_INDEX["blink_left"]] + sliders[:, SLIDER_INDEX["blink_right"]])
    return np.asarray(both, np.float32)


def blinks_per_minute(closure: Floats) -> float:
    """Times that the lids shut (pass 0.6), per minute."""
    shut = np.concatenate([[False], np.asarray(closure) > BLINK_CLOSED])
    return float(np.count_nonzero(shut[1:] & ~shut[:-1]) * 60 * FPS / max(1, len(closure)))
