"""Landmarks of a clip -> motion rows, by sliders: what anyone can run, without weights of LivePortrait.

Head pose, translation and scale come from the rigid part of the face, the expression from the slider basis. Rows are
relative to the person at rest, as the embedded bundle's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from shared.motion import PYR, SCALE
from shared.motion import T as TRANSLATION
from training.video.geometry import HeadPath, head_path
from training.video.measures import measure
from training.video.sliders import rows_of, sliders_of

Floats = NDArray[np.float32]

EXTRACTOR = "sliders-1"
SMOOTHED_FRAMES, SMOOTHED_ORDER = 7, 2


def rows_from_landmarks(points: Floats) -> tuple[Floats, HeadPath]:
    """Motion rows of one clip, and how its head moved.

    Args:
        points: (N, 478, 3) pixels, N >= 8.

    Returns:
        (N, 70) float32 and the path.
    """
    path = head_path(points)
    rows = rows_of(sliders_of(measure(path.still)))
    rows[:, PYR] = _smooth(path.pyr)
    rows[:, TRANSLATION.start : TRANSLATION.start + 2] = _smooth(path.t)
    rows[:, SCALE] = _smooth(path.scale[:, None])[:, 0]
    return rows.astype(np.float32), path


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Savitzky-Golay over 7 frames, second order: heads do not tremble at 10 Hz, the mesh does."""
    smooth: NDArray[np.float64] = savgol_filter(values, SMOOTHED_FRAMES, SMOOTHED_ORDER, axis=0)
    return smooth
