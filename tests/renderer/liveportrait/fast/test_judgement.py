"""Both heads of the dense motion network as matrix products equal the convolutions."""

import torch

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.judgement import MaskHead, OcclusionHead
from services.renderer.liveportrait.fast.options import FastOptions
from tests.parity.draw import smooth

TOLERANCE = 1e-5


def prediction(networks: Networks, depth: int) -> torch.Tensor:
    channels = networks.W.config.prediction_channels
    x = torch.from_numpy(smooth("prediction", (2, channels, depth, 8, 12), 0))
    return x.contiguous(memory_format=torch.channels_last_3d)


def slices_of(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def test_masks_of_any_depth_equal_the_7x7x7_convolution(networks: Networks) -> None:
    conv = networks.W.dense_motion_network.mask
    head = MaskHead(conv, FastOptions())
    for depth in (2, 4, 9):
        x = prediction(networks, depth)
        expected = conv(x).softmax(1).flatten(2).transpose(1, 2).reshape(2, depth, -1, conv.out_channels)
        torch.testing.assert_close(head(slices_of(x), depth), expected, rtol=0, atol=TOLERANCE)


def test_the_occlusion_map_equals_the_7x7_convolution(networks: Networks) -> None:
    conv, depth = networks.W.dense_motion_network.occlusion, networks.W.config.depth
    x = prediction(networks, depth)
    ours = OcclusionHead(conv, depth, FastOptions())(slices_of(x))
    torch.testing.assert_close(ours, conv(x.flatten(1, 2)).sigmoid(), rtol=0, atol=TOLERANCE)
