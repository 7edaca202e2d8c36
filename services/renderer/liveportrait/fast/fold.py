"""Folding of what is affine: normalisations with fixed statistics into the convolution before them."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from services.renderer.liveportrait.appearance import AppearanceFeatureExtractor, ResBlock3d
from services.renderer.liveportrait.layers import ConvNorm2d, ConvNorm3d

Kernel = tuple[Tensor, Tensor]  # weight (out, in, ...) and bias (out,)


def fold_batch_norm(conv: nn.Module, norm: _BatchNorm) -> Kernel:
    """Weight and bias of norm(conv(x)) as one convolution; computed in float64, returned in float32.

    y = g (W x + b - mean) / sqrt(var + eps) + beta (arXiv:1502.03167, Alg. 2).
    """
    weight, bias = conv.get_parameter("weight").double(), conv.get_parameter("bias").double()
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    scale = norm.weight.double() / (variance + norm.eps).sqrt()  # (out,)
    shape = (-1, *(1,) * (weight.ndim - 1))
    return (weight * scale.reshape(shape)).float(), ((bias - mean) * scale + norm.bias.double()).float()


def fold_block(block: ConvNorm2d | ConvNorm3d) -> Kernel:
    """`fold_batch_norm` of a block."""
    return fold_batch_norm(block.conv, block.norm)


@torch.no_grad()
def fold_appearance(network: AppearanceFeatureExtractor) -> AppearanceFeatureExtractor:
    """A copy of F whose convolutions contain the normalisation that followed them; same outputs up to rounding.

    The first normalisation of a residual block stays: it precedes its convolution, across a rectifier.
    """
    folded = copy.deepcopy(network)
    for module in folded.modules():
        if isinstance(module, ConvNorm2d):
            _replace(module.conv, fold_block(module))
            module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, ResBlock3d):
            _replace(module.conv1, fold_batch_norm(module.conv1, module.norm2))
            module.norm2 = nn.Identity()  # type: ignore[assignment]
    return folded


def _replace(conv: nn.Module, kernel: Kernel) -> None:
    weight, bias = kernel
    conv.get_parameter("weight").copy_(weight)
    conv.get_parameter("bias").copy_(bias)
