"""Sampling and heat maps axis by axis equal those of three-dimensional grids."""

import pytest
import torch
import torch.nn.functional as F

from services.renderer.liveportrait.dense_motion import gaussian, identity_grid, sample_all, sparse_motions
from services.renderer.liveportrait.fast.sparse_motion import (
    gaussian_volumes,
    identity_points,
    sample_translated,
    sampling_matrix,
)
from tests.parity.draw import draw
from tests.renderer.liveportrait.conftest import Frames

SIZE = (4, 16, 12)


def test_heat_maps_are_products_of_three_gaussians(frames: Frames) -> None:
    expected = gaussian(identity_grid(SIZE, frames.x_d), frames.x_d)
    torch.testing.assert_close(gaussian_volumes(SIZE, frames.x_d), expected, rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("reach", [0.0, 0.3, 5.0], ids=["at rest", "inside", "far outside"])
def test_translated_samples_equal_grid_sample_with_its_zeros_outside(frames: Frames, reach: float) -> None:
    shift = reach * torch.from_numpy(draw("shift", (2, 21, 3), 0))
    grids = sparse_motions(SIZE, -shift, torch.zeros_like(shift))[:, 1:]
    expected = sample_all(frames.f_s, grids)
    torch.testing.assert_close(sample_translated(frames.f_s, shift), expected, rtol=0, atol=2e-5)


def test_the_identity_grid_resamples_by_n_over_n_minus_1() -> None:
    rows = sampling_matrix(4, torch.zeros(1))[0]
    expected = torch.tensor([[0.5, 0, 0, 0], [1 / 6, 5 / 6, 0, 0], [0, 0, 5 / 6, 1 / 6], [0, 0, 0, 0.5]])
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-6)


def test_voxels_come_in_the_order_of_memory() -> None:
    like = torch.zeros(1)
    assert torch.equal(identity_points(SIZE, like).reshape(*SIZE, 3), identity_grid(SIZE, like))


def test_masks_that_sum_to_one_need_no_grids(frames: Frames) -> None:
    mask = torch.from_numpy(draw("mask", (2, 22, *SIZE), 0)).softmax(1)
    grids = sparse_motions(SIZE, frames.x_d, frames.x_s)
    expected = torch.einsum("bkdhw,bkdhwc->bdhwc", mask, grids)
    weights = mask.flatten(2).transpose(1, 2)[..., 1:]
    ours = identity_points(SIZE, mask) + weights @ (frames.x_s - frames.x_d)
    torch.testing.assert_close(ours.reshape(2, *SIZE, 3), expected, rtol=0, atol=1e-6)


def test_shift_and_sample_directions_agree_with_a_hand_made_case() -> None:
    volume = torch.zeros(1, 1, 1, 1, 8)
    volume[..., 5] = 1.0
    step = 2 / 8  # one voxel, as grid_sample counts
    moved = sample_translated(volume.expand(-1, -1, 2, 2, -1), torch.tensor([[[step, 0.0, 0.0]]]))
    still = sample_translated(volume.expand(-1, -1, 2, 2, -1), torch.zeros(1, 1, 3))
    assert moved[0, 0, 0, 0, 0].argmax() == still[0, 0, 0, 0, 0].argmax() - 1
    assert F.relu(moved).sum() > 0
