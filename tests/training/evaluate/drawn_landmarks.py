"""Landmarks made by hand: a stiff skull that turns, lips that part, lids that shut."""

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.controls import rotations
from training.evaluate.face_motion import LIPS
from training.landmarks import EYES, LEFT_SIDE, LOWER_LIP, RIGHT_SIDE, UPPER_LIP

Floats = NDArray[np.float64]

FACE_PX = 200.0


def landmarks(
    gap: Floats, lids: Floats, pose: Floats | None = None, shift_px: Floats | None = None
) -> NDArray[np.float32]:
    """A face of 200 pixels on a clock of 25 fps.

    Args:
        gap: (N,) opening of the lips, face widths.
        lids: (N,) eye aspect ratio.
        pose: (N, 3) pitch, yaw, roll in degrees.
        shift_px: (N, 2) where the face goes, pixels.
    """
    rng = np.random.default_rng(11)
    points = np.repeat(rng.uniform(-0.4, 0.4, (1, 478, 3)), len(gap), axis=0)
    points[:, LEFT_SIDE], points[:, RIGHT_SIDE] = (-0.5, 0.0, 0.2), (0.5, 0.0, 0.2)
    points[:, LIPS, 1] = 0.3
    points[:, [UPPER_LIP, LOWER_LIP], 0] = 0.0
    points[:, [UPPER_LIP, LOWER_LIP], 2] = 0.0
    points[:, LOWER_LIP, 1] = points[:, UPPER_LIP, 1] + gap
    for middle, (outer, up_a, up_b, inner, low_b, low_a) in zip((-0.2, 0.2), EYES, strict=True):
        for column, x in ((outer, -0.08), (up_a, -0.03), (up_b, 0.03), (inner, 0.08), (low_b, 0.03), (low_a, -0.03)):
            points[:, column] = (middle + x, -0.1, 0.0)
        for column, side in ((up_a, -1), (up_b, -1), (low_a, 1), (low_b, 1)):
            points[:, column, 1] += side * 0.08 * lids
    if pose is not None:
        points = points @ rotations(pose).transpose(0, 2, 1)
    points *= FACE_PX
    points[..., :2] += 256.0
    if shift_px is not None:
        points[..., :2] += shift_px[:, None]
    return points.astype(np.float32)
