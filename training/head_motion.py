"""Head, eyes and brows that go with speech: the second half of the motion targets.

Head pose is a second-order autoregressive process (poles fitted on real clips) whose size follows the sound, plus a
slow drift, nods at energy peaks, and the share of the jaw. Eyes follow the event tracks that the generator will draw
as well (``services/motion_dit/events.py``). Rows are a whole video: everything starts from the neutral portrait.
Pose is not limited here; the generator limits it after the network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from services.motion_dit.controls import POSE_LIMITS_DEG
from services.motion_dit.events import BLINK, GAZE_X, GAZE_Y, EventState, draw_events
from shared.motion import EXP, PYR, SCALE, SLIDER_INDEX, exp_from_sliders, neutral_rows
from shared.motion import T as TRANSLATION
from shared.timeline import FPS

FloatArray = NDArray[np.float32]

PITCH, YAW, ROLL = 0, 1, 2
STD_DEG = (1.76, 1.54, 0.99)  # calm speech x 1.1: the preset "normal"
TAUS_S = ((0.6, 0.12), (0.5, 0.2), (0.5, 0.12))
DRIFT_STD_DEG = (1.0, 1.2, 0.6)
DRIFT_TAU_S, SMOOTH_TAU_S, ACTIVITY_TAU_S, BROW_TAU_S = 4.0, 1.0, 0.4, 1.0
NOD_PROBABILITY, NOD_MEAN_DEG, NOD_STD_DEG, NOD_GAIN = 0.35, 2.2, 0.8, 0.9
NOD_DELAY_S, NOD_RISE_S, NOD_FALL_S, NOD_APART_S = 0.08, 0.16, 0.30, 0.6
JAW_TO_PITCH_DEG = -2.3
ROLL_PER_YAW, TX_PER_YAW, TX_PER_ROLL, TY_PER_PITCH = -0.1, -0.0055, 0.012, 0.0057
SCALE_LOG_STD = 0.006
GAZE_STD = (0.08, 0.05)
GAZE_X_PER_YAW, GAZE_Y_PER_PITCH = 0.02, 0.02
BLINK_BROW, BLINK_GAZE_Y, RIGHT_LID_RATIO = -0.05, -0.08, 0.97
BROW_GAIN, BROW_LOUDNESS = 0.25, 0.75
STRESS_GAIN, SPEECH_LOUDNESS, STRESS_LOUDNESS, STRESS_TAU_S = 0.25, 0.65, 0.1, 0.2
BROW_PER_PITCH = -0.02
EASE_IN_S = 1.0


@dataclass(frozen=True)
class Motion:
    """Targets of one video: ``rows`` (N, 70) and the event ``tracks`` (N, 3) that go with them."""

    rows: FloatArray
    tracks: FloatArray


def add_head_and_eyes(lips: FloatArray, loudness: FloatArray, rng: np.random.Generator) -> Motion:
    """Complete the lips to motion of a whole video.

    Args:
        lips: (N, 14) slider values of the lips.
        loudness: (N,) 0..1.
        rng: decides pose, nods, blinks and glances.
    """
    n_frames = len(lips)
    ease = _smooth_step(np.arange(n_frames) / (EASE_IN_S * FPS))
    tracks, _ = draw_events(EventState(), 0, loudness, rng)
    pose = head_pose(lips[:, SLIDER_INDEX["jaw_open"]], loudness, rng) * ease[:, None]
    limits = np.asarray(POSE_LIMITS_DEG)
    seen = limits * np.tanh(pose / limits)  # what the viewer will see of it
    sliders = lips.astype(np.float64)
    sliders[:, SLIDER_INDEX["smile"]] *= ease
    _add_eyes(sliders, tracks, seen, ease)
    sliders[:, SLIDER_INDEX["brow_raise"]] += brow_raise(loudness) + BROW_PER_PITCH * seen[:, PITCH]
    rows = neutral_rows(n_frames)
    rows[:, EXP] = exp_from_sliders(sliders)
    rows[:, PYR] = pose
    rows[:, TRANSLATION.start] = TX_PER_YAW * seen[:, YAW] + TX_PER_ROLL * seen[:, ROLL]
    rows[:, TRANSLATION.start + 1] = TY_PER_PITCH * seen[:, PITCH]
    rows[:, SCALE] = np.exp(SCALE_LOG_STD * ease * smooth_noise(n_frames, SMOOTH_TAU_S, rng))
    return Motion(rows, tracks)


def head_pose(jaw: FloatArray, loudness: FloatArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pitch, yaw, roll in degrees, before limits: (N, 3)."""
    n_frames = len(jaw)
    activity = one_pole(np.where(loudness > 0.05, 0.6 + 0.6 * loudness, 0.5), ACTIVITY_TAU_S)
    pose = np.empty((n_frames, 3))
    for axis, (taus, std) in enumerate(zip(TAUS_S, STD_DEG, strict=True)):
        pose[:, axis] = std * activity * ar2(n_frames, taus, rng)
    for axis, std in enumerate(DRIFT_STD_DEG):
        pose[:, axis] += std * drift(n_frames, rng)
    pose[:, ROLL] += ROLL_PER_YAW * pose[:, YAW]
    pose[:, PITCH] += JAW_TO_PITCH_DEG * jaw + nods(loudness, rng)
    return pose


