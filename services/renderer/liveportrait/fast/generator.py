"""G rearranged: shared convolutions of all norms at once, upsampling absorbed, blocks of ``spade.py``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.fast.convolution import Convolution, UpsampledConvolution, wide_convolution
from services.renderer.liveportrait.fast.fold import Kernel
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.quadrupled import FastQuadrupledBlock
from services.renderer.liveportrait.fast.spade import FastDoubledBlock, FastMiddleBlock, rectified
from services.renderer.liveportrait.generator import SpadeGenerator
from services.renderer.liveportrait.spade import Spade, SpadeBlock


class FastGenerator(nn.Module):
    """The same function as `SpadeGenerator` before its last sigmoid."""

    def __init__(self, network: SpadeGenerator, options: FastOptions) -> None:
        super().__init__()
        middle = network.middle_blocks()
        self.hidden = network.config.hidden
        self.fc = wide_convolution(network.fc.weight, None, options)
        self.shared = wide_convolution(*shared_kernel([norm for b in middle for norm in (b.norm_0, b.norm_1)]), options)
        self.shared_0 = UpsampledConvolution(*shared_kernel(norms(network.up_0)), repeats=2, options=options)
        self.shared_1 = UpsampledConvolution(*shared_kernel(norms(network.up_1)), repeats=4, options=options)
        self.middle = nn.ModuleList(FastMiddleBlock(block, options) for block in middle)
        self.up_0 = FastDoubledBlock(network.up_0, options)
        self.up_1 = FastQuadrupledBlock(network.up_1, options)
        image_conv = network.conv_img[0]
        self.conv_img = Convolution(image_conv.get_parameter("weight"), image_conv.get_parameter("bias"), options)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, 256, h, w), channels last, to logits of the image (B, 3, 8h, 8w), float32."""
        x = self.fc(feature)  # (B, 512, h, w)
        hidden = self._split(self.shared(feature))  # 12 of (B, 128, h, w)
        for i, block in enumerate(self.middle):
            x = block(x, hidden[2 * i], hidden[2 * i + 1])  # (B, 512, h, w)
        x = self.up_0(x, *self._split(self.shared_0(feature)))  # (B, 256, 2h, 2w)
        x = self.up_1(x, *self._split(self.shared_1(feature)))  # (B, 64, 4h, 4w)
        return F.pixel_shuffle(self.conv_img(rectified(x)).float(), 2)

    def _split(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Rectified hidden maps, one (B, 128, ...) per norm."""
        return torch.split(F.relu_(hidden), self.hidden, dim=1)


def norms(block: SpadeBlock) -> list[Spade]:
    """The norms of a block with a learnt shortcut."""
    return [block.norm_0, block.norm_1, block.norm_s]


def shared_kernel(members: list[Spade]) -> Kernel:
    """One convolution for the hidden maps of several norms, in their order."""
    convs = [norm.mlp_shared[0] for norm in members]
    weight = torch.cat([conv.get_parameter("weight") for conv in convs])
    return weight, torch.cat([conv.get_parameter("bias") for conv in convs])
