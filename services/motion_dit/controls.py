"""What a caller's options do to generated motion: exact, after the network, without memory.

The network and the state between windows only ever see motion without them, so that options never leave the
distribution it was trained on. Pure functions on (N, 70) rows. Only the blink rate acts before (``events.py``).
"""

import numpy as np
from numpy.typing import NDArray

from services.motion_dit.emotions import emotion_sliders
from shared.controls import Controls
from shared.motion import (
    EXP,
    PYR,
    SCALE,
    SLIDER_INDEX,
    basis,
    exp_from_sliders,
    lip_opening,
    neutral_rows,
    slider_ranges,
    sliders_from_exp,
)
from shared.motion import T as TRANSLATION
from shared.timeline import FPS

FloatArray = NDArray[np.float32]

POSE_LIMITS_DEG = (4.0, 5.0, 3.0)  # pitch, yaw, roll: beyond, the warp renderer bends the background
TRANSLATION_LIMIT = 0.03
SCALE_LIMIT = 0.02
MOUTH_KEYPOINTS = (3, 7, 14, 17, 19, 20)
BROW_KEYPOINTS = (1, 2)
LIDS = [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]
GAZE = [SLIDER_INDEX["gaze_x"], SLIDER_INDEX["gaze_y"]]
GAZE_FULL = np.array([0.7, 0.7], np.float32)  # sliders at gaze 1
EASE_IN_S = 1.0
CONTACT_MARGIN = 1e-5  # of the readout: more than float32 rounds


def apply_controls(rows: FloatArray, controls: Controls, first_frame: int) -> FloatArray:
    """Limit the pose, scale head motion and expression, then add gaze and emotion.

    Args:
        rows: (N, 70) generated motion relative to the portrait.
        controls: head_motion is a factor on pose, translation and scale change, whose limits are scaled with it;
            expressiveness on mouth and brows; for gaze and emotion see `add_lasting`.
        first_frame: absolute index of the first row.

    Returns:
        (N, 70) float32, new.
    """
    out, head_motion = neutral_rows(len(rows)), controls.head_motion
    out[:, EXP] = add_lasting(scale_expression(rows[:, EXP], controls.expressiveness), controls, first_frame)
    limits = np.asarray(POSE_LIMITS_DEG, np.float32)
    out[:, PYR] = head_motion * limits * np.tanh(rows[:, PYR] / limits)
    out[:, TRANSLATION] = head_motion * TRANSLATION_LIMIT * np.tanh(rows[:, TRANSLATION] / TRANSLATION_LIMIT)
    out[:, SCALE] = 1.0 + head_motion * SCALE_LIMIT * np.tanh((rows[:, SCALE] - 1.0) / SCALE_LIMIT)
    return out


def scale_expression(exp: FloatArray, factor: float) -> FloatArray:
    """Scale mouth and brows such that lip opening is multiplied exactly and closed lips stay closed.

    The opening c_lip is a linear readout with a dead zone: c = max(0, r). Scaling exp alone would move frames across
    its edge (closed lips would part above 1, small openings vanish below). So the jaw direction is corrected until the
    scaled frame reads factor * r where the lips are open and r, as before, where they touch.

    Args:
        exp: (N, 63) expression deltas.
        factor: 0..1.5.

    Returns:
        (N, 63) float32, new.
    """
    out = np.array(exp, np.float32)
    if factor == 1.0:
        return out
    columns = [3 * keypoint + axis for keypoint in (*MOUTH_KEYPOINTS, *BROW_KEYPOINTS) for axis in range(3)]
    out[:, columns] *= np.float32(factor)
    before = _readout(exp)
    return _with_readout(out, np.where(before > 0, factor * before, before))


def add_lasting(exp: FloatArray, controls: Controls, first_frame: int) -> FloatArray:
    """Add gaze and emotion, eased in over the first second of the video, whose first frame stays the photo.

    They are offsets of sliders, less where a slider would leave its range. Lids get the share that a blink leaves
    open, so that closed eyes stay closed; the jaw is corrected until the lips read as they did before.

    Args:
        exp: (N, 63) expression deltas relative to the portrait.
        controls: gaze and emotion are used.
        first_frame: absolute index of the first row.

    Returns:
        (N, 63) float32.
    """
    offsets = emotion_sliders(controls.emotion, controls.emotion_strength)
    offsets[GAZE] += np.array([controls.gaze_x, controls.gaze_y], np.float32) * GAZE_FULL
    if not offsets.any():
        return exp
    present, ranges = sliders_from_exp(exp), slider_ranges()
    added = ease_in(first_frame, len(exp))[:, None] * offsets
    added[:, LIDS] *= 1.0 - np.clip(present[:, LIDS], 0.0, 1.0)
    change = np.clip(present + added, ranges[:, 0], ranges[:, 1]) - present
    return _with_readout(exp + exp_from_sliders(change), _readout(exp))


def ease_in(first_frame: int, n_frames: int) -> FloatArray:
    """0 at the first frame of a video, smoothly to 1 within `EASE_IN_S`: (N,) float32."""
    x = np.clip(np.arange(first_frame, first_frame + n_frames) / (EASE_IN_S * FPS), 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x), np.float32)


def _with_readout(exp: FloatArray, wanted: FloatArray) -> FloatArray:
    """Move along the jaw until the lips read as wanted: (N, 63) and (N,) to (N, 63); closed lips stay surely closed."""
    jaw = basis()[SLIDER_INDEX["jaw_open"]]
    wanted = np.where(wanted > 0, wanted, wanted - CONTACT_MARGIN)
    gain = float(_readout(2.0 * jaw[None])[0] - _readout(jaw[None])[0])
    return np.asarray(exp + ((wanted - _readout(exp)) / gain)[:, None] * jaw, np.float32)


def _readout(exp: FloatArray) -> FloatArray:
    """The lip readout without its dead zone, negative for pressed lips: (N, 63) to (N,).

    `lip_opening` clamps at zero; far inside the open range it is linear, so the readout at x is its value at
    x + one wide-open jaw, less the jaw's own share.
    """
    jaw = 8.0 * basis()[SLIDER_INDEX["jaw_open"]]
    offset = lip_opening(jaw[None])[0] - lip_opening(np.zeros((1, exp.shape[1]), np.float32))[0]
    linear_at_zero = 2.0 * lip_opening(jaw[None])[0] - lip_opening(2.0 * jaw[None])[0]
    return np.asarray(lip_opening(exp + jaw) - offset + linear_at_zero, np.float32)
