"""What of a face is measured for each slider: short lists of distances on landmarks without head pose.

Measures of the mouth are in mouth widths at rest, brows and gaze in face and eye widths, lids as eye aspect ratio
(Soukupova and Cech 2016, eq. 1). y grows down. Knows no sliders.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.landmarks import eye_opening

Doubles = NDArray[np.float64]

MOUTH = ("gap", "width", "corner_y", "upper_y", "lower_y", "upper_red", "lower_red", "mouth_x", "depth", "chin_y")
EYES = ("brow_y", "brow_between", "brow_inner_y", "lid_left", "lid_right", "gaze_x", "gaze_y")
MEASURES = (*MOUTH, *EYES)
AT = {name: index for index, name in enumerate(MEASURES)}

UPPER_INNER, LOWER_INNER = (13, 82, 312), (14, 87, 317)
CORNERS = (61, 291)
BROWS = (105, 66, 334, 296, 52, 282)
LEFT_INNER_BROW, RIGHT_INNER_BROW = (55, 107), (285, 336)
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
LEFT_IRIS, RIGHT_IRIS = 468, 473


def measure(still: NDArray[Any]) -> Doubles:
    """Measures of every frame in face widths, lids as ratios: (N, 17) in the order of `MEASURES`.

    Args:
        still: (N, 478, 3) landmarks without head pose, in face widths (`geometry.HeadPath.still`).
    """

    def mean(points: tuple[int, ...], axis: int) -> Doubles:
        place: Doubles = still[:, list(points), axis].mean(axis=1)
        return place

    upper, lower = mean(UPPER_INNER, 1), mean(LOWER_INNER, 1)
    lids = eye_opening(still.astype(np.float32)).astype(np.float64)
    columns = {
        "gap": lower - upper,
        "width": np.linalg.norm(still[:, CORNERS[0], :2] - still[:, CORNERS[1], :2], axis=1),
        "corner_y": mean(CORNERS, 1),
        "upper_y": upper,
        "lower_y": lower,
        "upper_red": still[:, 13, 1] - still[:, 0, 1],
        "lower_red": still[:, 17, 1] - still[:, 14, 1],
        "mouth_x": mean((61, 291, 13, 14, 0, 17), 0),
        "depth": mean((0, 17, 13, 14), 2),
        "chin_y": still[:, 152, 1],
        "brow_y": mean(BROWS, 1),
        "brow_between": mean(RIGHT_INNER_BROW, 0) - mean(LEFT_INNER_BROW, 0),
        "brow_inner_y": mean((*LEFT_INNER_BROW, *RIGHT_INNER_BROW), 1),
        "lid_left": lids[:, 0],
        "lid_right": lids[:, 1],
        "gaze_x": _gaze(still, 0),
        "gaze_y": _gaze(still, 1),
    }
    return np.stack([columns[name] for name in MEASURES], axis=1)


def _gaze(still: NDArray[Any], axis: int) -> Doubles:
    """Place of both irises between the corners of their eyes, in eye widths: (N,)."""
    places = []
    for iris, (left, right) in ((LEFT_IRIS, LEFT_EYE), (RIGHT_IRIS, RIGHT_EYE)):
        middle = (still[:, left, axis] + still[:, right, axis]) / 2
        width = np.maximum(np.abs(still[:, right, 0] - still[:, left, 0]), 1e-6)
        places.append((still[:, iris, axis] - middle) / width)
    mean: Doubles = np.mean(places, axis=0)
    return mean
