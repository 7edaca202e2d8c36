"""Frames of the crop back into the photo, blended as the official LivePortrait tools blend them.

out = mask * warped + (1 - mask) * photo, truncated to uint8. The mask is one but for a ramp of 16 pixels along the
crop's border, so inside it a frame is copied and only the ramp is computed: the same result for less work. Everything
that does not change from frame to frame is made once per portrait.
"""

import numpy as np
from numpy.typing import NDArray

from services.renderer.liveportrait.warp import Warp

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

MASK_PX = 512
RAMP_PX = 16


def mask_template() -> Bytes:
    """Blending mask of the crop: floor(255 clip(1 - sqrt(dx^2 + dy^2) / 16, 0, 1)), (512, 512) uint8.

    d(i) = max(16 - min(i, 512 - i), 0) on each axis; not symmetric: row and column 0 are 0, row and column 511 are 15.
    """
    index = np.arange(MASK_PX)
    depth = np.maximum(RAMP_PX - np.minimum(index, MASK_PX - index), 0).astype(np.float64)
    distance = np.hypot(depth[:, None], depth[None, :])
    mask: Bytes = np.floor(255.0 * np.clip(1.0 - distance / RAMP_PX, 0.0, 1.0)).astype(np.uint8)
    return mask


def warp_mask(mask: Bytes, o2c: NDArray[np.float64], size: tuple[int, int]) -> Floats:
    """Mask of the crop as a mask of the photo: (512, 512) uint8 -> (h, w) float32, 0..1."""
    return Warp(o2c, (MASK_PX, MASK_PX), size)(mask[..., None])[..., 0].astype(np.float32) / np.float32(255.0)


class PasteBack:
    """One portrait's way from the crop to the photo.

    Args:
        photo: (h, w, 3) uint8 RGB.
        o2c: (3, 3) affine, photo pixels -> crop pixels.
        mask: (512, 512) uint8 of the crop.
    """

    def __init__(self, photo: Bytes, o2c: NDArray[np.float64], mask: Bytes) -> None:
        self._photo = np.ascontiguousarray(photo)
        weight = warp_mask(mask, o2c, (photo.shape[0], photo.shape[1]))
        self._box = _box(weight)
        top, left = self._box[0].start, self._box[1].start
        weight = weight[self._box]
        self._warp = Warp(o2c @ _shift(left, top), (MASK_PX, MASK_PX), (weight.shape[0], weight.shape[1]))
        self._inside = (weight == 1.0)[..., None]
        self._ramp = np.nonzero((weight > 0.0) & (weight < 1.0))
        ramp_weight = weight[self._ramp][:, None]
        self._ramp_weight = ramp_weight
        self._ramp_rest = (1.0 - ramp_weight) * self._photo[self._box][self._ramp]

    def into_photo(self, crop: Bytes) -> Bytes:
        """(512, 512, 3) uint8 crop -> (h, w, 3) uint8 photo, a new array."""
        warped = self._warp(crop)
        frame = self._photo.copy()
        part = frame[self._box]
        np.copyto(part, warped, where=self._inside)
        part[self._ramp] = (self._ramp_weight * warped[self._ramp] + self._ramp_rest).astype(np.uint8)
        return frame


def _box(weight: Floats) -> tuple[slice, slice]:
    """Rows and columns where there is any weight; empty when the crop lies beside the photo."""
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _shift(x: int, y: int) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix
