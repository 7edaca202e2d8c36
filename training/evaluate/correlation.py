"""How well two curves of the mouth agree in time: common grid, 6 Hz low-pass, lagged correlation, null by shifting.

Every curve gets the same treatment: linear interpolation to 200 Hz, a 4th-order Butterworth low-pass at 6 Hz run
forward and backward (no delay, -6 dB at 6 Hz), and samples every 20 ms. Knows nothing of sound, motion or video.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from shared.errors import InputError

Floats = NDArray[np.float64]

GRID_HZ = 50
FINE_HZ = 200
CUTOFF_HZ = 6.0
FILTER_ORDER = 4
MAX_LAG_S = 0.24
LONGEST_GAP_S = 0.1  # of missing values that interpolation may bridge
SHORTEST_S = 2.0  # of two curves together; below, a correlation says nothing
NULL_SHIFTS = 400
NULL_QUANTILE = 0.95
DECORRELATED_S = 1.0  # shifts closer than this to the true place do not count as chance


@dataclass(frozen=True)
class Track:
    """A curve every 20 ms from time 0.

    Attributes:
        values: (M,) low-passed; finite everywhere.
        is_valid: (M,) False where the curve was missing or not yet there.
    """

    values: Floats
    is_valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """Correlation of two tracks over lags.

    Attributes:
        r_0: at lag 0.
        r: the largest.
        lag_s: where it is; positive when the second curve comes later.
        is_at_edge: it lies at the end of the range searched, so the true lag may be beyond.
    """

    r_0: float
    r: float
    lag_s: float
    is_at_edge: bool


def on_grid(times_s: NDArray[np.floating[Any]], values: NDArray[np.floating[Any]], duration_s: float) -> Track:
    """Put a curve of any rate, with gaps, on the grid and low-pass it.

    Args:
        times_s: (N,) time stamps in seconds, ascending; repeated and missing ones are allowed.
        values: (N,); NaN where there is none (no face).
        duration_s: length of the grid.

    Raises:
        InputError: fewer than two values, or the times do not ascend.
    """
    times, known = np.asarray(times_s, np.float64), np.asarray(values, np.float64)
    if times.ndim != 1 or times.shape != known.shape:
        raise InputError(f"times of shape {times.shape} and values of shape {known.shape}; expected two equal (N,).")
    kept = np.isfinite(times) & np.isfinite(known)
    times, known = times[kept], known[kept]
    if len(times) < 2 or (np.diff(times) < 0).any():
        raise InputError(
            f"a curve with {len(times)} usable values whose times {'ascend' if len(times) < 2 else 'go back'}; "
            "expected at least two, at ascending times in seconds."
        )
    fine = np.arange(max(2, round(duration_s * FINE_HZ))) / FINE_HZ
    smooth = low_pass(np.interp(fine, times, known), FINE_HZ)
    step = FINE_HZ // GRID_HZ
    grid = fine[::step]
    after = np.clip(np.searchsorted(times, grid, side="right"), 1, len(times) - 1)
    usual_s = float(np.median(np.diff(times)))
    is_bridged = times[after] - times[after - 1] <= max(LONGEST_GAP_S, 1.5 * usual_s)
    is_inside = (grid >= times[0]) & (grid <= times[-1] + usual_s)
    return Track(smooth[::step], is_inside & is_bridged)


def low_pass(values: Floats, rate_hz: float) -> Floats:
    """Butterworth of order 4 at 6 Hz, forward and backward: (N,) without delay."""
    sections = butter(FILTER_ORDER, CUTOFF_HZ, fs=rate_hz, output="sos")
    padding = min(len(values) - 1, round(rate_hz))
    return np.asarray(sosfiltfilt(sections, values, padlen=padding))


def best_lag(first: Track, second: Track, max_lag_s: float = MAX_LAG_S) -> Agreement:
    """Pearson correlation of ``first`` at t with ``second`` at t + lag, at lag 0 and at the best of all lags.

    Args:
        first: commanded, or the sound's envelope.
        second: the reference.
        max_lag_s: largest lag to either side, seconds.

    Raises:
        InputError: the curves share less than two seconds, or one of them does not move.
    """
    curve = correlations(first, second, max_lag_s)
    middle = len(curve) // 2
    if not np.isfinite(curve[middle]):
        raise InputError(
            "the curves share less than two seconds, or one of them is constant; expected speech and a face that "
            "speaks for at least two seconds. Use a longer clip in which the face is found."
        )
    best = int(np.nanargmax(curve))
    return Agreement(
        float(curve[middle]), float(curve[best]), (best - middle) / GRID_HZ, best in (0, len(curve) - 1) and middle > 0
    )


def correlations(first: Track, second: Track, max_lag_s: float = MAX_LAG_S) -> Floats:
    """The correlation at every lag from -max_lag_s to max_lag_s in steps of 20 ms; NaN where it has no meaning."""
    n_frames = min(len(first.values), len(second.values))
    most = min(round(max_lag_s * GRID_HZ), n_frames - 1)
    return np.array([_correlation(first, second, lag) for lag in range(-most, most + 1)])


def circular_shift_null(
    first: Track, second: Track, max_lag_s: float = MAX_LAG_S, quantile: float = NULL_QUANTILE
) -> float:
    """What the best lag finds by chance: a quantile of it over circular shifts of the first curve.

    Every shift gets the same freedom of lags as the true place, so that the search itself is not counted as agreement.
    Shifts run evenly over all that move the curve by a second or more either way (a quarter of it in short clips).

    Returns:
        The quantile of the best correlations.
    """
    n_frames = min(len(first.values), len(second.values))
    nearest = min(round((DECORRELATED_S + max_lag_s) * GRID_HZ), n_frames // 4)
    shifts = np.unique(np.linspace(nearest, n_frames - nearest, NULL_SHIFTS).astype(int))
    reference = Track(second.values[:n_frames], second.is_valid[:n_frames])
    best = []
    for shift in shifts:
        rolled = Track(np.roll(first.values[:n_frames], shift), np.roll(first.is_valid[:n_frames], shift))
        curve = correlations(rolled, reference, max_lag_s)
        if np.isfinite(curve).any():
            best.append(float(np.nanmax(curve)))
    return float(np.quantile(best, quantile)) if best else float("nan")


def _correlation(first: Track, second: Track, lag: int) -> float:
    n_frames = min(len(first.values), len(second.values))
    here, there = slice(max(0, -lag), n_frames - max(0, lag)), slice(max(0, lag), n_frames - max(0, -lag))
    both = first.is_valid[here] & second.is_valid[there]
    if np.count_nonzero(both) < SHORTEST_S * GRID_HZ:
        return float("nan")
    one, other = first.values[here][both], second.values[there][both]
    if not (_moves(one) and _moves(other)):
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    return float(np.dot(one, other) / np.sqrt(np.dot(one, one) * np.dot(other, other)))


def _moves(values: Floats) -> bool:
    return bool(np.ptp(values) > 1e-6 * np.abs(values).max(initial=1e-9))
