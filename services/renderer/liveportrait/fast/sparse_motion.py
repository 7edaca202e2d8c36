"""Sparse motion without 3-D grids: every proposal is a translation, so all of it separates into the three axes.

Exact rearrangements of ``dense_motion.py``, in float32:

- A Gaussian of the squared distance is the product of one Gaussian per axis.
- Linear interpolation at ix weighs voxel i with max(0, 1 - |ix - i|) per axis, which is zero outside the volume as zero
  padding asks; for a translation ix depends on one axis only, so sampling is one small banded matrix per axis.
- The masks sum to 1, so the deformation is identity + sum_k mask_k (x_s,k - x_d,k) and the background needs no term.
"""

import torch
from torch import Tensor

from services.renderer.liveportrait.dense_motion import KEYPOINT_VARIANCE

Size = tuple[int, int, int]  # depth, height, width


def axis_coordinates(n: int, like: Tensor) -> Tensor:
    """Coordinates (n,) of the voxels along an axis, ends at -1 and 1; dtype and device of ``like``."""
    return 2 * torch.arange(n, dtype=like.dtype, device=like.device) / (n - 1) - 1


def gaussian_volumes(size: Size, points: Tensor) -> Tensor:
    """exp(-|voxel - point|^2 / (2 variance)) for points (B, K, 3) x y z: (B, K, D, H, W)."""
    x, y, z = (_axis_gaussian(n, points[..., axis]) for axis, n in enumerate(reversed(size)))  # (B, K, n)
    plane = y[..., :, None] * x[..., None, :]  # (B, K, H, W)
    return z[..., None, None] * plane[:, :, None]


def _axis_gaussian(n: int, positions: Tensor) -> Tensor:
    distance = axis_coordinates(n, positions) - positions[..., None]
    return (-0.5 / KEYPOINT_VARIANCE * distance.square()).exp()


def sampling_matrix(n: int, shift: Tensor) -> Tensor:
    """Interpolation along one axis of n voxels at identity + shift: (...) to (..., n out, n in).

    ``grid_sample`` with align_corners=False puts coordinate g at voxel ((g + 1) n - 1) / 2.
    """
    grid = axis_coordinates(n, shift) + shift[..., None]  # (..., n)
    position = ((grid + 1) * n - 1) / 2
    voxels = torch.arange(n, dtype=shift.dtype, device=shift.device)
    return (1 - (position[..., None] - voxels).abs()).clamp_min(0)


def sample_translated(volume: Tensor, shift: Tensor) -> Tensor:
    """Volume (B, C, D, H, W) sampled at identity + shift, shift (B, K, 3) x y z: (B, K, C, D, H, W)."""
    batch, channels, depth, height, width = volume.shape
    proposals = shift.shape[1]
    x, y, z = (sampling_matrix(n, shift[..., axis]) for axis, n in enumerate((width, height, depth)))  # (B, K, n, n)
    # fmt: off
    rows = volume.permute(0, 3, 1, 2, 4).reshape(batch, height, -1)               # (B, H, C D W)
    out = y.flatten(1, 2) @ rows                                                  # (B, K H', C D W)
    out = out.reshape(batch, proposals, -1, width) @ x.transpose(-1, -2)          # (B, K, H' C D, W')
    out = out.reshape(batch, proposals, height, channels, depth, width).transpose(2, 4)
    out = z @ out.reshape(batch, proposals, depth, -1)                            # (B, K, D', C H' W')
    # fmt: on
    return out.reshape(batch, proposals, depth, channels, height, width).transpose(2, 3)


def identity_points(size: Size, like: Tensor) -> Tensor:
    """Coordinates (D H W, 3) x y z of all voxels, width fastest."""
    z, y, x = (axis_coordinates(n, like) for n in size)
    zz, yy, xx = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([xx, yy, zz], dim=-1).reshape(-1, 3)
