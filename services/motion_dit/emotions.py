"""Emotions as places in the space of expression sliders: what stays on the face while it speaks.

Values were chosen by eye on the warp renderer. None opens or closes the lips: ``controls.py`` keeps the lip opening
of every frame, because speech decides it.
"""

import numpy as np
from numpy.typing import NDArray

from shared.controls import Emotion
from shared.motion import SLIDER_INDEX, SLIDERS

FloatArray = NDArray[np.float32]

EMOTIONS: dict[Emotion, dict[str, float]] = {
    Emotion.NEUTRAL: {},
    Emotion.HAPPY: {"smile": 0.8, "lip_wide": 0.25, "brow_raise": 0.25, "blink_left": 0.12, "blink_right": 0.12},
    Emotion.SAD: {
        "smile": -0.5, "brow_raise": 0.7, "brow_frown": 0.7, "lip_pucker": 0.25, "blink_left": 0.2, "blink_right": 0.2,
        "gaze_y": -0.3,
    },
    Emotion.ANGRY: {
        "brow_frown": 1.1, "brow_raise": -0.4, "smile": -0.5, "lip_press": 0.5, "blink_left": 0.1, "blink_right": 0.1,
    },
    Emotion.SURPRISED: {
        "brow_raise": 1.0, "blink_left": -0.3, "blink_right": -0.3, "lip_pucker": 0.25, "smile": -0.2,
    },
}  # fmt: skip


def emotion_sliders(emotion: Emotion, strength: float) -> FloatArray:
    """What an emotion adds to each slider: (14,) float32, order of `SLIDERS`.

    Args:
        emotion: which.
        strength: 0..1, how much of it.
    """
    offsets = np.zeros(len(SLIDERS), np.float32)
    for name, value in EMOTIONS[emotion].items():
        offsets[SLIDER_INDEX[name]] = strength * value
    return offsets
