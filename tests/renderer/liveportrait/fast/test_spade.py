"""Rearranged blocks of the generator equal the blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.convolution import Convolution, UpsampledConvolution
from services.renderer.liveportrait.fast.generator import norms, shared_kernel
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.quadrupled import FastQuadrupledBlock
from services.renderer.liveportrait.fast.spade import FastDoubledBlock, FastMiddleBlock, normalised
from tests.parity.draw import draw, smooth
from tests.renderer.liveportrait.conftest import Frames

OPTIONS = FastOptions()
TOLERANCE = 2e-5


def without_channel_means(x: Tensor) -> Tensor:
    """What the next normalisation sees of a map: biases before it are left out of the fast blocks."""
    return x - x.mean((2, 3), keepdim=True)


def random(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(smooth(name, shape, 0)).contiguous(memory_format=torch.channels_last)


def test_a_middle_block(networks: Networks, frames: Frames) -> None:
    block = networks.G.middle_blocks()[0]
    x = random("x", 2, 32, 16, 12)
    shared = Convolution(*shared_kernel([block.norm_0, block.norm_1]), OPTIONS)
    ours = FastMiddleBlock(block, OPTIONS)(x, *shared(frames.feature).relu().chunk(2, 1))
    expected = block(x, frames.feature)
    torch.testing.assert_close(without_channel_means(ours), without_channel_means(expected), rtol=0, atol=TOLERANCE)


def test_a_block_at_twice_the_size(networks: Networks, frames: Frames) -> None:
    block = networks.G.up_0
    x = random("x", 2, 32, 16, 12)
    shared = UpsampledConvolution(*shared_kernel(norms(block)), repeats=2, options=OPTIONS)
    ours = FastDoubledBlock(block, OPTIONS)(x, *shared(frames.feature).relu().chunk(3, 1))
    expected = block(F.interpolate(x, scale_factor=2), frames.feature)
    torch.testing.assert_close(without_channel_means(ours), without_channel_means(expected), rtol=0, atol=TOLERANCE)


def test_a_block_at_four_times_the_size_keeps_its_last_bias(networks: Networks, frames: Frames) -> None:
    block = networks.G.up_1
    x = random("x", 2, 16, 32, 24)
    shared = UpsampledConvolution(*shared_kernel(norms(block)), repeats=4, options=OPTIONS)
    ours = FastQuadrupledBlock(block, OPTIONS)(x, *shared(frames.feature).relu().chunk(3, 1))
    expected = block(F.interpolate(x, scale_factor=2), frames.feature)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_statistics_survive_half_precision() -> None:
    x = 100 + 0.5 * torch.from_numpy(draw("x", (2, 3, 64, 64), 0))
    ours = normalised(x.half())
    expected = F.instance_norm(x.half().float(), eps=1e-5)
    torch.testing.assert_close(ours.float(), expected, rtol=0, atol=2e-3)


def test_the_eps_of_tiny_maps_is_the_official_one() -> None:
    x = 1e-3 * torch.from_numpy(draw("x", (1, 3, 8, 8), 0))
    torch.testing.assert_close(normalised(x), F.instance_norm(x, eps=1e-5), rtol=0, atol=1e-6)