def brow_raise(loudness: FloatArray) -> NDArray[np.float64]:
    """Brows go up a little where a word stands out of its surroundings, and stay up in long loud speech: (N,)."""
    slow = one_pole(loudness, BROW_TAU_S)
    above = one_pole(loudness, STRESS_TAU_S) - np.maximum(slow, SPEECH_LOUDNESS)
    stress = one_pole(np.clip(above / STRESS_LOUDNESS, 0.0, 1.0), STRESS_TAU_S)
    return np.asarray(
        STRESS_GAIN * stress + BROW_GAIN * np.maximum(0.0, slow - BROW_LOUDNESS) / (1 - BROW_LOUDNESS), np.float64
    )


def ar2(n_frames: int, taus_s: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary AR(2) process of unit variance with two real poles: (N,)."""
    a, b = (float(np.exp(-1.0 / (FPS * tau))) for tau in taus_s)
    variance = (1 + a * b) / ((1 - a * b) * (1 - a * a) * (1 - b * b))
    warm = round(8 * FPS * max(taus_s))
    noise = rng.normal(size=n_frames + warm) / np.sqrt(variance)
    return np.asarray(lfilter([1.0], [1.0, -(a + b), a * b], noise)[warm:])


def drift(n_frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Slow wandering around zero, unit variance: (N,)."""
    return ar2(n_frames, (DRIFT_TAU_S, SMOOTH_TAU_S), rng)


def smooth_noise(n_frames: int, tau_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit-variance noise, twice low-passed with ``tau_s``: (N,)."""
    return ar2(n_frames, (tau_s, 0.9 * tau_s), rng)


def nods(loudness: FloatArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pitch in degrees of nods at some of the energy peaks: (N,)."""
    out = np.zeros(len(loudness))
    if len(loudness) < 3:
        return out
    envelope = np.convolve(loudness, np.hanning(5) / np.hanning(5).sum(), mode="same")
    high = max(0.3, float(np.quantile(envelope, 0.7)))
    is_peak = (envelope[1:-1] > envelope[:-2]) & (envelope[1:-1] >= envelope[2:]) & (envelope[1:-1] > high)
    last = -np.inf
    times = np.arange(len(loudness)) / FPS
    for peak in np.flatnonzero(is_peak) + 1:
        if peak / FPS - last < NOD_APART_S or rng.random() > NOD_PROBABILITY:
            continue
        last = peak / FPS
        size = NOD_GAIN * max(0.0, rng.normal(NOD_MEAN_DEG, NOD_STD_DEG))
        centre = last + NOD_DELAY_S
        flank = np.where(times < centre, (centre - times) / NOD_RISE_S, (times - centre) / NOD_FALL_S)
        out += size * 0.5 * (1 + np.cos(np.pi * np.clip(flank, 0, 1)))
    return out


def one_pole(x: NDArray[np.floating[Any]], tau_s: float) -> NDArray[np.float64]:
    """Low-pass that starts at the first value: (N,)."""
    a = float(np.exp(-1.0 / (FPS * tau_s)))
    return np.asarray(lfilter([1 - a], [1, -a], x, zi=[a * float(x[0])])[0])


def _add_eyes(
    sliders: NDArray[np.float64], tracks: FloatArray, seen: NDArray[np.float64], ease: NDArray[np.float64]
) -> None:
    closure = tracks[:, BLINK]
    sliders[:, SLIDER_INDEX["blink_left"]] += closure
    sliders[:, SLIDER_INDEX["blink_right"]] += RIGHT_LID_RATIO * closure
    sliders[:, SLIDER_INDEX["brow_raise"]] += BLINK_BROW * closure
    gaze_x = GAZE_STD[0] * tracks[:, GAZE_X] * ease + GAZE_X_PER_YAW * seen[:, YAW]
    gaze_y = GAZE_STD[1] * tracks[:, GAZE_Y] * ease + GAZE_Y_PER_PITCH * seen[:, PITCH]
    sliders[:, SLIDER_INDEX["gaze_x"]] += gaze_x
    sliders[:, SLIDER_INDEX["gaze_y"]] += gaze_y + BLINK_GAZE_Y * closure


def _smooth_step(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3 - 2 * x))
