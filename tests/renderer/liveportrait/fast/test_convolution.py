"""Convolutions of repeated maps equal those of the maps repeated in memory."""

import pytest
import torch
import torch.nn.functional as F

from services.renderer.liveportrait.fast.convolution import UpsampledConvolution
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.quadrupled import PLACES, PlaceConvolution, at
from tests.parity.draw import draw

OPTIONS = FastOptions()
TOLERANCE = 4e-5  # of sums of up to 135 products of unit variance


def random(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(draw(name, shape, 0))


def test_a_map_twice_the_size_in_two_dimensions() -> None:
    x, weight, bias = random("x", 2, 5, 7, 4), random("w", 6, 5, 3, 3), random("b", 6)
    expected = F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)
    ours = UpsampledConvolution(weight, bias, repeats=2, options=OPTIONS)(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_a_volume_twice_the_height_and_width_keeps_its_depth() -> None:
    x, weight, bias = random("x", 2, 5, 4, 7, 3), random("w", 6, 5, 3, 3, 3), random("b", 6)
    expected = F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2)), weight, bias, padding=1)
    ours = UpsampledConvolution(weight, bias, repeats=2, options=OPTIONS)(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_four_repetitions_leave_three_results_and_the_middle_one_twice() -> None:
    x, weight, bias = random("x", 2, 5, 4, 6), random("w", 6, 5, 3, 3), random("b", 6)
    expected = F.conv2d(F.interpolate(x, scale_factor=4), weight, bias, padding=1)
    ours = UpsampledConvolution(weight, bias, repeats=4, options=OPTIONS)(x)
    assert ours.shape == (2, 6, 12, 18)
    torch.testing.assert_close(a_b_b_c(ours), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("place", PLACES)
def test_a_convolution_of_a_b_b_c_reads_a_b_c(place: tuple[int, int]) -> None:
    hidden, weight, bias = random("h", 2, 5, 9, 6), random("w", 4, 5, 3, 3), random("b", 4)
    expected = at(F.conv2d(a_b_b_c(hidden), weight, bias, padding=1), place, 4)
    ours = PlaceConvolution(weight, bias, OPTIONS)(F.pad(hidden, (1, 1, 1, 1)), place)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def a_b_b_c(x: torch.Tensor) -> torch.Tensor:
    """Three results per value and axis to the four that they stand for."""
    rows, columns = (torch.tensor([3 * i + j for i in range(n // 3) for j in (0, 1, 1, 2)]) for n in x.shape[2:])
    return x[:, :, rows][:, :, :, columns]
