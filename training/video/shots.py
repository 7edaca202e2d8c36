"""Cuts: where one picture has nothing to do with the one before.

Two measures of neighbouring pictures must agree. D is the mean absolute difference of their thumbnails (0..1 per
channel); it must pass `DIFFERENCE` and stand out by `RATIO` from what D was in the pictures before (their mean), so
that a moving camera is no cut. Faces that jump although the room stays (jump cuts) are found by the face tracks.
"""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = (64, 36)
DIFFERENCE = 0.06
RATIO = 3.0
REMEMBERED = 12


class CutDetector:
    """Picture after picture: does a new shot begin here?"""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Look at the next picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            True for the first picture of a new shot; False for the first of all.
        """
        small = cv2.resize(image, THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
        before, self._last = self._last, small
        if before is None:
            return False
        difference = float(np.abs(small - before).mean())
        usual = float(np.mean(self._recent)) if self._recent else 0.0
        self._recent.append(difference)
        return difference > DIFFERENCE and difference > RATIO * usual
