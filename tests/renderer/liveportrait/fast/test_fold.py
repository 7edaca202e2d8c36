"""Folded convolutions give what they gave before."""

import torch

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.convolution import Convolution
from services.renderer.liveportrait.fast.fold import fold_appearance, fold_block
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.spade import unbiased
from tests.parity.draw import smooth

OPTIONS = FastOptions()
TOLERANCE = 5e-6


def test_a_block_becomes_one_convolution(networks: Networks) -> None:
    block = networks.W.third
    x = torch.from_numpy(smooth("x", (2, block.conv.in_channels, 8, 12), 0))
    folded = Convolution(*fold_block(block), OPTIONS)
    torch.testing.assert_close(folded(x), block(x), rtol=0, atol=TOLERANCE)


def test_the_appearance_network_keeps_its_function_without_most_norms(networks: Networks) -> None:
    image = torch.from_numpy(smooth("image", (2, 3, 32, 24), 0))
    folded = fold_appearance(networks.F)
    torch.testing.assert_close(folded(image), networks.F(image), rtol=0, atol=TOLERANCE)
    n_norms = [
        sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in f.modules()) for f in (folded, networks.F)
    ]
    n_blocks = networks.F.config.n_resblocks
    assert n_norms == [n_blocks, 2 * n_blocks + 1 + networks.F.config.n_halvings]


def test_folding_leaves_the_network_as_it_was(networks: Networks) -> None:
    before = {key: tensor.clone() for key, tensor in networks.F.state_dict().items()}
    fold_appearance(networks.F)
    for key, tensor in networks.F.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)


def test_dividing_the_spectral_norm_out_beforehand_changes_no_bit(networks: Networks) -> None:
    conv = networks.G.up_0.conv_0
    assert torch.equal(unbiased(conv, OPTIONS).weight, conv.effective_weight())
