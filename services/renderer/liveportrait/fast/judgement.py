"""The two 7-tap heads of the dense motion network, as products of matrices over depth slices.

Both read the hourglass' prediction (B, C, D, H, W) as (B D, C, H, W), which costs nothing channels last.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.fast.convolution import Convolution
from services.renderer.liveportrait.fast.options import FastOptions


class MaskHead(nn.Module):
    """7x7x7 convolution as one 2-D convolution with 7 K outputs per slice, shifted along depth and added.

    A 3-D kernel with K = 22 outputs uses a fraction of a tile; 154 outputs fill it. Same multiplications.
    """

    bias: Tensor

    def __init__(self, conv: nn.Conv3d, options: FastOptions) -> None:
        super().__init__()
        self.taps = conv.kernel_size[0]
        weight = conv.weight.detach().permute(2, 0, 1, 3, 4).flatten(0, 1)  # (7 K, C, 7, 7), depth tap slowest
        self.conv = Convolution(weight, None, options)
        self.register_buffer("bias", conv.get_parameter("bias").detach().float())

    def forward(self, slices: Tensor, depth: int) -> Tensor:
        """Slices (B D, C, H, W) to masks (B, D, H W, K) in float32 that sum to 1."""
        parts = self.conv(slices).float().flatten(2).transpose(1, 2)  # (B D, H W, 7 K)
        parts = parts.reshape(-1, depth, parts.shape[1], self.taps, len(self.bias))  # (B, D, H W, 7, K)
        logits = parts[..., self.taps // 2, :] + self.bias
        for tap in range(self.taps):
            step = tap - self.taps // 2  # out[z] += part[z + step]
            if 0 < abs(step) < depth:
                first, last = max(0, -step), min(depth, depth - step)
                logits[:, first:last] += parts[:, first + step : last + step, :, tap]
        return torch.softmax(logits, dim=-1)


class OcclusionHead(nn.Module):
    """7x7 convolution of C D channels to one map: a matrix product to 49 taps, then the taps shifted and added.

    A convolution kernel for a single output leaves most of a vector register empty.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, depth: int, options: FastOptions) -> None:
        super().__init__()
        self.taps = conv.kernel_size[0]
        weight = conv.weight.detach().reshape(-1, depth, self.taps, self.taps)  # (C, D, 7, 7)
        weight = weight.flip(-1, -2)  # `fold` adds what a place gives, not what it takes
        self.register_buffer("weight", weight.flatten(2).transpose(0, 1).to(options.compute_dtype).contiguous())
        self.register_buffer("bias", conv.get_parameter("bias").detach().float())

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B D, C, H, W) to the occlusion map (B, 1, H, W), float32 in 0..1."""
        height, width = slices.shape[2:]
        depth = self.weight.shape[0]
        pixels = slices.flatten(2).transpose(1, 2).reshape(-1, depth, height * width, slices.shape[1])  # (B, D, H W, C)
        taps = (pixels @ self.weight).float().sum(1).transpose(1, 2)  # (B, 49, H W)
        folded = F.fold(taps, (height, width), self.taps, padding=self.taps // 2)  # (B, 1, H, W)
        return torch.sigmoid(folded + self.bias)
