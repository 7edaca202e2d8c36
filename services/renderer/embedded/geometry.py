"""Small shapes every part uses: the coarse grid, smooth steps, the face's own lengths."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded import topology as at
from services.renderer.embedded.appearance import CROP_PX

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

STRIDE = 4
GRID = CROP_PX // STRIDE


def smoothstep(low: float, high: float, x: Floats | float) -> Floats:
    """0 below ``low``, 1 above ``high``, 3t^2 - 2t^3 between; ``low`` may exceed ``high``."""
    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0.0, 1.0)
    step: Floats = (t * t * (3.0 - 2.0 * t)).astype(np.float32)
    return step


def nodes() -> Floats:
    """Pixel coordinate of each node of one axis of the coarse grid, cell centred: (GRID,)."""
    axis: Floats = (np.arange(GRID) * STRIDE + (STRIDE - 1) / 2).astype(np.float32)
    return axis


def node_grid() -> Floats:
    """Pixel coordinates of all nodes: (2, GRID, GRID), x then y."""
    axis = nodes()
    grid: Floats = np.stack(np.meshgrid(axis, axis)).astype(np.float32)
    return grid


def to_grid(points: Floats) -> Floats:
    """Pixel coordinates -> coordinates of the coarse grid."""
    cells: Floats = ((points - (STRIDE - 1) / 2) / STRIDE).astype(np.float32)
    return cells


def blur(image: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of a float image, replicated border."""
    blurred: Floats = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred


@dataclass(frozen=True)
class Face:
    """Lengths and places of one face, in pixels of the crop.

    Attributes:
        points: (478, 3) float32 landmarks.
        mouth_width: corner to corner (61-291).
        face_width: 234-454.
        face_height: 10-152.
        eye_width: mean width of the two eyes.
        hinge_z: depth of the jaw joints (mean z of 234 and 454).
        mouth_x: x of the middle between the mouth corners.
    """

    points: Floats
    mouth_width: float
    face_width: float
    face_height: float
    eye_width: float
    hinge_z: float
    mouth_x: float

    @classmethod
    def measure(cls, points: Floats) -> "Face":
        """Take the lengths from landmarks."""

        def distance(a: int, b: int) -> float:
            return float(np.linalg.norm(points[a, :2] - points[b, :2]))

        return cls(
            points=points,
            mouth_width=max(distance(61, 291), 8.0),
            face_width=max(distance(at.SIDE_LEFT, at.SIDE_RIGHT), 24.0),
            face_height=max(distance(at.FOREHEAD, at.CHIN), 24.0),
            eye_width=max(0.5 * (distance(33, 133) + distance(362, 263)), 6.0),
            hinge_z=float(points[[at.SIDE_LEFT, at.SIDE_RIGHT], 2].mean()),
            mouth_x=float(points[[61, 291], 0].mean()),
        )

    @property
    def oval(self) -> Floats:
        """(36, 2) outline of the face."""
        outline: Floats = self.points[list(at.FACE_OVAL), :2]
        return outline

    @property
    def oval_centre(self) -> Floats:
        """(2,) middle of the outline."""
        centre: Floats = self.oval.mean(axis=0)
        return centre

    @property
    def chin_y(self) -> float:
        """Y of the chin."""
        return float(self.points[at.CHIN, 1])
