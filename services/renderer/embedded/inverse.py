"""From forward displacement to sampling map: fixed-point inversion on the coarse grid.

A frame shows at p the texture at s with s + D(s) = p. The plain iteration oscillates where the gradient of D passes 1
(lip corners of a wide open mouth); the relaxation weights cure that: 0.45 px residual at worst, 0.004 on average.
"""

import cv2
import numpy as np

from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.geometry import GRID, STRIDE, Floats

RELAXATION = (1.0, 1.0, 0.7, 0.7, 0.6)


class Grid:
    """Identity maps, made once per process and part."""

    def __init__(self) -> None:
        cells = np.arange(GRID, dtype=np.float32)
        self.cells = np.stack(np.meshgrid(cells, cells), axis=-1)  # (GRID, GRID, 2) in grid units
        pixels = np.arange(CROP_PX, dtype=np.float32)
        self.pixels = np.stack(np.meshgrid(pixels, pixels), axis=-1)  # (512, 512, 2)

    def invert(self, displacement: Floats, first_row: int = 0, stop_row: int = GRID) -> Floats:
        """Backward displacement s - p for rows [first_row, stop_row) of the coarse grid.

        Args:
            displacement: (2, GRID, GRID) forward displacement, pixels.
            first_row: first row wanted.
            stop_row: row after the last one wanted.

        Returns:
            (rows, GRID, 2) float32, pixels.
        """
        forward = cv2.merge([displacement[0], displacement[1]])
        forward *= 1.0 / STRIDE
        here = self.cells[first_row:stop_row]
        backward = -forward[first_row:stop_row]
        for weight in RELAXATION:
            source = here + backward
            residual = cv2.remap(forward, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            residual += backward
            if weight != 1.0:
                residual *= weight
            backward -= residual
        backward *= STRIDE
        result: Floats = backward
        return result

    def sampling_map(self, backward: Floats) -> Floats:
        """Full-resolution map of a coarse backward displacement: (512, 512, 2) absolute pixels."""
        fine: Floats = cv2.resize(backward, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
        fine += self.pixels
        return fine
