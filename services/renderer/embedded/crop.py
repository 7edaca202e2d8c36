"""The upright square around a face: its place in the photo and its pixels.

The crop follows LivePortrait (side 2.3 x the face, face a little below the middle). For square output it is moved and,
within limits, shrunk into the photo; what still lies outside becomes a blurred reflection instead of streaks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.geometry import Bytes, Floats
from services.renderer.embedded.topology import N_MESH

SIDE = 2.3  # of the longer side of the face's box
UP = 0.125  # of the side: how far the crop's centre lies above the face's
MAX_SHIFT = 0.14  # of the side
MIN_SIDE = 0.86  # of the wanted side, when shrunk into the photo
SHARP_SCALE = 0.67  # below this, a photo is averaged down before it is sampled
FILL_BLUR_PX = 22.0
FILL_SEAM_PX = 7.0


@dataclass(frozen=True)
class CropBox:
    """A rotated square in the photo: centre (2,), unit axes (2, 2) rows x and y, side in pixels."""

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    side: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) affine, photo pixels -> crop pixels."""
        scale = CROP_PX / self.side
        linear = self.axes * scale
        shift = np.full(2, (CROP_PX - 1) / 2) - linear @ self.centre
        return np.concatenate([linear, shift[:, None]], axis=1)


def place(points: Floats) -> CropBox:
    """Square around the face, x axis along the eyes."""
    left, right = points[[33, 133], :2].mean(axis=0), points[[263, 362], :2].mean(axis=0)
    across = (right - left).astype(np.float64)
    across /= max(float(np.linalg.norm(across)), 1e-6)
    axes = np.stack([across, [-across[1], across[0]]])
    inside = points[:N_MESH, :2].astype(np.float64) @ axes.T
    low, high = inside.min(axis=0), inside.max(axis=0)
    side = SIDE * float((high - low).max())
    centre = (low + high) / 2 - [0.0, UP * side]
    return CropBox(axes.T @ centre, axes, side)


def move_inside(box: CropBox, width: int, height: int) -> CropBox:
    """Shrink and shift the square towards the photo (width x height) as far as the limits allow."""
    size = np.array([width, height], np.float64)
    reach = float(np.abs(box.axes).sum(axis=0).max())  # bounding box of the rotated unit square
    side = max(min(box.side, float(size.min()) / reach), MIN_SIDE * box.side)
    half = np.abs(box.axes).sum(axis=0) * side / 2
    low, high = half - 0.5, size - 0.5 - half
    wanted = np.where(low <= high, np.clip(box.centre, low, np.maximum(low, high)), (size - 1) / 2)
    limit = MAX_SHIFT * box.side
    shift = np.clip(wanted - box.centre, -limit, limit)
    return CropBox(box.centre + shift, box.axes, side)


def sample(photo: Bytes, matrix: NDArray[np.float64]) -> Bytes:
    """Pixels of the crop, replicated beyond the photo's border: (512, 512, 3) uint8.

    Only the needed part of the photo is touched, so that a large photo costs no more than a small one.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    photo, matrix = _part(photo, matrix, margin=int(8 + 4 / scale))
    if scale < SHARP_SCALE:
        height, width = (max(1, round(side * scale / SHARP_SCALE)) for side in photo.shape[:2])
        photo, matrix = resized(photo, matrix, width, height)
    crop: Bytes = cv2.warpAffine(
        photo, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return crop


def resized(photo: Bytes, matrix: NDArray[np.float64], width: int, height: int) -> tuple[Bytes, NDArray[np.float64]]:
    """A smaller copy of a photo, averaged, and the affine that leads from there."""
    grow = np.array([photo.shape[1] / width, photo.shape[0] / height])
    adjusted = matrix.copy()
    adjusted[:, :2] = matrix[:, :2] * grow
    adjusted[:, 2] += matrix[:, :2] @ (grow * 0.5 - 0.5)
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), adjusted


def fill_outside(crop: Bytes, matrix: NDArray[np.float64], width: int, height: int) -> Bytes:
    """Replace what lies beyond the photo (width x height) by a blurred reflection of what is inside."""
    inverse = cv2.invertAffineTransform(matrix)
    axis = np.arange(CROP_PX, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    matrix = matrix.astype(np.float32)
    inverse = inverse.astype(np.float32)
    photo_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    photo_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    outside_x = np.maximum(np.maximum(-photo_x, photo_x - (width - 1)), 0.0)
    outside_y = np.maximum(np.maximum(-photo_y, photo_y - (height - 1)), 0.0)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    depth = np.hypot(outside_x, outside_y) * scale  # crop pixels beyond the edge
    if float(depth.max()) < 0.5:
        return crop
    mirrored_x = (width - 1) - np.abs((width - 1) - np.abs(photo_x))
    mirrored_y = (height - 1) - np.abs((height - 1) - np.abs(photo_y))
    back_x = matrix[0, 0] * mirrored_x + matrix[0, 1] * mirrored_y + matrix[0, 2]
    back_y = matrix[1, 0] * mirrored_x + matrix[1, 1] * mirrored_y + matrix[1, 2]
    reflection = cv2.remap(
        crop, back_x.astype(np.float32), back_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    soft, near = _wide_blur(reflection, FILL_BLUR_PX), _wide_blur(reflection, FILL_SEAM_PX)
    # Sharp at the edge of the photo, more and more blurred away from it.
    t = np.clip(depth / FILL_BLUR_PX, 0.0, 1.0).astype(np.float32)[..., None]
    s = np.clip(depth / FILL_SEAM_PX, 0.0, 1.0).astype(np.float32)[..., None]
    filled = reflection * (1 - s) + (near * (1 - t) + soft * t) * s
    return np.where(depth[..., None] > 0, np.rint(filled), crop).astype(np.uint8)


def _wide_blur(image: Bytes, sigma_px: float) -> Bytes:
    """Gaussian blur, done at a quarter of the size."""
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4)
    blurred: Bytes = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return blurred


def _part(photo: Bytes, matrix: NDArray[np.float64], margin: int) -> tuple[Bytes, NDArray[np.float64]]:
    corners = np.array([[0, 0], [CROP_PX, 0], [0, CROP_PX], [CROP_PX, CROP_PX]], np.float64)
    inverse = cv2.invertAffineTransform(matrix)
    places = corners @ inverse[:, :2].T + inverse[:, 2]
    height, width = photo.shape[:2]
    left, top = (int(v) - margin for v in np.floor(places.min(axis=0)))
    right, bottom = (int(v) + margin for v in np.ceil(places.max(axis=0)))
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = max(min(right, width), left + 1), max(min(bottom, height), top + 1)
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([left, top], np.float64)
    return np.ascontiguousarray(photo[top:bottom, left:right]), shifted
