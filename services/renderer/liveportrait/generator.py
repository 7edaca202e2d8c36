"""G, the generator: a warped feature map to an image.

SPADE decoder of LivePortrait (arXiv:2407.03168): the map is both input and guide of every block.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.spade import BLOCK_SLOPE, SpadeBlock

MIDDLE_BLOCKS = 6


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of G; the defaults are the official ones.

    Attributes:
        feature_channels: of the input map; the middle blocks have twice as many.
        image_channels: features before the image convolution.
        hidden: inner channels of the adaptive normalisations.
    """

    feature_channels: int = 256
    image_channels: int = 64
    hidden: int = 128


class SpadeGenerator(nn.Module):
    """Six blocks at the map's size, two more with a doubling before each, one doubling by pixel shuffle."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        seg, hidden = self.config.feature_channels, self.config.hidden
        self.fc = nn.Conv2d(seg, 2 * seg, 3, padding=1)
        for i in range(MIDDLE_BLOCKS):
            self.add_module(f"G_middle_{i}", SpadeBlock(2 * seg, 2 * seg, seg, hidden))
        self.up_0 = SpadeBlock(2 * seg, seg, seg, hidden)
        self.up_1 = SpadeBlock(seg, self.config.image_channels, seg, hidden)
        self.conv_img = nn.Sequential(
            nn.Conv2d(self.config.image_channels, 3 * 2 * 2, 3, padding=1), nn.PixelShuffle(2)
        )

    def middle_blocks(self) -> list[SpadeBlock]:
        """The blocks at the map's size, in order."""
        blocks = [self.get_submodule(f"G_middle_{i}") for i in range(MIDDLE_BLOCKS)]
        return [block for block in blocks if isinstance(block, SpadeBlock)]

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, 256, h, w) to RGB (B, 3, 8 h, 8 w) in 0..1."""
        # The bias is added last: inside the convolution it cost digits that every norm below enlarges (decision 0008).
        bias = self.fc.get_parameter("bias")[:, None, None]
        x = F.conv2d(feature, self.fc.weight, padding=1) + bias  # (B, 512, h, w)
        for block in self.middle_blocks():
            x = block(x, feature)
        x = self.up_0(F.interpolate(x, scale_factor=2), feature)  # (B, 256, 2h, 2w)
        x = self.up_1(F.interpolate(x, scale_factor=2), feature)  # (B, 64, 4h, 4w)
        x = self.conv_img(F.leaky_relu(x, BLOCK_SLOPE))  # (B, 3, 8h, 8w)
        image: Tensor = x.sigmoid()
        return image
