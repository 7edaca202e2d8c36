"""The hourglass with norms folded in and upsampling absorbed; reads its input in the order it is made."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.dense_motion import Hourglass, WarpingConfig
from services.renderer.liveportrait.fast.convolution import Convolution, UpsampledConvolution
from services.renderer.liveportrait.fast.fold import fold_batch_norm, fold_block
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.layers import ConvNorm3d


class FastHourglass(nn.Module):
    """The same function as `Hourglass`, input channels ordered as `proposal_order` says."""

    def __init__(self, network: Hourglass, config: WarpingConfig, options: FastOptions) -> None:
        super().__init__()
        self.options = options
        order = proposal_order(config)
        down = [fold_block(block) for block in network.encoder.down_blocks if isinstance(block, ConvNorm3d)]
        down[0] = down[0][0][:, order], down[0][1]
        up = [fold_block(block) for block in network.decoder.up_blocks if isinstance(block, ConvNorm3d)]
        weight, bias = fold_batch_norm(network.decoder.conv, network.decoder.norm)
        last_order = torch.cat([torch.arange(config.width), config.width + order])
        self.down = nn.ModuleList(Convolution(*kernel, options) for kernel in down)
        self.up = nn.ModuleList(UpsampledConvolution(*kernel, repeats=2, options=options) for kernel in up)
        self.last = Convolution(weight[:, last_order], bias, options)

    def forward(self, x: Tensor) -> Tensor:
        """Proposals (B, 109, D, H, W), channels last, to (B, 142, D, H, W), channels last."""
        levels = [x]
        for conv in self.down:
            levels.append(self._arranged(halved(F.relu_(conv(levels[-1])))))
        x = levels.pop()
        for conv, skip in zip(self.up, reversed(levels), strict=True):
            x = self._arranged(torch.cat([F.relu_(conv(x)), skip], dim=1))
        return F.relu_(self.last(x))

    def _arranged(self, x: Tensor) -> Tensor:
        """In the layout that suits the size of a map."""
        if x.shape[-1] * x.shape[-2] <= self.options.plain_map_px:
            return x.contiguous()
        return x.contiguous(memory_format=torch.channels_last_3d)


def proposal_order(config: WarpingConfig) -> Tensor:
    """Official input channels in our order: heat maps of the key points, their deformed volumes, background's volume.

    Officially each proposal is a heat map followed by its volume, background first, whose heat map is zero: left out.
    """
    groups = torch.arange(config.hourglass_channels).reshape(config.keypoints + 1, -1)  # (K + 1, 1 + 4)
    return torch.cat([groups[1:, 0], groups[1:, 1:].flatten(), groups[0, 1:]])


def halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels of every slice: (B, C, D, H, W) to (B, C, D, H / 2, W / 2).

    Pooling slices as images keeps channels last, which 3-D pooling does not.
    """
    pooled = F.avg_pool2d(x.transpose(1, 2).flatten(0, 1), 2)  # (B D, C, H / 2, W / 2)
    return pooled.reshape(x.shape[0], x.shape[2], *pooled.shape[1:]).transpose(1, 2)
