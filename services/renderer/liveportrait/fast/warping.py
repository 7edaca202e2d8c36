"""W rearranged: what depends on the portrait only is an argument, the rest is computed per frame."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.dense_motion import DenseMotionNetwork
from services.renderer.liveportrait.fast.convolution import Convolution, wide_convolution
from services.renderer.liveportrait.fast.fold import fold_batch_norm, fold_block
from services.renderer.liveportrait.fast.hourglass import FastHourglass
from services.renderer.liveportrait.fast.judgement import MaskHead, OcclusionHead
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.sparse_motion import gaussian_volumes, identity_points, sample_translated
from services.renderer.liveportrait.warping import WarpingNetwork, WarpOutput


@dataclass(frozen=True)
class SourceState:
    """All of W's work that depends on the portrait only, batch first; float32.

    Attributes:
        feature: (B, 32, 16, H, W) appearance volume.
        x_s: (B, 21, 3) source key points.
        compressed: (B, 4, 16, H, W) the volume as the hourglass sees it.
        background: (B, 4, 16, H, W) that, sampled by the proposal at rest.
        heat: (B, 21, 16, H, W) Gaussians at x_s.
    """

    feature: Tensor
    x_s: Tensor
    compressed: Tensor
    background: Tensor
    heat: Tensor

    @staticmethod
    def stack(states: "list[SourceState]") -> "SourceState":
        """Several portraits in one batch, in the order given."""
        return SourceState(*(torch.cat([getattr(s, f.name) for s in states]) for f in fields(SourceState)))

    def select(self, rows: Tensor) -> "SourceState":
        """The portraits of a batch of frames: rows (N,) int64 on the same device."""
        return SourceState(*(getattr(self, f.name).index_select(0, rows) for f in fields(self)))


class FastWarping(nn.Module):
    """The same function as `WarpingNetwork`."""

    compress_weight: Tensor
    compress_bias: Tensor

    def __init__(self, network: WarpingNetwork, options: FastOptions) -> None:
        super().__init__()
        self.options = options
        dense: DenseMotionNetwork = network.dense_motion_network
        weight, bias = fold_batch_norm(dense.compress, dense.norm)
        self.register_buffer("compress_weight", weight)
        self.register_buffer("compress_bias", bias)
        self.hourglass = FastHourglass(dense.hourglass, network.config, options)
        self.mask = MaskHead(dense.mask, options)
        self.occlusion = OcclusionHead(dense.occlusion, network.config.depth, options)
        weight, bias = fold_block(network.third)
        self.third = wide_convolution(weight, bias, options)
        self.fourth = Convolution(network.fourth.weight, network.fourth.bias, options)

    def source(self, feature: Tensor, x_s: Tensor) -> SourceState:
        """Prepare portraits: feature (B, 32, 16, H, W) and x_s (B, 21, 3), both float32."""
        compressed = F.relu(F.conv3d(feature, self.compress_weight, self.compress_bias))
        at_rest = torch.zeros_like(x_s[:, :1])
        background = sample_translated(compressed, at_rest)[:, 0].contiguous()
        size = (feature.shape[2], feature.shape[3], feature.shape[4])
        return SourceState(feature, x_s, compressed, background, gaussian_volumes(size, x_s))

    def forward(self, source: SourceState, x_d: Tensor) -> WarpOutput:
        """Warp to the driving key points x_d (B, 21, 3), float32; `WarpOutput.out` is in the computing dtype."""
        batch, _, depth, height, width = source.feature.shape
        prediction = self.hourglass(self._proposals(source, x_d))  # (B, 142, D, H, W)
        slices = prediction.transpose(1, 2).flatten(0, 1)  # (B D, 142, H, W)
        mask = self.mask(slices, depth).flatten(1, 2)  # (B, D H W, 22)
        deformation = identity_points((depth, height, width), x_d) + mask[..., 1:] @ (source.x_s - x_d)
        deformation = deformation.reshape(batch, depth, height, width, 3)
        occlusion_map = self.occlusion(slices)  # (B, 1, H, W)
        warped = F.grid_sample(source.feature, deformation, align_corners=False).flatten(1, 2)  # (B, 512, H, W)
        warped = warped.to(self.options.compute_dtype, memory_format=torch.channels_last)
        out = F.leaky_relu_(self.third(warped), 0.01)  # (B, 256, H, W)
        out = self.fourth(out).mul_(occlusion_map)
        return WarpOutput(out, occlusion_map, deformation)

    def _proposals(self, source: SourceState, x_d: Tensor) -> Tensor:
        """What the hourglass judges, (B, 21 + 84 + 4, D, H, W): heat maps, deformed volumes, background."""
        size = (source.feature.shape[2], source.feature.shape[3], source.feature.shape[4])
        heat = gaussian_volumes(size, x_d).sub_(source.heat)
        deformed = sample_translated(source.compressed, source.x_s - x_d).flatten(1, 2)
        proposals = torch.cat([heat, deformed, source.background], dim=1)
        return proposals.to(self.options.compute_dtype, memory_format=torch.channels_last_3d)
