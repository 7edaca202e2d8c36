"""Affine warps of uint8 images, bilinear at full precision.

OpenCV 4.11 rounds sampling positions to 1/32 pixel, which moves single pixels of a noisy image by four levels; the
reference images of LivePortrait were made without that, hence an own warp. Its grid is made once and used many times.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Bytes = NDArray[np.uint8]


class Warp:
    """A fixed affine from images of one size to images of another, on the CPU.

    Args:
        backward: (2, 3) or (3, 3) affine, pixels (x, y) of the result -> pixels of the input.
        from_size: (height, width) of the input.
        to_size: (height, width) of the result.
    """

    def __init__(self, backward: NDArray[Any], from_size: tuple[int, int], to_size: tuple[int, int]) -> None:
        matrix = torch.from_numpy(np.asarray(backward, np.float64))
        rows = torch.arange(to_size[0], dtype=torch.float64)
        columns = torch.arange(to_size[1], dtype=torch.float64)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        # Normalised to -1 .. 1 on the centres of the first and the last pixel.
        positions = [
            (matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2]) * (2.0 / max(size - 1, 1)) - 1.0
            for axis, size in ((0, from_size[1]), (1, from_size[0]))
        ]
        self._grid: Tensor = torch.stack(positions, dim=-1).float()[None]

    def __call__(self, image: Bytes) -> Bytes:
        """(H, W, C) uint8 -> (h, w, C) uint8, rounded; zero beyond the input's border."""
        planes = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1).float()[None]
        warped = F.grid_sample(planes, self._grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        pixels: Bytes = warped[0].round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        return pixels
