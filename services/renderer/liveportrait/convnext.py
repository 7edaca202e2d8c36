"""ConvNeXt V2, the backbone of the motion extractor, with linear heads on its pooled features.

Woo et al., arXiv:2301.00808; block of Liu et al., arXiv:2201.03545. Attribute names are the keys of the official
checkpoint. Knows nothing of what the heads mean.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYER_NORM_EPS = 1e-6
GRN_EPS = 1e-6
STEM_STRIDE_PX = 4
EXPANSION = 4


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Channels compete by their response over the whole image (arXiv:2301.00808, Eq. 1-3), channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same: gamma (x n) + beta + x, n = |x| over its mean of all channels."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)  # (B, 1, 1, C)
        relative = response / (response.mean(dim=-1, keepdim=True) + GRN_EPS)
        competing: Tensor = self.gamma * (x * relative) + self.beta + x
        return competing


class Block(nn.Module):
    """Depthwise 7x7, LayerNorm, expand, GELU, GRN, contract, residual: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pwconv1 = nn.Linear(channels, EXPANSION * channels)
        self.grn = GlobalResponseNorm(EXPANSION * channels)
        self.pwconv2 = nn.Linear(EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The pointwise layers work channels last; GELU is the exact one (erf)."""
        # fmt: off
        hidden = self.dwconv(x).permute(0, 2, 3, 1)                # (B, H, W, C)
        hidden = F.gelu(self.pwconv1(self.norm(hidden)))           # (B, H, W, 4 C)
        hidden = self.pwconv2(self.grn(hidden))                    # (B, H, W, C)
        moved: Tensor = x + hidden.permute(0, 3, 1, 2)             # (B, C, H, W)
        # fmt: on
        return moved


class ConvNeXtV2(nn.Module):
    """Image -> one vector per head."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int], heads: Mapping[str, int]) -> None:
        """Build the network.

        Args:
            depths: blocks per stage.
            widths: channels per stage; one entry per stage.
            heads: outputs of each linear head (attribute ``fc_NAME``), in the checkpoint's order.
        """
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, widths[0], STEM_STRIDE_PX, STEM_STRIDE_PX), LayerNorm2d(widths[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for wide, wider in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(LayerNorm2d(wide), nn.Conv2d(wide, wider, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth))) for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=LAYER_NORM_EPS)
        self.head_names = tuple(heads)
        for name, n_outputs in heads.items():
            self.add_module(f"fc_{name}", nn.Linear(widths[-1], n_outputs))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Outputs of every head, (B, n_outputs) each, of images (B, 3, H, W) with H and W divisible by 32."""
        # fmt: off
        x = image
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))                               # (B, 96, H/4, W/4) ... (B, 768, H/32, W/32)
        features = self.norm(x.mean(dim=(2, 3)))                   # (B, 768): the mean first, the norm after it
        # fmt: on
        return {name: self.get_submodule(f"fc_{name}")(features) for name in self.head_names}
