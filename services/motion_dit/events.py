"""Blinks and glances: short events drawn from the seed and given to the network as per-frame tracks.

A few-step sampler averages over events that happen at random moments, and a half-blink looks worse than none. So the
moments come from point processes here (lognormal blink intervals, exponential dwell times of the gaze), and the
network draws the motion around them. Training uses the same functions with the same numbers. The state is a value:
a video cut into windows sees the same processes as an uncut one would.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FPS

FloatArray = NDArray[np.float32]

EVENT_SIZE = 3  # columns of a track: eyelid closure 0..1, gaze x and gaze y in standard deviations
BLINK, GAZE_X, GAZE_Y = 0, 1, 2

BLINK_PROFILE = (0.0, 0.55, 1.0, 0.9, 0.35, 0.12)
BLINK_MEDIAN_S, BLINK_SIGMA, BLINK_MIN_S, BLINK_MAX_S = 2.9, 0.7, 0.5, 9.0
BLINK_PEAK_MEAN, BLINK_PEAK_STD = 0.95, 0.06
DOUBLE_BLINK_PROBABILITY = 0.1
DOUBLE_BLINK_GAP_FRAMES = 8
PAUSE_PULL_PROBABILITY, PAUSE_PULL_FRAMES = 0.35, 12
NEVER = 2**40  # frames
QUIET_LOUDNESS, QUIET_FRAMES = 0.1, 5
GAZE_DWELL_S = 0.9


@dataclass(frozen=True)
class EventState:
    """Where the processes stand between two windows; frames are absolute.

    Attributes:
        next_blink: frame at which the next blink begins; -1 before the first window.
        next_glance: frame at which the gaze jumps next.
        gaze: present gaze in standard deviations (x, y).
        blinks: (first frame, peak closure) of blinks that may still show.
    """

    next_blink: int = -1
    next_glance: int = 0
    gaze: tuple[float, float] = (0.0, 0.0)
    blinks: tuple[tuple[int, float], ...] = ()


def draw_events(
    state: EventState,
    first_frame: int,
    loudness: FloatArray,
    rng: np.random.Generator,
    blinks_per_minute: float | None = None,
) -> tuple[FloatArray, EventState]:
    """Event tracks of the new frames of a window.

    Args:
        state: what the previous window left.
        first_frame: absolute index of the first new frame.
        loudness: (N,) 0..1 of the new frames; some blinks move to the beginning of a pause.
        rng: generator of this window.
        blinks_per_minute: mean rate, 0 for none, the same in all windows; None for the natural one.

    Returns:
        (N, 3) tracks and the state after the window.
    """
    n_frames = len(loudness)
    end = first_frame + n_frames
    stretch = interval_stretch(blinks_per_minute)
    if state.next_blink < 0:
        first_blink = NEVER if math.isinf(stretch) else round(stretch * int(rng.integers(FPS, 4 * FPS)))
        state = replace(state, next_blink=first_frame + first_blink)
    blinks, next_blink = _draw_blinks(state, end, first_frame + _pause_starts(loudness), rng, stretch)
    gaze, state = _draw_glances(state, first_frame, n_frames, rng)
    tracks = np.zeros((n_frames, EVENT_SIZE), np.float32)
    tracks[:, BLINK] = blink_track(blinks, first_frame, n_frames)
    tracks[:, GAZE_X:] = gaze
    recent = tuple(blink for blink in blinks if blink[0] + len(BLINK_PROFILE) > end)
    return tracks, replace(state, next_blink=next_blink, blinks=recent)


def interval_stretch(blinks_per_minute: float | None) -> float:
    """Factor on what is beyond the shortest gap of an interval between blinks, so that blinks have a mean rate.

    With gap g, probability p of a double blink (interval g) and natural intervals of mean m, stretched ones have the
    mean g + (1 - p) k (m - g); k follows. m is the mean of a lognormal variable clipped at both ends.

    Args:
        blinks_per_minute: wanted, at most 60 / g; None for the natural rate.

    Returns:
        k, exactly 1 for the natural rate; infinite for no blinks.
    """
    if blinks_per_minute is None:
        return 1.0
    if blinks_per_minute <= 0.0:
        return math.inf
    gap_s = DOUBLE_BLINK_GAP_FRAMES / FPS
    natural_s = (1.0 - DOUBLE_BLINK_PROBABILITY) * (_mean_interval_s() - gap_s)
    return max(0.0, 60.0 / blinks_per_minute - gap_s) / natural_s


def blink_track(blinks: list[tuple[int, float]], first_frame: int, n_frames: int) -> FloatArray:
    """Eyelid closure 0..1 of frames [first_frame, first_frame + n_frames): (N,) float32."""
    track = np.zeros(n_frames, np.float32)
    for onset, peak in blinks:
        for offset, value in enumerate(BLINK_PROFILE):
            index = onset + offset - first_frame
            if 0 <= index < n_frames:
                track[index] = max(track[index], peak * value)
    return track


def _draw_blinks(
    state: EventState, end: int, pauses: NDArray[np.int64], rng: np.random.Generator, stretch: float
) -> tuple[list[tuple[int, float]], int]:
    blinks = list(state.blinks)
    onset = state.next_blink
    earliest = blinks[-1][0] + DOUBLE_BLINK_GAP_FRAMES if blinks else 0
    while onset < end:
        if rng.random() < PAUSE_PULL_PROBABILITY:
            near = pauses[(np.abs(pauses - onset) <= PAUSE_PULL_FRAMES) & (pauses >= earliest)]
            if near.size:
                onset = int(near[np.argmin(np.abs(near - onset))])
        peak = float(np.clip(rng.normal(BLINK_PEAK_MEAN, BLINK_PEAK_STD), 0.8, 1.0))
        blinks.append((onset, peak))
        earliest = onset + DOUBLE_BLINK_GAP_FRAMES
        interval_s = np.clip(BLINK_MEDIAN_S * np.exp(BLINK_SIGMA * rng.normal()), BLINK_MIN_S, BLINK_MAX_S)
        double = rng.random() < DOUBLE_BLINK_PROBABILITY
        stretched = float(interval_s) * FPS + (stretch - 1.0) * (float(interval_s) * FPS - DOUBLE_BLINK_GAP_FRAMES)
        onset += DOUBLE_BLINK_GAP_FRAMES if double else max(DOUBLE_BLINK_GAP_FRAMES, round(stretched))
    return blinks, onset


def _mean_interval_s() -> float:
    """Mean of min(max(x, a), b) for x lognormal: a Phi(A) + b Phi(-B) + e^(mu + s^2/2) (Phi(B - s) - Phi(A - s))."""
    low, high = ((math.log(edge / BLINK_MEDIAN_S) / BLINK_SIGMA) for edge in (BLINK_MIN_S, BLINK_MAX_S))
    inside = _normal_cdf(high - BLINK_SIGMA) - _normal_cdf(low - BLINK_SIGMA)
    whole = BLINK_MEDIAN_S * math.exp(BLINK_SIGMA**2 / 2)
    return BLINK_MIN_S * _normal_cdf(low) + BLINK_MAX_S * _normal_cdf(-high) + whole * inside


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _draw_glances(
    state: EventState, first_frame: int, n_frames: int, rng: np.random.Generator
) -> tuple[FloatArray, EventState]:
    gaze = np.zeros((n_frames, 2), np.float32)
    x_y, next_glance = state.gaze, state.next_glance
    for index in range(n_frames):
        if first_frame + index >= next_glance:
            x_y = (float(rng.normal()), float(rng.normal()))
            next_glance = first_frame + index + max(3, round(float(rng.exponential(GAZE_DWELL_S)) * FPS))
        gaze[index] = x_y
    return gaze, replace(state, gaze=x_y, next_glance=next_glance)


def _pause_starts(loudness: FloatArray) -> NDArray[np.int64]:
    """Indices at which at least `QUIET_FRAMES` quiet frames begin after a loud one."""
    quiet = np.concatenate([loudness < QUIET_LOUDNESS, np.zeros(QUIET_FRAMES, bool)])
    runs = np.lib.stride_tricks.sliding_window_view(quiet, QUIET_FRAMES).all(axis=1)[: len(loudness)]
    begins = runs.copy()
    begins[1:] &= ~quiet[: len(loudness) - 1]
    begins[:1] = False
    return np.flatnonzero(begins)
