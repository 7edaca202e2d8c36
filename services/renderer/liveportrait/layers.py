"""Convolution followed by batch normalisation, the block that the appearance and the warping network share.

No activation inside: every caller has its own. Keys of the checkpoints: ``conv.*`` and ``norm.*``.
"""

from torch import Tensor, nn


class ConvNorm2d(nn.Module):
    """3x3 convolution and BatchNorm: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised responses, before any activation."""
        normalised: Tensor = self.norm(self.conv(x))
        return normalised


class ConvNorm3d(nn.Module):
    """3x3x3 convolution and BatchNorm: (B, C_in, D, H, W) -> (B, C_out, D, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised responses, before any activation."""
        normalised: Tensor = self.norm(self.conv(x))
        return normalised
