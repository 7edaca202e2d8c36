"""F, the appearance feature extractor: a portrait becomes a volume of features that W can move.

LivePortrait (arXiv:2407.03168), after face-vid2vid (Wang et al., arXiv:2011.15126). Attribute names are the keys of the
official checkpoint. Knows nothing of key points or files.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.renderer.liveportrait.layers import ConvNorm2d


@dataclass(frozen=True)
class AppearanceConfig:
    """Sizes of F; the defaults are the official ones."""

    first_channels: int = 64  # of the first convolution; every halving of the image doubles them
    n_halvings: int = 2
    volume_channels: int = 32
    volume_depth: int = 16
    n_resblocks: int = 6


class ResBlock3d(nn.Module):
    """Pre-activation residual block on a volume: (B, C, D, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """BatchNorm and ReLU before each convolution (He et al., arXiv:1603.05027, Fig. 4 e)."""
        hidden: Tensor = self.conv1(torch.relu(self.norm1(x)))
        hidden = self.conv2(torch.relu(self.norm2(hidden)))
        return x + hidden


class AppearanceFeatureExtractor(nn.Module):
    """Image -> feature volume f_s."""

    def __init__(self, config: AppearanceConfig | None = None) -> None:
        super().__init__()
        config = config or AppearanceConfig()
        self.config = config
        widths = [config.first_channels * 2**step for step in range(config.n_halvings + 1)]
        self.first = ConvNorm2d(3, widths[0])
        self.down_blocks = nn.ModuleList(ConvNorm2d(*pair) for pair in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], config.volume_channels * config.volume_depth, kernel_size=1)
        self.resblocks_3d = nn.Sequential()
        for index in range(config.n_resblocks):
            self.resblocks_3d.add_module(f"3dr{index}", ResBlock3d(config.volume_channels))

    def forward(self, image: Tensor) -> Tensor:
        """Features of a portrait.

        Args:
            image: (B, 3, H, W) RGB in 0..1, H and W divisible by ``2 ** n_halvings``; officially 256x256.

        Returns:
            (B, volume_channels, volume_depth, H / 4, W / 4); officially (B, 32, 16, 64, 64).
        """
        # fmt: off
        x = torch.relu(self.first(image))                             # (B, 64, H, W)
        for block in self.down_blocks:
            x = F.avg_pool2d(torch.relu(block(x)), kernel_size=2)     # (B, 128, H/2, W/2), (B, 256, H/4, W/4)
        x = self.second(x)                                            # (B, 512, H/4, W/4)
        size = self.config.volume_channels, self.config.volume_depth
        features: Tensor = self.resblocks_3d(x.unflatten(1, size))    # (B, 32, 16, H/4, W/4)
        # fmt: on
        return features
