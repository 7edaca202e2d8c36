"""Blocks of the generator: spatially adaptive normalisation and spectrally normalised convolutions.

SPADE: arXiv:1903.07291, Eq. 1-3; spectral normalisation: arXiv:1802.05957, Eq. 8.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IN_EPS = 1e-5
BLOCK_SLOPE = 0.2  # of the leaky rectifiers


class SpectralConv2d(nn.Module):
    """Convolution with weight_orig / sigma, sigma = u . (W v) from the stored vectors: no power iteration."""

    bias: nn.Parameter | None
    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        self.weight_orig = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight_orig, a=5**0.5)
        self.register_buffer("weight_u", F.normalize(torch.randn(out_channels), dim=0))
        self.register_buffer("weight_v", F.normalize(self.weight_orig.detach().flatten(1).T @ self.weight_u, dim=0))

    def effective_weight(self) -> Tensor:
        """The weight that is convolved with, (out, in, k, k)."""
        sigma = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
        return torch.div(self.weight_orig, sigma)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, in, H, W) to (B, out, H, W)."""
        return F.conv2d(x, self.effective_weight(), self.bias, padding=self.weight_orig.shape[-1] // 2)


class Spade(nn.Module):
    """Normalises per image and channel, then scales and shifts each place by what a feature map says there."""

    def __init__(self, channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(map_channels, hidden, 3, padding=1))
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """IN(x) (1 + gamma(seg)) + beta(seg); seg (B, map_channels, h, w) is repeated to the size of x."""
        hidden = F.relu(self.mlp_shared(F.interpolate(seg, size=x.shape[2:])))
        out: Tensor = F.instance_norm(x, eps=IN_EPS) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)
        return out


class SpadeBlock(nn.Module):
    """Residual block; the shortcut is learnt where the number of channels changes, and is never rectified."""

    def __init__(self, in_channels: int, out_channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.has_shortcut = in_channels != out_channels
        self.conv_0 = SpectralConv2d(in_channels, middle, 3)
        self.conv_1 = SpectralConv2d(middle, out_channels, 3)
        if self.has_shortcut:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1, bias=False)
        self.norm_0 = Spade(in_channels, map_channels, hidden)
        self.norm_1 = Spade(middle, map_channels, hidden)
        if self.has_shortcut:
            self.norm_s = Spade(in_channels, map_channels, hidden)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W), guided by seg."""
        shortcut = self.conv_s(self.norm_s(x, seg)) if self.has_shortcut else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, seg), BLOCK_SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, seg), BLOCK_SLOPE))
        out: Tensor = shortcut + y
        return out
