"""Winograd's algorithm equals direct convolution, for any size and number of strips."""

import pytest
import torch
import torch.nn.functional as F

from services.renderer.liveportrait.fast.convolution import wide_convolution
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.winograd import STRIP_TILES, WinogradConvolution
from tests.parity.draw import draw

TOLERANCE = 4e-5  # of sums of 45 products of unit variance


@pytest.mark.parametrize("size", [(8, 12), (7, 12), (8, 5), (1, 1)], ids=str)
def test_maps_of_any_size(size: tuple[int, int]) -> None:
    x = torch.from_numpy(draw("x", (2, 5, *size), 0)).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.from_numpy(draw("w", (6, 5, 3, 3), 0)), torch.from_numpy(draw("b", (6,), 0))
    ours = WinogradConvolution(weight, bias)(x)
    torch.testing.assert_close(ours, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=TOLERANCE)


def test_strips_meet_without_a_seam() -> None:
    n = 2 * int(STRIP_TILES**0.5) + 6
    x = torch.from_numpy(draw("x", (3, 2, n, n), 0))
    weight = torch.from_numpy(draw("w", (2, 2, 3, 3), 0))
    ours = WinogradConvolution(weight, None)(x)
    torch.testing.assert_close(ours, F.conv2d(x, weight, padding=1), rtol=0, atol=TOLERANCE)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("device", "dtype", "channels", "is_used"),
    [
        ("cpu", torch.float32, (128, 512), True),
        ("cpu", torch.float32, (64, 512), False),
        ("cpu", torch.bfloat16, (128, 512), False),
        ("cuda", torch.float32, (128, 512), False),
    ],
)
def test_only_wide_float32_convolutions_on_a_cpu_use_it(
    device: str, dtype: torch.dtype, channels: tuple[int, int], is_used: bool
) -> None:
    options = FastOptions.for_device(torch.device(device), dtype)
    made = wide_convolution(torch.zeros(*channels, 3, 3), None, options)
    assert isinstance(made, WinogradConvolution) == is_used
