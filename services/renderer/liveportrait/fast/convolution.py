"""Convolutions of the fast networks: fixed weights, and nearest upsampling absorbed into a transposed convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.winograd import WinogradConvolution


class Convolution(nn.Module):
    """Convolution over 2 or 3 dimensions with weights that do not train; keeps the layout of its input."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, options: FastOptions) -> None:
        super().__init__()
        layout = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
        self.register_buffer("weight", weight.detach().to(options.compute_dtype, memory_format=layout, copy=True))
        self.register_buffer("bias", None if bias is None else bias.detach().to(options.compute_dtype, copy=True))
        self.padding = [size // 2 for size in weight.shape[2:]]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, ...) to (B, out, ...) of the same size."""
        if self.weight.ndim == 4:
            return F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return F.conv3d(x, self.weight, self.bias, padding=self.padding)


def wide_convolution(weight: Tensor, bias: Tensor | None, options: FastOptions) -> Convolution | WinogradConvolution:
    """A 3x3 convolution that may be wide enough for Winograd's algorithm."""
    narrowest = options.winograd_channels
    if narrowest is None or min(weight.shape[:2]) < narrowest or options.compute_dtype != torch.float32:
        return Convolution(weight, bias, options)
    return WinogradConvolution(weight, bias)


class UpsampledConvolution(nn.Module):
    """Nearest upsampling of height and width followed by a convolution, in one transposed convolution.

    Repeating every value n times is a transposed convolution with a box of n ones, so both together are one with the
    kernel convolved by that box: a kernel of 4 with stride 2 instead of 3 x 3 taps at four times the places, 2.25 times
    fewer multiplications. Repeating 4 times leaves 3 distinct results per value and axis; see `upsampled_kernel`.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, repeats: int, options: FastOptions) -> None:
        super().__init__()
        kernel = upsampled_kernel(upsampled_kernel(weight, -1, repeats), -2, repeats).transpose(0, 1)
        if kernel.ndim == 5:
            kernel = kernel.flip(2)  # depth is not repeated; a transposed convolution reads its kernel backwards
        self.stride = min(repeats, 3)
        self.register_buffer("weight", kernel.to(options.compute_dtype).contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().to(options.compute_dtype, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, [D,] h, w) to (B, out, [D,] stride * h, stride * w)."""
        if self.weight.ndim == 4:
            return F.conv_transpose2d(x, self.weight, self.bias, stride=self.stride, padding=1)
        return F.conv_transpose3d(x, self.weight, self.bias, stride=(1, self.stride, self.stride), padding=1)


def upsampled_kernel(weight: Tensor, axis: int, repeats: int) -> Tensor:
    """Transposed kernel along one axis that stands for ``repeats``-fold repetition and a 3-tap ``weight``.

    With taps w0 w1 w2 and values x, repeated twice, the results of value i are
    w0 x[i-1] + (w1 + w2) x[i] and (w0 + w1) x[i] + w2 x[i+1]. Repeated four times, a third kind stands between them,
    twice: (w0 + w1 + w2) x[i]; it is computed once.

    Args:
        weight: kernel of 3 along ``axis``, centred.
        axis: of height or width.
        repeats: 2 or 4.

    Returns:
        Kernel of 4 (stride 2) or 5 (stride 3) along ``axis``, for padding 1; dtype of ``weight``.
    """
    w0, w1, w2 = weight.detach().double().unbind(axis)
    between = {2: [], 4: [w0 + w1 + w2]}[repeats]
    return torch.stack([w2, w1 + w2, *between, w0 + w1, w0], dim=axis).to(weight.dtype)
