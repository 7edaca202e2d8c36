"""Dense motion: 21 pairs of key points to one deformation field and one occlusion map.

First half of W (LivePortrait, arXiv:2407.03168; the method is that of arXiv:1808.08782 and arXiv:2011.15126). Each pair
of key points proposes a translation of the whole volume; an hourglass decides which proposal holds where. Readable twin
of ``fast/``, and the one that is compared with the official outputs.

Coordinates are (x, y, z) = (width, height, depth) in -1..1 with the ends on voxel centres. Sampling takes -1..1 to end
on voxel edges (``align_corners=False``), so even the identity grid resamples, by N / (N - 1): released weights need it.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.layers import ConvNorm3d

KEYPOINT_VARIANCE = 0.01  # of the Gaussian drawn at a key point, in squared model units


@dataclass(frozen=True)
class WarpingConfig:
    """Sizes of W; the defaults are the official ones.

    Attributes:
        keypoints: K, moving key points; the background is one more.
        feature_channels: of the appearance volume.
        depth: slices of the appearance volume.
        compressed_channels: what is left of the volume where the proposals are judged.
        width: channels before the first encoder step; each step doubles them.
        max_width: and no step goes beyond.
        steps: halvings of height and width, which must be multiples of 2 ** steps.
        out_channels: of the map handed to the generator.
    """

    keypoints: int = 21
    feature_channels: int = 32
    depth: int = 16
    compressed_channels: int = 4
    width: int = 32
    max_width: int = 1024
    steps: int = 5
    out_channels: int = 256

    @property
    def hourglass_channels(self) -> int:
        """Channels into the hourglass: heat map and compressed volume per proposal."""
        return (self.keypoints + 1) * (1 + self.compressed_channels)

    @property
    def prediction_channels(self) -> int:
        """Channels out of the hourglass: its last step beside its input."""
        return self.width + self.hourglass_channels

    def step_width(self, step: int) -> int:
        """Channels after ``step`` halvings, for step >= 1; ``width`` for none."""
        return min(self.max_width, self.width << step)


@dataclass(frozen=True)
class DenseMotion:
    """How the volume moves.

    Attributes:
        deformation: (B, D, H, W, 3) where to sample the source, x y z.
        occlusion_map: (B, 1, H, W) 0 hidden in the source .. 1 visible.
        mask: (B, K + 1, D, H, W) weight of each proposal, background first; sums to 1.
    """

    deformation: Tensor
    occlusion_map: Tensor
    mask: Tensor


class Encoder(nn.Module):
    """Halvings of height and width; depth stays."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        widths = [config.hourglass_channels] + [config.step_width(step + 1) for step in range(config.steps)]
        self.down_blocks = nn.ModuleList(ConvNorm3d(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Input and the result of every step, finest first."""
        levels = [x]
        for block in self.down_blocks:
            levels.append(F.avg_pool3d(F.relu(block(levels[-1])), (1, 2, 2)))
        return levels


class Decoder(nn.Module):
    """Doublings of height and width, each beside the encoder's map of that size."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        out = [config.step_width(step) for step in reversed(range(config.steps))]
        into = [config.step_width(config.steps)] + [2 * width for width in out[:-1]]
        self.up_blocks = nn.ModuleList(ConvNorm3d(a, b) for a, b in zip(into, out, strict=True))
        last = ConvNorm3d(config.prediction_channels, config.prediction_channels)
        self.conv, self.norm = last.conv, last.norm

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels of the encoder to (B, C, D, H, W) at the finest size."""
        x = levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            x = F.relu(block(F.interpolate(x, scale_factor=(1, 2, 2))))
            x = torch.cat([x, skip], dim=1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """Encoder and decoder with skips."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """Proposals (B, 110, D, H, W) to (B, 142, D, H, W)."""
        prediction: Tensor = self.decoder(self.encoder(x))
        return prediction


class DenseMotionNetwork(nn.Module):
    """Judges the translations that the key points propose."""

    def __init__(self, config: WarpingConfig) -> None:
        super().__init__()
        self.config = config
        self.hourglass = Hourglass(config)
        self.mask = nn.Conv3d(config.prediction_channels, config.keypoints + 1, 7, padding=3)
        self.compress = nn.Conv3d(config.feature_channels, config.compressed_channels, 1)
        self.norm = nn.BatchNorm3d(config.compressed_channels)
        self.occlusion = nn.Conv2d(config.prediction_channels * config.depth, 1, 7, padding=3)

    def forward(self, feature: Tensor, *, kp_driving: Tensor, kp_source: Tensor) -> DenseMotion:
        """Estimate the motion from source to driving key points.

        Args:
            feature: (B, C, D, H, W) appearance volume.
            kp_driving: (B, K, 3) key points to move to, model units.
            kp_source: (B, K, 3) key points of the portrait.
        """
        compressed = F.relu(self.norm(self.compress(feature)))  # (B, 4, D, H, W)
        size = (feature.shape[2], feature.shape[3], feature.shape[4])
        grids = sparse_motions(size, kp_driving, kp_source)  # (B, K+1, D, H, W, 3)
        deformed = sample_all(compressed, grids)  # (B, K+1, 4, D, H, W)
        heat = heat_maps(size, kp_driving, kp_source)  # (B, K+1, 1, D, H, W)
        prediction = self.hourglass(torch.cat([heat, deformed], dim=2).flatten(1, 2))  # (B, 142, D, H, W)
        mask = self.mask(prediction).softmax(dim=1)  # (B, K+1, D, H, W)
        deformation = torch.einsum("bkdhw,bkdhwc->bdhwc", mask, grids)  # (B, D, H, W, 3)
        occlusion_map = self.occlusion(prediction.flatten(1, 2)).sigmoid()  # (B, 1, H, W)
        return DenseMotion(deformation, occlusion_map, mask)


def identity_grid(size: tuple[int, int, int], like: Tensor) -> Tensor:
    """Coordinates (D, H, W, 3) of the voxels, ends of the axes at -1 and 1; dtype and device of ``like``."""
    z, y, x = (2 * torch.arange(n, dtype=like.dtype, device=like.device) / (n - 1) - 1 for n in size)
    zz, yy, xx = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([xx, yy, zz], dim=-1)


def sparse_motions(size: tuple[int, int, int], kp_driving: Tensor, kp_source: Tensor) -> Tensor:
    """Proposals (B, K + 1, D, H, W, 3): background at rest, then identity + source - driving per key point."""
    identity = identity_grid(size, kp_driving)
    shift = F.pad(kp_source - kp_driving, (0, 0, 1, 0))  # (B, K+1, 3), zero for the background
    return identity + shift[:, :, None, None, None, :]


def sample_all(volume: Tensor, grids: Tensor) -> Tensor:
    """Volume (B, C, D, H, W) sampled by every proposal: (B, K + 1, C, D, H, W)."""
    repeated = volume.repeat_interleave(grids.shape[1], dim=0)  # (B (K+1), C, D, H, W)
    sampled = F.grid_sample(repeated, grids.flatten(0, 1), align_corners=False)
    return sampled.reshape(*grids.shape[:2], *volume.shape[1:])


def heat_maps(size: tuple[int, int, int], kp_driving: Tensor, kp_source: Tensor) -> Tensor:
    """Gaussians (B, K + 1, 1, D, H, W) at driving minus at source key points; zero for the background."""
    identity = identity_grid(size, kp_driving)
    driving, source = (gaussian(identity, points) for points in (kp_driving, kp_source))
    return F.pad(driving - source, (0, 0, 0, 0, 0, 0, 1, 0))[:, :, None]


def gaussian(grid: Tensor, points: Tensor) -> Tensor:
    """exp(-|grid - point|^2 / (2 variance)): grid (D, H, W, 3), points (B, K, 3) to (B, K, D, H, W)."""
    distance = (grid - points[:, :, None, None, None, :]).square().sum(-1)
    return (-0.5 / KEYPOINT_VARIANCE * distance).exp()
