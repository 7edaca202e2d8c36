"""Frames to JPEG on the CPU."""

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Compress (h, w, 3) uint8 RGB as baseline JPEG with 4:2:0 chroma; equal input, equal bytes."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return bytes(data)
