"""Statistics of JoyVASA's training motion: the network's numbers to motion rows, and back to nothing else.

Expression is a z-score; scale, translation and angles are fractions of their range. The network's columns have the
order of our rows, and columns beyond 70 mean nothing here. Knows no network and no files.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.motion import EXP, PYR, ROW, SCALE

FloatArray = NDArray[np.float32]

POSE = slice(SCALE, PYR.stop)
OFFICIAL_SMOOTHING = 0.01


@dataclass(frozen=True)
class Template:
    """What turns the network's numbers into motion.

    Attributes:
        mean_exp, std_exp: (63,) float32.
        low, high: (7,) float32, of scale, translation, pitch, yaw and roll in degrees.
    """

    mean_exp: FloatArray
    std_exp: FloatArray
    low: FloatArray
    high: FloatArray

    def rows(self, latent: FloatArray) -> FloatArray:
        """Absolute motion of the network's numbers: (N, D >= 70) to (N, 70) float32; nothing is clamped."""
        out = np.empty((len(latent), ROW), np.float32)
        out[:, EXP] = latent[:, EXP] * self.std_exp + self.mean_exp
        out[:, POSE] = latent[:, POSE] * (self.high - self.low) + self.low
        return out


def smooth_pose(rows: FloatArray, weight: float, before: FloatArray | None) -> FloatArray:
    """Exponential moving average of the seven pose columns; expression stays.

    JoyVASA does this with weight 0.01, a time constant of four seconds: heads nearly freeze and lag behind.

    Args:
        rows: (N, 70).
        weight: of the new value, 0..1.
        before: (70,) smoothed row before the first; None at the beginning, which then starts at its own value.

    Returns:
        (N, 70) float32, new.
    """
    out = rows.copy()
    state = rows[0, POSE] if before is None else before[POSE]
    for index in range(len(rows)):
        if before is not None or index:
            state = np.float32(weight) * rows[index, POSE] + np.float32(1 - weight) * state
        out[index, POSE] = state
    return out
