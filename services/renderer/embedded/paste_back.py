"""A drawn crop back into its photo.

The crop's own fields vanish at its border, so there is no seam to hide; only the crop's bounding box is touched.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.appearance import CROP_PX

INSET_PX = 24
BLUR_PX = 8.0


class PasteBack:
    """One portrait's way from crop to photo.

    Args:
        photo: (h, w, 3) uint8 RGB.
        crop: (2, 3) affine, photo pixels -> crop pixels.
    """

    def __init__(self, photo: NDArray[np.uint8], crop: NDArray[np.float64]) -> None:
        self._photo = np.ascontiguousarray(photo)
        height, width = photo.shape[:2]
        inverse = cv2.invertAffineTransform(crop)
        corners = np.array([[0, 0], [CROP_PX, 0], [0, CROP_PX], [CROP_PX, CROP_PX]], np.float64)
        places = corners @ inverse[:, :2].T + inverse[:, 2]
        left, top = np.clip(np.floor(places.min(axis=0)).astype(int), 0, [width - 1, height - 1])
        right, bottom = np.clip(np.ceil(places.max(axis=0)).astype(int) + 1, [left + 1, top + 1], [width, height])
        self._rows, self._columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        self._size = (int(right - left), int(bottom - top))
        self._matrix = inverse.copy()
        self._matrix[:, 2] -= [left, top]
        self._shrinks = float(np.sqrt(abs(np.linalg.det(inverse[:, :2]))))
        mask = np.zeros((CROP_PX, CROP_PX), np.float32)
        mask[INSET_PX:-INSET_PX, INSET_PX:-INSET_PX] = 1.0
        self._mask = cv2.warpAffine(cv2.GaussianBlur(mask, (0, 0), BLUR_PX), self._matrix, self._size)
        self._rest = (1.0 - self._mask).astype(np.float32)
        self._under = np.ascontiguousarray(self._photo[self._rows, self._columns])

    def into_photo(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(512, 512, 3) uint8 crop -> (h, w, 3) uint8 photo."""
        if self._shrinks < 0.6:
            crop = cv2.GaussianBlur(crop, (0, 0), 0.45 / self._shrinks)
        warped = cv2.warpAffine(crop, self._matrix, self._size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frame = self._photo.copy()
        frame[self._rows, self._columns] = cv2.blendLinear(warped, self._under, self._mask, self._rest)
        return frame
