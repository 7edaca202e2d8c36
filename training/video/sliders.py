"""Measures of a track -> the 14 sliders of the expression basis, against the person's own rest.

Lips part by `opening`: the gap between the inner lips over the mouth width is what the renderer's jaw field would draw,
gap = 0.40 min(1, 0.37 fw / mw) jaw, and jaw = 1.15 (1 - exp(-c / 0.45)), solved for the commanded opening c. Lids:
closure = (1 - ratio / open ratio) / 0.75, 0.75 being what a shut lid reads. The other sliders that can be seen are
linear in the measures, with weights fitted on our own renderer (``calibrate.py``). What MediaPipe does not see stays 0:
lip_flare (it reads as pucker), lip_press, brow_frown, gaze_y.

Rest is a set of robust quantiles of the track: of frames with nearly closed lips for the mouth, the 80th percentile for
open lids, the median for brows and gaze. The expression's jaw is set last, so that `shared.motion.lip_opening` of the
row reads c.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from shared.motion import EXP, SLIDER_INDEX, SLIDERS, basis, lip_opening, neutral_rows, slider_ranges
from training.video.measures import AT, EYES, MEASURES, MOUTH

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

JAW_DROP, WIDE_MOUTH = 0.40, 0.37  # of the embedded renderer's jaw field
JAW_GAIN, JAW_KNEE, JAW_LIMIT = 1.15, 0.45, 0.9
TOUCHING = 0.03  # openings below: the lips touch
MAX_REST_GAP = 0.06  # mouth widths; more is no reading of closed lips
SHUT_LID = 0.75
OPEN_LID_QUANTILE, CLOSED_GAP_QUANTILE, REST_GAP_QUANTILE = 0.8, 0.35, 0.05
SMOOTHED_FRAMES, SMOOTHED_ORDER = 5, 2
CALIBRATION = "data/slider_calibration.json"


@dataclass(frozen=True)
class Rest:
    """A person at rest.

    Attributes:
        values: (17,) measures, in the units of `measures.measure`.
        mouth_width: face widths.
    """

    values: Doubles
    mouth_width: float


def resting(measures: Doubles) -> Rest:
    """Measures of the person at rest: lips closed, eyes open.

    Args:
        measures: (N, 17) of a whole track.
    """
    gap = measures[:, AT["gap"]]
    closed = gap <= np.quantile(gap, CLOSED_GAP_QUANTILE)
    values = np.median(measures, axis=0)
    mouth = [AT[name] for name in MOUTH]
    values[mouth] = np.median(measures[closed][:, mouth], axis=0)
    width = float(values[AT["width"]])
    values[AT["gap"]] = min(float(np.quantile(gap, REST_GAP_QUANTILE)), MAX_REST_GAP * width)
    for lid in (AT["lid_left"], AT["lid_right"]):
        values[lid] = np.quantile(measures[:, lid], OPEN_LID_QUANTILE)
    return Rest(values, width)


def opening(gap: Doubles, mouth_width: float) -> Floats:
    """Commanded lip opening that the embedded renderer would draw as a gap.

    Args:
        gap: (N,) inner lips, mouth widths, rest taken off.
        mouth_width: at rest, face widths.

    Returns:
        (N,) float32 >= 0.
    """
    drop = JAW_DROP * min(1.0, WIDE_MOUTH / mouth_width)
    jaw = np.clip(gap / drop, 0.0, JAW_LIMIT)
    c: Floats = (-JAW_KNEE * np.log(1.0 - jaw / JAW_GAIN)).astype(np.float32)
    return c


def lid_closure(ratio: Doubles, open_ratio: float) -> Doubles:
    """Eyelid closure of eye aspect ratios: (N,), 0 open .. 1 shut, a little outside by noise."""
    return np.clip((1.0 - ratio / max(open_ratio, 1e-3)) / SHUT_LID, -0.3, 1.0)


def sliders_of(measures: Doubles) -> Floats:
    """Sliders of a track.

    Args:
        measures: (N, 17).

    Returns:
        (N, 14) float32 within the sliders' ranges.
    """
    rest = resting(measures)
    deltas = in_own_units(measures, rest)
    sliders = np.zeros((len(measures), len(SLIDERS)))
    for name, weights in calibration().items():
        sliders[:, SLIDER_INDEX[name]] = _smooth(deltas @ weights)
    for slider, lid in (("blink_left", "lid_left"), ("blink_right", "lid_right")):
        sliders[:, SLIDER_INDEX[slider]] = lid_closure(measures[:, AT[lid]], float(rest.values[AT[lid]]))
    ranges = slider_ranges()
    sliders = np.clip(sliders, ranges[:, 0], ranges[:, 1])
    sliders[:, SLIDER_INDEX["jaw_open"]] = jaw_for(opening(deltas[:, AT["gap"]], rest.mouth_width), sliders)
    return sliders.astype(np.float32)


def in_own_units(measures: Doubles, rest: Rest) -> Doubles:
    """Measures less those at rest, the mouth's in mouth widths: (N, 17)."""
    deltas = measures - rest.values
    deltas[:, [AT[name] for name in MOUTH]] /= rest.mouth_width
    return deltas


def jaw_for(c: Floats, sliders: Doubles) -> Doubles:
    """The jaw_open with which the other sliders read an opening c: (N,).

    The readout is linear, r = g.sliders + d, so jaw(c) = (c - d - others) / g_jaw. Below `TOUCHING` the jaw goes on
    linearly through the readout's dead zone to 0, or below where the other sliders alone would part the lips.
    """
    jaw = SLIDER_INDEX["jaw_open"]
    gains, offset = _readout()
    others = sliders @ gains - sliders[:, jaw] * gains[jaw]
    wanted = (np.maximum(c, TOUCHING) - offset - others) / gains[jaw]
    shut = np.minimum((-offset - others) / gains[jaw], 0.0)
    share = np.minimum(c / TOUCHING, 1.0)
    low, high = slider_ranges()[jaw]
    jaw_open: Doubles = np.clip(share * wanted + (1.0 - share) * shut, low, high)
    return jaw_open


@cache
def calibration() -> dict[str, Doubles]:
    """Weights of the measures, by slider: (17,) each, for deltas `in_own_units`."""
    text = resources.files("training").joinpath(CALIBRATION).read_text(encoding="utf-8")
    document = json.loads(text)
    out = {}
    for name, weights in document["weights"].items():
        out[name] = np.zeros(len(MEASURES))
        out[name][[AT[measure] for measure in weights]] = list(weights.values())
    return out


def inputs_of(slider: str) -> tuple[str, ...]:
    """Measures that a slider may depend on."""
    return EYES if slider in ("brow_raise", "gaze_x") else MOUTH


@cache
def _readout() -> tuple[Doubles, float]:
    """Gains of the lip readout per slider (14,) and its offset."""
    base = np.zeros((1, EXP.stop), np.float32)
    jaw = 8.0 * basis()[SLIDER_INDEX["jaw_open"]]
    at_jaw = float(lip_opening(base + jaw)[0])
    gains = np.array([float(lip_opening(base + jaw + vector)[0]) - at_jaw for vector in basis()])
    return gains, at_jaw - 8.0 * float(gains[SLIDER_INDEX["jaw_open"]])


def rows_of(sliders: Floats) -> Floats:
    """Neutral rows with the expression of sliders: (N, 70)."""
    rows = neutral_rows(len(sliders))
    rows[:, EXP] = sliders @ basis()
    return rows


def _smooth(values: Doubles) -> Doubles:
    """Savitzky-Golay over 5 frames: shape of lips and brows changes slower than the mesh trembles."""
    if len(values) < SMOOTHED_FRAMES:
        return values
    smooth: Doubles = savgol_filter(values, SMOOTHED_FRAMES, SMOOTHED_ORDER)
    return smooth
