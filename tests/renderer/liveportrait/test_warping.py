"""What the warping network promises, besides equal outputs (tests/parity)."""

import copy

import pytest
import torch

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.dense_motion import (
    gaussian,
    heat_maps,
    identity_grid,
    sample_all,
    sparse_motions,
)
from tests.renderer.liveportrait.conftest import Frames

SIZE = (4, 16, 12)


def test_equal_key_points_leave_every_voxel_where_it_is(networks: Networks, frames: Frames) -> None:
    output = networks.W(frames.f_s, kp_driving=frames.x_s, kp_source=frames.x_s)
    identity = identity_grid(SIZE, frames.x_s).expand_as(output.deformation)
    torch.testing.assert_close(output.deformation, identity, rtol=0, atol=1e-6)


def test_key_points_are_given_by_name_because_a_swap_would_be_silent(networks: Networks, frames: Frames) -> None:
    with pytest.raises(TypeError, match="positional"):
        networks.W(frames.f_s, frames.x_d, frames.x_s)
    there = networks.W(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s).deformation
    back = networks.W(frames.f_s, kp_driving=frames.x_s, kp_source=frames.x_d).deformation
    assert (there - back).abs().max() > 1e-2


def test_what_stands_at_a_source_point_is_proposed_for_the_driving_point(frames: Frames) -> None:
    x_s, x_d = frames.x_s[:1, :1], frames.x_d[:1, :1]
    grids = sparse_motions(SIZE, x_d, x_s)
    assert torch.equal(grids[0, 0], identity_grid(SIZE, x_s))
    torch.testing.assert_close(grids[0, 1] - identity_grid(SIZE, x_s), (x_s - x_d)[0, 0].expand(*SIZE, 3))


def test_a_heat_map_is_1_at_the_driving_point_and_minus_1_at_the_source_point() -> None:
    corner, other = torch.tensor([[[-1.0, -1.0, -1.0]]]), torch.tensor([[[1.0, 1.0, 1.0]]])
    heat = heat_maps(SIZE, kp_driving=corner, kp_source=other)
    assert heat[0, 0].abs().max() == 0  # background
    assert heat[0, 1, 0, 0, 0, 0] == 1
    assert heat[0, 1, 0, -1, -1, -1] == -1
    half_px = gaussian(torch.tensor([0.1, 0.0, 0.0]).reshape(1, 1, 1, 3), torch.zeros(1, 1, 3))
    assert half_px.item() == pytest.approx(0.6065307)  # exp(-1/2) at one standard deviation


def test_even_the_proposal_at_rest_resamples(frames: Frames) -> None:
    at_rest = sparse_motions(SIZE, frames.x_s, frames.x_s)[:, :1]
    sampled = sample_all(frames.f_s, at_rest)[:, 0]
    assert (sampled - frames.f_s).abs().max() > 0.1


def test_the_occlusion_map_fades_the_generators_input(networks: Networks, frames: Frames) -> None:
    network = copy.deepcopy(networks.W)
    seen = network(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s)
    bias = network.dense_motion_network.occlusion.get_parameter("bias")
    bias.sub_(100)
    hidden = network(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s)
    assert seen.out.abs().max() > 0.1
    assert hidden.out.abs().max() < 1e-20
    assert torch.equal(hidden.deformation, seen.deformation)


def test_images_of_a_batch_do_not_see_each_other(networks: Networks, frames: Frames) -> None:
    both = networks.W(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s).out
    second = networks.W(frames.f_s[1:], kp_driving=frames.x_d[1:], kp_source=frames.x_s[1:]).out
    torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-5)
