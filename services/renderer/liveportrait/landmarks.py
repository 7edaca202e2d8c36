"""How open eyes and lips are, and MediaPipe's landmarks in the official conventions.

A ratio is the gap between two lids or lips over the width of the eye or mouth. The official tools measure it on 203
landmarks; we measure on MediaPipe's 478 and convert (docs/decisions/0007). Knows no detector and no network.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.renderer.liveportrait.crop import Layout

EPSILON = 1e-6

# MediaPipe numbers. "a" is the eye on image left, "b" the one on image right.
_JAW = (
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)

# The 203 landmarks reach from the upper edge of the brows to the chin and, from the height of the eyes down, to the
# sides of the face; the forehead above the brows, which the mesh covers, is outside.
MEDIAPIPE = Layout(eye_a=(33, 159, 133, 145), eye_b=(362, 386, 263, 374), mouth=(61, 291), contour=_JAW + _BROWS)

# Official 203-landmark ratios.
LIPS_PARTED = 0.03  # from here on the lips of a source are closed before it speaks
EYES_CLOSED = 0.18  # below, eyes count as closed
EYES_OPEN = 0.39  # what relaxed open eyes measure

# The same on MediaPipe's points. Closed lips measure up to 0.008, and the first reading of parted ones is above 0.02:
# the mesh keeps lips together that are just apart. Wider gaps measure alike in both.
MEDIAPIPE_LIPS_PARTED = 0.015
MEDIAPIPE_EYES_OPEN = 0.34


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


EYES_203 = (Gap(6, 18, 0, 12), Gap(30, 42, 24, 36))
LIPS_203 = Gap(90, 102, 48, 66)
MEDIAPIPE_EYES = (Gap(159, 145, 33, 133), Gap(386, 374, 362, 263))
MEDIAPIPE_LIPS = Gap(13, 14, 61, 291)


def eye_ratios(points: NDArray[Any], eyes: tuple[Gap, Gap] = EYES_203) -> NDArray[np.float32]:
    """Ratios of both eyes of (..., K, 2) landmarks: (..., 2) float32."""
    both: NDArray[np.float32] = np.stack([eye.ratio(points) for eye in eyes], axis=-1).astype(np.float32)
    return both


def lip_ratio(points: NDArray[Any], lips: Gap = LIPS_203) -> NDArray[np.float32]:
    """Ratio of the lips of (..., K, 2) landmarks: (..., 1) float32."""
    ratio: NDArray[np.float32] = lips.ratio(points)[..., None].astype(np.float32)
    return ratio


def official_eye_ratios(mesh: NDArray[Any]) -> NDArray[np.float32]:
    """Eye ratios of (478, 2 or 3) MediaPipe landmarks on the official scale: (2,) float32."""
    measured = eye_ratios(mesh[:, :2], MEDIAPIPE_EYES)
    return measured * np.float32(EYES_OPEN / MEDIAPIPE_EYES_OPEN)


def official_lip_ratio(mesh: NDArray[Any]) -> float:
    """Lip ratio of (478, 2 or 3) MediaPipe landmarks on the official scale.

    Up to the threshold of the mesh linear to the official threshold, so that lips count as parted on one scale exactly
    where they do on the other; wider ones as measured, never below the threshold.
    """
    measured = float(lip_ratio(mesh[:, :2], MEDIAPIPE_LIPS)[0])
    if measured < MEDIAPIPE_LIPS_PARTED:
        return measured * (LIPS_PARTED / MEDIAPIPE_LIPS_PARTED)
    return max(measured, LIPS_PARTED)
