"""Crops around a face, placed as the official LivePortrait tools place them, from any of their landmark layouts.

A crop is a square whose y axis runs from the middle of the eyes to the middle of the mouth. Its side is the larger
extent of the landmarks times a factor, its centre is moved up by a part of that side. Matrices are homogeneous 3x3 in
pixels (x, y), whole numbers at pixel centres: ``o2c`` leads from the photo to the crop, ``c2o`` back. Deviation: the
official horizontal shift is left out; it is zero everywhere. Knows no landmark detector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.liveportrait.warp import Warp
from shared.errors import ShapeError

Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]
Points = NDArray[Any]  # (K, 2) float32 or float64 pixels

LONGEST_SIDE_PX = 1280
SIDE_MULTIPLE_PX = 2
NETWORK_PX = 256
NO_AXIS_PX = 1e-3


@dataclass(frozen=True)
class Layout:
    """Where a landmark convention has eyes and mouth, and what of it bounds the face.

    Attributes:
        eye_a: points whose mean is the middle of one eye.
        eye_b: the same of the other.
        mouth: points whose mean is the middle of the mouth.
        contour: points whose extent is the face; None: all.
    """

    eye_a: tuple[int, ...]
    eye_b: tuple[int, ...]
    mouth: tuple[int, ...]
    contour: tuple[int, ...] | None = None


# The official layouts by their number of points.
LAYOUTS = {
    203: Layout((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
    106: Layout((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    101: Layout((39, 42, 45, 48), (51, 54, 57, 60), (75, 81)),
    68: Layout((36, 39), (42, 45), (48, 54)),
    9: Layout((2, 3), (0, 1), (5, 6)),
    5: Layout((0,), (1,), (3, 4)),
}


@dataclass(frozen=True)
class Framing:
    """How much of the photo a crop shows.

    Attributes:
        side_px: side of the crop.
        scale: side of the square over the larger extent of the landmarks.
        up: way of the square's centre above the middle of the landmarks, in sides of the square.
    """

    side_px: int
    scale: float
    up: float


SOURCE = Framing(512, 2.3, 0.125)  # what the networks see
LANDMARK = Framing(224, 1.5, 0.1)  # what the 203-point network sees
DRIVING = Framing(512, 2.2, 0.1)  # of a driving video


@dataclass(frozen=True)
class Square:
    """A square in the photo: centre (2,) and side in pixels, angle in radians, clockwise on the screen."""

    centre: Doubles
    side: float
    angle: float

    @property
    def box(self) -> Doubles:
        """Left, top, right, bottom of the square when it is not turned: (4,)."""
        half = self.side / 2
        return np.concatenate([self.centre - half, self.centre + half])


def layout_of(points: Points) -> Layout:
    """The official layout with this number of points.

    Raises:
        ShapeError: there is none.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in LAYOUTS:
        raise ShapeError(f"landmarks of shape {points.shape}; expected (K, 2) with K one of {sorted(LAYOUTS)}")
    return LAYOUTS[len(points)]


def face_square(points: Points, layout: Layout, framing: Framing) -> Square:
    """Square around a face, in the precision of its landmarks, as officially.

    Args:
        points: (K, 2) landmarks, pixels.
        layout: of these landmarks.
        framing: factor and shift.
    """
    down = _down(points, layout)
    # Always single precision officially; near zero its arc cosine is coarse enough to matter.
    across = np.array([down[1], -down[0]], np.float32)
    angle = math.acos(min(1.0, max(-1.0, float(across[0]))))
    axes = np.stack([across, down])
    bounds = points if layout.contour is None else points[list(layout.contour)]
    middle = bounds.mean(axis=0)
    inside = (bounds - middle) @ axes.T
    low, high = inside.min(axis=0), inside.max(axis=0)
    side = (high - low).max() * points.dtype.type(framing.scale)
    centre = middle + (low + high) / 2 @ axes - points.dtype.type(framing.up) * side * down
    return Square(centre.astype(np.float64), float(side), -angle if across[1] < 0 else angle)


def turned_matrix(square: Square, side_px: int) -> Doubles:
    """Photo to crop, turned upright: (3, 3) o2c."""
    return _matrix(square.centre, square.side, square.angle, side_px)


def straight_matrix(square: Square, side_px: int) -> Doubles:
    """Photo to crop without turning, same centre and side: (3, 3) o2c."""
    return _matrix(square.centre, square.side, 0.0, side_px)


def box_matrix(box: Doubles, side_px: int) -> Doubles:
    """Photo to crop of an upright box (left, top, right, bottom): (3, 3) o2c; its width counts as the side."""
    return _matrix((box[:2] + box[2:]) / 2, float(box[2] - box[0]), 0.0, side_px)


def driving_box(clip: Sequence[Points], layout: Layout, framing: Framing = DRIVING) -> Doubles:
    """One upright box for a whole driving clip: the mean of the frames' boxes, (4,) left, top, right, bottom."""
    boxes: Doubles = np.mean([face_square(points, layout, framing).box for points in clip], axis=0)
    return boxes


def move(points: Points, matrix: Doubles) -> Doubles:
    """Points through a 3x3 affine: (K, 2)."""
    moved: Doubles = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def sample(photo: Bytes, o2c: Doubles, side_px: int) -> Bytes:
    """Pixels of a crop, bilinear, black beyond the photo: (side, side, 3) uint8."""
    return Warp(np.linalg.inv(o2c), (photo.shape[0], photo.shape[1]), (side_px, side_px))(photo)


def network_input(crop: Bytes) -> Bytes:
    """The crop at the networks' size, averaged: (256, 256, 3) uint8."""
    small: Bytes = cv2.resize(crop, (NETWORK_PX, NETWORK_PX), interpolation=cv2.INTER_AREA)
    return small


def limit_size(photo: Bytes) -> Bytes:
    """A photo no longer than 1280 pixels, with even sides: bilinear, then cut at the right and at the bottom."""
    height, width = photo.shape[:2]
    (scaled_h, scaled_w), (even_h, even_w) = limited_sizes(height, width)
    if (scaled_h, scaled_w) != (height, width):
        photo = cv2.resize(photo, (scaled_w, scaled_h))
    return np.ascontiguousarray(photo[:even_h, :even_w])


def limited_sizes(
    height: int, width: int, longest_px: int = LONGEST_SIDE_PX, multiple_px: int = SIDE_MULTIPLE_PX
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) after scaling the longer side down to a limit, and after cutting to a multiple.

    Args:
        height: pixels.
        width: pixels.
        longest_px: limit of the longer side; shorter photos keep their size.
        multiple_px: both sides are cut to a multiple of it.
    """
    longest = max(height, width)
    if longest > longest_px:
        factor = longest_px / longest
        height, width = (longest_px if side == longest else int(side * factor) for side in (height, width))
    return (height, width), (height - height % multiple_px, width - width % multiple_px)


def _down(points: Points, layout: Layout) -> NDArray[Any]:
    """Unit vector from the eyes to the mouth; straight down where they coincide."""
    eyes = (points[list(layout.eye_a)].mean(axis=0) + points[list(layout.eye_b)].mean(axis=0)) / 2
    way = points[list(layout.mouth)].mean(axis=0) - eyes
    length = np.linalg.norm(way)
    unit: NDArray[Any] = np.array([0.0, 1.0], points.dtype) if length <= NO_AXIS_PX else way / length
    return unit


def _matrix(centre: Doubles, side: float, angle: float, side_px: int) -> Doubles:
    scale = side_px / side
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = side_px / 2 - linear @ centre
    return matrix
