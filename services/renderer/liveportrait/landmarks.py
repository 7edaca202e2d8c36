"""How open eyes and lips are, from landmarks.

A ratio is the gap between two lids or lips over the width of the eye or mouth. Knows no detector and no network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-6


@dataclass(frozen=True)
class Gap:
    """Four landmarks: the gap from ``upper`` to ``lower`` over the width from ``left`` to ``right``."""

    upper: int
    lower: int
    left: int
    right: int

    def ratio(self, points: NDArray[Any]) -> NDArray[Any]:
        """|upper - lower| / (|left - right| + 1e-6).

        Args:
            points: (..., K, 2) landmarks.

        Returns:
            (...) ratios, dtype of the points.
        """
        gap = np.linalg.norm(points[..., self.upper, :] - points[..., self.lower, :], axis=-1)
        width = np.linalg.norm(points[..., self.left, :] - points[..., self.right, :], axis=-1)
        ratio: NDArray[Any] = gap / (width + EPSILON)
        return ratio


# Of the official 203 landmarks.
EYES_203 = (Gap(6, 18, 0, 12), Gap(30, 42, 24, 36))
LIPS_203 = Gap(90, 102, 48, 66)


def eye_ratios(points: NDArray[Any], eyes: tuple[Gap, Gap] = EYES_203) -> NDArray[np.float32]:
    """Ratios of both eyes of (..., K, 2) landmarks: (..., 2) float32."""
    both: NDArray[np.float32] = np.stack([eye.ratio(points) for eye in eyes], axis=-1).astype(np.float32)
    return both


def lip_ratio(points: NDArray[Any], lips: Gap = LIPS_203) -> NDArray[np.float32]:
    """Ratio of the lips of (..., K, 2) landmarks: (..., 1) float32."""
    ratio: NDArray[np.float32] = lips.ratio(points)[..., None].astype(np.float32)
    return ratio
