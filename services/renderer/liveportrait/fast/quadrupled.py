"""The block at four times the size of the guiding map, computed for one place of 4 x 4 at a time.

The hidden map of a norm is a convolution of a map repeated 4 times: along an axis each value leaves three distinct
results a b c, standing as a b b c. It is kept as a b c, three per value. A 3-tap kernel v at the four places of a value
then reads

    place 0   v0 c'  + v1 a        + v2 b        c' of the value before
    place 1   v0 a   + (v1 + v2) b
    place 2   (v0 + v1) b          + v2 c
    place 3   v0 b   + v1 c        + v2 a'       a' of the value after

which is a convolution of stride 3 with 3, 2, 2, 3 taps: 100 products instead of 144 in two dimensions. Gamma and beta
are in memory for one place in 16 at a time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.fast.convolution import Convolution
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.spade import (
    modulated,
    modulation_kernel,
    normalised,
    rectified,
    shortcut_kernel,
    unbiased,
)
from services.renderer.liveportrait.spade import SpadeBlock

REPEATS = 4
PLACES = tuple((y, x) for y in range(REPEATS) for x in range(REPEATS))
FIRST_TAP = (0, 1, 2, 2)  # of each place, in a hidden map with a border of 1


class PlaceConvolution(nn.Module):
    """3x3 convolution of a hidden map a b b c, given as a b c, for one place of 4 x 4 at a time."""

    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, options: FastOptions) -> None:
        super().__init__()
        self.register_buffer("bias", bias.detach().to(options.compute_dtype))
        for y, x in PLACES:
            kernel = place_kernel(place_kernel(weight, 2, y), 3, x)
            kernel = kernel.to(options.compute_dtype, memory_format=torch.channels_last)
            self.register_buffer(f"weight_{y}{x}", kernel)

    def forward(self, bordered: Tensor, place: tuple[int, int]) -> Tensor:
        """Hidden map (B, 128, 3h + 2, 3w + 2) to the results (B, out, h, w) at one place of every value."""
        weight = self.get_buffer("weight_{}{}".format(*place))
        (y, x), (height, width) = (FIRST_TAP[i] for i in place), (n // 3 * 3 - 3 for n in bordered.shape[2:])
        seen = bordered[:, :, y : y + height + weight.shape[2], x : x + width + weight.shape[3]]
        return F.conv2d(seen, weight, self.bias, stride=3)


def place_kernel(weight: Tensor, axis: int, place: int) -> Tensor:
    """The taps of one place along one axis, summed where the values they read are the same."""
    v0, v1, v2 = weight.detach().double().unbind(axis)
    taps = ((v0, v1, v2), (v0, v1 + v2), (v0 + v1, v2), (v0, v1, v2))[place]
    return torch.stack(taps, dim=axis).to(weight.dtype)


class FastQuadrupledBlock(nn.Module):
    """Nearest upsampling by 2 of x and a `SpadeBlock` whose guiding map is a quarter of its size."""

    def __init__(self, block: SpadeBlock, options: FastOptions) -> None:
        super().__init__()
        self.modulation_0 = PlaceConvolution(*modulation_kernel(block.norm_0), options)
        self.modulation_1 = PlaceConvolution(*modulation_kernel(block.norm_1), options)
        self.modulation_s = PlaceConvolution(*shortcut_kernel(block.norm_s, block.conv_s), options)
        self.conv_0 = unbiased(block.conv_0, options)
        self.conv_1 = Convolution(block.conv_1.effective_weight(), block.conv_1.bias, options)
        self.conv_s = unbiased(block.conv_s, options)

    def forward(self, x: Tensor, hidden_0: Tensor, hidden_1: Tensor, hidden_s: Tensor) -> Tensor:
        """Map x (B, C, 2h, 2w), hidden maps (B, 128, 3h, 3w) with their places as a b c, to (B, C', 4h, 4w)."""
        small = normalised(x)  # (B, C, 2h, 2w)
        size = (x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3])
        y = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        bordered = F.pad(hidden_0, (1, 1, 1, 1))
        for place in PLACES:
            at(y, place, 4).copy_(rectified(modulated(repeated_at(small, place), self.modulation_0(bordered, place))))
        y = normalised(self.conv_0(y))  # (B, C', 4h, 4w)
        bordered = F.pad(hidden_1, (1, 1, 1, 1))
        for place in PLACES:
            here = at(y, place, 4)
            here.copy_(rectified(modulated(here, self.modulation_1(bordered, place))))
        out: Tensor = self.conv_1(y)  # (B, C', 4h, 4w)
        bordered = F.pad(hidden_s, (1, 1, 1, 1))
        for place in PLACES:
            gamma, beta = self.modulation_s(bordered, place).split([x.shape[1], out.shape[1]], dim=1)
            at(out, place, 4).add_(self.conv_s(gamma.mul_(repeated_at(small, place)))).add_(beta)
        return out


def at(x: Tensor, place: tuple[int, int], step: int) -> Tensor:
    """View of every ``step``-th row and column."""
    return x[:, :, place[0] :: step, place[1] :: step]


def repeated_at(small: Tensor, place: tuple[int, int]) -> Tensor:
    """What stands at a place of 4 x 4 once ``small`` has been repeated twice."""
    return at(small, (place[0] // 2, place[1] // 2), 2)
