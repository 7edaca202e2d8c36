"""What the generator and its blocks promise, besides equal outputs (tests/parity)."""

import copy

import torch
import torch.nn.functional as F

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.spade import Spade, SpadeBlock, SpectralConv2d
from tests.parity.draw import draw
from tests.renderer.liveportrait.conftest import Frames


def random(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(draw(name, shape, 0))


def silence(conv: SpectralConv2d) -> None:
    """Let a convolution answer zero."""
    conv.weight_orig.fill_(1e-30)
    conv.weight_u.fill_(1.0)
    conv.weight_v.fill_(1e30)
    assert conv.bias is not None
    conv.bias.zero_()


def test_images_are_eight_times_the_map_and_between_0_and_1(networks: Networks, frames: Frames) -> None:
    image = networks.G(frames.feature)
    assert image.shape == (2, 3, 128, 96)
    assert 0 < image.min() < 0.4 < 0.6 < image.max() < 1


def test_a_weight_is_divided_by_what_the_stored_vectors_give() -> None:
    conv = SpectralConv2d(4, 6, 3)
    conv.weight_u.copy_(random("u", 6))
    conv.weight_v.copy_(random("v", 36))
    sigma = (conv.weight_u @ conv.weight_orig.detach().flatten(1) @ conv.weight_v).item()
    x = random("x", 2, 4, 5, 7)
    expected = F.conv2d(x, conv.weight_orig / sigma, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), expected)


def test_running_the_generator_changes_no_stored_vector(networks: Networks, frames: Frames) -> None:
    before = networks.G.up_0.conv_0.weight_u.clone()
    networks.G(frames.feature)
    assert torch.equal(networks.G.up_0.conv_0.weight_u, before)


def test_a_fresh_spectral_norm_is_that_of_its_weight() -> None:
    conv = SpectralConv2d(4, 6, 3)
    u = conv.weight_u
    sigma = torch.linalg.vector_norm(conv.weight_orig.detach().flatten(1).T @ u)
    torch.testing.assert_close(conv.effective_weight() * sigma, conv.weight_orig)


def test_an_adaptive_norm_that_says_nothing_is_an_instance_norm() -> None:
    norm = Spade(4, 3, 5).requires_grad_(requires_grad=False)
    for conv in (norm.mlp_gamma, norm.mlp_beta):
        conv.weight.zero_()
        conv.get_parameter("bias").zero_()
    x = random("x", 2, 4, 6, 8)
    torch.testing.assert_close(norm(x, random("seg", 2, 3, 3, 4)), F.instance_norm(x, eps=1e-5))


def test_the_learnt_shortcut_is_not_rectified() -> None:
    block = SpadeBlock(4, 2, 3, 5).requires_grad_(requires_grad=False)
    silence(block.conv_1)
    x, seg = random("x", 1, 4, 6, 6), random("seg", 1, 3, 6, 6)
    shortcut = block.norm_s(x, seg)
    assert shortcut.min() < -0.5
    torch.testing.assert_close(block(x, seg), block.conv_s(shortcut))


def test_constants_before_a_norm_do_not_show(networks: Networks, frames: Frames) -> None:
    shifted = copy.deepcopy(networks.G)
    bias = shifted.fc.get_parameter("bias")
    bias.add_(random("shift", len(bias)))
    torch.testing.assert_close(shifted(frames.feature), networks.G(frames.feature), rtol=0, atol=1e-5)
