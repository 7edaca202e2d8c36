"""SPADE blocks with gamma and beta in one convolution and statistics taken before upsampling.

All of it follows from IN(x) (1 + gamma) + beta, with gamma and beta affine in the hidden map:

- gamma and beta of a norm are one convolution, the 1 is in its bias.
- Repeating values changes neither mean nor variance, so statistics come from the small map, once for norm_0 and norm_s.
- No rectifier stands between norm_s and the shortcut's 1x1 convolution: conv_s(beta) is one convolution of the hidden
  map with the product of both weights, narrower than beta itself.
- A constant added to a channel vanishes in the next IN, and so do all biases but those of the last block.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.fast.convolution import Convolution, wide_convolution
from services.renderer.liveportrait.fast.fold import Kernel
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.winograd import WinogradConvolution
from services.renderer.liveportrait.spade import BLOCK_SLOPE, IN_EPS, Spade, SpadeBlock, SpectralConv2d


class FastMiddleBlock(nn.Module):
    """`SpadeBlock` without a learnt shortcut, at the size of the guiding map."""

    def __init__(self, block: SpadeBlock, options: FastOptions) -> None:
        super().__init__()
        self.modulation_0 = wide_convolution(*modulation_kernel(block.norm_0), options)
        self.modulation_1 = wide_convolution(*modulation_kernel(block.norm_1), options)
        self.conv_0 = unbiased(block.conv_0, options)
        self.conv_1 = unbiased(block.conv_1, options)

    def forward(self, x: Tensor, hidden_0: Tensor, hidden_1: Tensor) -> Tensor:
        """Map x (B, C, H, W) and the hidden maps of both norms (B, 128, H, W) to (B, C, H, W)."""
        y = self.conv_0(rectified(modulated(normalised(x), self.modulation_0(hidden_0))))
        y = self.conv_1(rectified(modulated(normalised(y), self.modulation_1(hidden_1))))
        out: Tensor = y.add_(x)
        return out


class FastDoubledBlock(nn.Module):
    """Nearest upsampling by 2 and a `SpadeBlock` with a learnt shortcut."""

    def __init__(self, block: SpadeBlock, options: FastOptions) -> None:
        super().__init__()
        self.modulation_0 = wide_convolution(*modulation_kernel(block.norm_0), options)
        self.modulation_1 = wide_convolution(*modulation_kernel(block.norm_1), options)
        self.modulation_s = wide_convolution(*shortcut_kernel(block.norm_s, block.conv_s), options)
        self.conv_0 = unbiased(block.conv_0, options)
        self.conv_1 = unbiased(block.conv_1, options)
        self.conv_s = unbiased(block.conv_s, options)

    def forward(self, x: Tensor, hidden_0: Tensor, hidden_1: Tensor, hidden_s: Tensor) -> Tensor:
        """Map x (B, C, h, w), hidden maps of the norms (B, 128, 2h, 2w) to (B, C', 2h, 2w)."""
        x = F.interpolate(normalised(x), scale_factor=2)  # (B, C, 2h, 2w)
        y = self.conv_0(rectified(modulated(x, self.modulation_0(hidden_0))))  # (B, C', 2h, 2w)
        y = self.conv_1(rectified(modulated(normalised(y), self.modulation_1(hidden_1))))  # (B, C', 2h, 2w)
        gamma, beta = self.modulation_s(hidden_s).split([x.shape[1], y.shape[1]], dim=1)
        out: Tensor = y.add_(self.conv_s(x.mul_(gamma))).add_(beta)
        return out


def modulation_kernel(norm: Spade) -> Kernel:
    """One convolution of the hidden map for 1 + gamma, then beta: weight (2 C, 128, 3, 3), bias (2 C,)."""
    gamma, beta = norm.mlp_gamma, norm.mlp_beta
    weight = torch.cat([gamma.weight, beta.weight])
    return weight, torch.cat([gamma.get_parameter("bias") + 1, beta.get_parameter("bias")])


def shortcut_kernel(norm: Spade, conv: SpectralConv2d) -> Kernel:
    """One convolution of the hidden map for 1 + gamma (C outputs), then conv(beta) (C' outputs)."""
    gamma, beta = norm.mlp_gamma, norm.mlp_beta
    matrix = conv.effective_weight().double()[:, :, 0, 0]  # (C', C)
    weight = torch.einsum("oc,chyx->ohyx", matrix, beta.weight.double()).float()
    bias = (matrix @ beta.get_parameter("bias").double()).float()
    return torch.cat([gamma.weight, weight]), torch.cat([gamma.get_parameter("bias") + 1, bias])


def unbiased(conv: SpectralConv2d, options: FastOptions) -> Convolution | WinogradConvolution:
    """The convolution with its spectral norm divided out, and without the bias that the next norm removes."""
    if conv.weight_orig.shape[-1] == 3:
        return wide_convolution(conv.effective_weight(), None, options)
    return Convolution(conv.effective_weight(), None, options)


def normalised(x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + eps) per image and channel; statistics in float32, dtype of x."""
    centred = x.float() - x.mean((2, 3), keepdim=True, dtype=torch.float32)
    variance = centred.square().mean((2, 3), keepdim=True)
    return centred.mul_((variance + IN_EPS).rsqrt()).to(x.dtype)


def modulated(x: Tensor, modulation: Tensor) -> Tensor:
    """Gamma x + beta with a modulation (B, 2 C, H, W) of gamma, then beta."""
    gamma, beta = modulation.chunk(2, dim=1)
    return torch.addcmul(beta, gamma, x)


def rectified(x: Tensor) -> Tensor:
    """Leaky rectifier of the blocks, in place."""
    return F.leaky_relu_(x, BLOCK_SLOPE)
