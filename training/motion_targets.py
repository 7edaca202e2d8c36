"""Phones with times -> lips: the rules that make the motion targets of the embedded model.

Coarticulation by dominance (after Cohen and Massaro 1993): every phone pulls the sliders towards its viseme with an
influence that rises, holds and falls, and the frame takes the weighted mean. Closures are a separate last step with
timing of their own. Numbers were tuned on real speakers' lip statistics. Knows nothing of heads, eyes or networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.motion import SLIDER_INDEX, SLIDERS
from shared.timeline import FPS
from training.labels import Segment
from training.visemes import CLOSURES, constant_sliders, mixed

FloatArray = NDArray[np.float32]

JAW = SLIDER_INDEX["jaw_open"]
PRESS, RAISE, FLARE, WIDE, PUCKER = (
    SLIDER_INDEX[name] for name in ("lip_press", "upper_lip_raise", "lip_flare", "lip_wide", "lip_pucker")
)
LIPS = [index for index in range(len(SLIDERS)) if index != JAW]

PLATEAU_EDGE_S = 0.06
SHORT_PHONE_S = 0.06
SHORT_PAUSE_S = 0.25
SHORT_PAUSE_JAW = 0.2
LOUDNESS_BASE, LOUDNESS_GAIN = 0.65, 0.70
CLOSURE_RISE_S, CLOSURE_FALL_S, CLOSURE_END_S = 0.11, 0.09, 0.04
PRESS_AT_CLOSURE = 0.7
LONG_CLOSURE_FRAMES, PRESS_RELAX_FRAMES, PRESS_RELAXED = 3, 6, 0.25
WIDE_AT_CLOSURE, PUCKER_AT_CLOSURE = 0.15, 0.45
FF_JAW, FF_RAISE = 0.12, 0.45


@dataclass(frozen=True)
class Pull:
    """One phone's claim on the sliders, in seconds.

    Attributes:
        target: (14,) slider values.
        dominance: (jaw, lips) weights.
        hold_s: interval of full influence.
        jaw_s: attack and release of the jaw.
        lips_s: attack and release of the other sliders.
    """

    target: FloatArray
    dominance: tuple[float, float]
    hold_s: tuple[float, float]
    jaw_s: tuple[float, float]
    lips_s: tuple[float, float]


def lip_sliders(segments: Sequence[Segment], loudness: FloatArray, confidence: FloatArray | None = None) -> FloatArray:
    """Slider values of the lips for every frame; eyes and brows stay zero.

    Args:
        segments: contiguous visemes from 0 to the end of the sound.
        loudness: (N,) 0..1 per frame, relative to the speaker.
        confidence: (number of segments,) 0..1 factors on the influence, for recognised speech; None is all ones.

    Returns:
        (N, 14) float32.
    """
    times = (np.arange(len(loudness)) + 0.5) / FPS
    weights = np.ones(len(segments)) if confidence is None else np.asarray(confidence, np.float64)
    pulls = [_pull(segments, index) for index in range(len(segments))]
    sliders = np.zeros((len(times), len(SLIDERS)), np.float32)
    sliders[:, JAW] = blend(times, pulls, weights, is_jaw=True)[:, JAW]
    sliders[:, LIPS] = blend(times, pulls, weights, is_jaw=False)[:, LIPS]
    sliders[:, JAW] *= LOUDNESS_BASE + LOUDNESS_GAIN * loudness
    lips: FloatArray = close_lips(sliders, segments, times) + constant_sliders()
    return lips


def blend(times: NDArray[np.float64], pulls: Sequence[Pull], weights: NDArray[np.float64], is_jaw: bool) -> FloatArray:
    """Weighted mean of all targets at every time: sum(d g target) / sum(d g), d dominance, g influence.

    Times that no phone reaches take the phone with the nearest hold.

    Returns:
        (N, 14) float32.
    """
    total = np.zeros((len(times), len(SLIDERS)))
    mass = np.full(len(times), 1e-9)
    for pull, weight in zip(pulls, weights, strict=True):
        attack, release = pull.jaw_s if is_jaw else pull.lips_s
        low, high = np.searchsorted(times, (pull.hold_s[0] - attack, pull.hold_s[1] + release))
        g = influence(times[low:high], pull.hold_s, attack, release) * pull.dominance[0 if is_jaw else 1] * weight
        total[low:high] += g[:, None] * pull.target
        mass[low:high] += g
    bare = np.flatnonzero(mass < 1e-6)
    for index in bare:
        gaps = [max(p.hold_s[0] - times[index], times[index] - p.hold_s[1]) for p in pulls]
        total[index], mass[index] = pulls[int(np.argmin(gaps))].target, 1.0
    blended: FloatArray = (total / mass[:, None]).astype(np.float32)
    return blended


def influence(
    times: NDArray[np.float64], hold_s: tuple[float, float], attack_s: float, release_s: float
) -> NDArray[np.float64]:
    """1 inside ``hold_s``, raised-cosine flanks of the given lengths outside, then 0."""
    before = np.clip((hold_s[0] - times) / attack_s, 0.0, 1.0)
    after = np.clip((times - hold_s[1]) / release_s, 0.0, 1.0)
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * np.maximum(before, after))))


def close_lips(sliders: FloatArray, segments: Sequence[Segment], times: NDArray[np.float64]) -> FloatArray:
    """Close the lips on p, b, m and bring the lower lip to the teeth on f, v: a new (N, 14) array."""
    out = sliders.copy()
    full = np.zeros(len(times))
    labial = np.zeros(len(times))
    press = np.zeros(len(times))
    for segment in segments:
        kind = next((name for name, weight in segment.targets if name in CLOSURES and weight > 0.5), None)
        if kind is None:
            continue
        z = _strength(segment, times)
        if kind == "PP":
            full = np.maximum(full, z)
            press = np.maximum(press, z * _relaxation(z))
        else:
            labial = np.maximum(labial, z)
    out[:, JAW] = np.minimum(out[:, JAW], FF_JAW * labial + out[:, JAW] * (1 - labial)) * (1 - full)
    out[:, RAISE] = (out[:, RAISE] * (1 - labial) + FF_RAISE * labial) * (1 - full)
    out[:, FLARE] *= 1 - np.maximum(full, labial)
    out[:, PRESS] = np.maximum(out[:, PRESS] * (1 - full), PRESS_AT_CLOSURE * press)
    for slider, most in ((WIDE, WIDE_AT_CLOSURE), (PUCKER, PUCKER_AT_CLOSURE)):
        out[:, slider] = np.minimum(out[:, slider], most * full + out[:, slider] * (1 - full))
    return out


def _strength(segment: Segment, times: NDArray[np.float64]) -> NDArray[np.float64]:
    end = max(segment.start_s, segment.end_s - CLOSURE_END_S)
    z = influence(times, (segment.start_s, end), CLOSURE_RISE_S, CLOSURE_FALL_S)
    z[np.argmin(np.abs(times - 0.5 * (segment.start_s + segment.end_s)))] = 1.0
    return z * min(1.0, segment.k)


def _relaxation(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor on the press: a closure longer than a plosive is a pause with relaxed lips."""
    held = np.flatnonzero(z >= 0.999)
    factor = np.ones(len(z))
    if len(held) > LONG_CLOSURE_FRAMES:
        age = np.arange(len(z)) - (held[0] + LONG_CLOSURE_FRAMES)
        factor = 1.0 - (1.0 - PRESS_RELAXED) * np.clip(age / PRESS_RELAX_FRAMES, 0.0, 1.0)
    return factor


def _pull(segments: Sequence[Segment], index: int) -> Pull:
    segment = segments[index]
    duration = segment.end_s - segment.start_s
    viseme = mixed(segment.targets)
    target, dominance = viseme.sliders * segment.k, (viseme.dominance_jaw, viseme.dominance_lips)
    is_pause = segment.targets[0][0] == "sil"
    is_closure = segment.targets[0][0] in CLOSURES
    if is_pause and duration < SHORT_PAUSE_S and 0 < index < len(segments) - 1:
        target = np.zeros_like(target)
        target[JAW] = SHORT_PAUSE_JAW
        dominance = (0.5 * dominance[0], 0.5 * dominance[1])
    elif not is_pause and not is_closure:
        target = target * min(1.0, duration / SHORT_PHONE_S)
    peak = segment.start_s + viseme.peak_frac * duration + viseme.peak_offset_s
    half = max(0.0, 0.5 * duration - PLATEAU_EDGE_S)
    return Pull(target, dominance, (peak - half, peak + half), viseme.jaw_s, viseme.lips_s)
