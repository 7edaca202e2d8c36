"""W, the warping network: appearance volume and two sets of key points to the generator's input.

LivePortrait, arXiv:2407.03168; ``dense_motion.py`` estimates where everything goes, this file moves it.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.dense_motion import DenseMotionNetwork, WarpingConfig
from services.renderer.liveportrait.layers import ConvNorm2d


@dataclass(frozen=True)
class WarpOutput:
    """What W yields.

    Attributes:
        out: (B, 256, H, W) the generator's input.
        occlusion_map: (B, 1, H, W) in 0..1.
        deformation: (B, D, H, W, 3) sampling coordinates, x y z.
    """

    out: Tensor
    occlusion_map: Tensor
    deformation: Tensor


class WarpingNetwork(nn.Module):
    """Warps the appearance volume to driving key points and flattens its depth into channels."""

    def __init__(self, config: WarpingConfig | None = None) -> None:
        super().__init__()
        self.config = config or WarpingConfig()
        out = self.config.out_channels
        self.dense_motion_network = DenseMotionNetwork(self.config)
        self.third = ConvNorm2d(self.config.feature_channels * self.config.depth, out)
        self.fourth = nn.Conv2d(out, out, 1)

    def forward(self, feature_3d: Tensor, *, kp_driving: Tensor, kp_source: Tensor) -> WarpOutput:
        """Warp. The official argument order differs between callers, hence keywords only: a swap would be silent.

        Args:
            feature_3d: (B, 32, 16, H, W) appearance volume; H and W multiples of 32.
            kp_driving: (B, 21, 3) key points to move to, model units.
            kp_source: (B, 21, 3) key points of the portrait.
        """
        motion = self.dense_motion_network(feature_3d, kp_driving=kp_driving, kp_source=kp_source)
        warped = F.grid_sample(feature_3d, motion.deformation, align_corners=False)  # (B, 32, 16, H, W)
        out = F.leaky_relu(self.third(warped.flatten(1, 2)), 0.01)  # (B, 256, H, W)
        out = self.fourth(out) * motion.occlusion_map
        return WarpOutput(out, motion.occlusion_map, motion.deformation)
