"""What the fast networks may choose: where a choice depends on the device, it is made here and nowhere else."""

from dataclasses import dataclass
from typing import Literal

import torch

WideConvolution = Literal["direct", "winograd"]

CPU_PLAIN_MAP_PX = 16


@dataclass(frozen=True)
class FastOptions:
    """Choices that change speed or precision, never what is computed.

    Attributes:
        compute_dtype: of convolutions and what stands between them. Key points, sampling coordinates, softmax and the
            statistics of instance norms are float32 whatever it is.
        plain_map_px: maps of at most this many pixels are not put channels last.
        wide_convolution: algorithm of the 3x3 convolutions with many channels on both sides.
    """

    compute_dtype: torch.dtype = torch.float32
    plain_map_px: int = 0
    wide_convolution: WideConvolution = "direct"

    @classmethod
    def for_device(cls, device: torch.device, compute_dtype: torch.dtype = torch.float32) -> "FastOptions":
        """The choices for a device: measured on CPU (docs/decisions/0008), by reasoning and not measured on a GPU."""
        if device.type == "cpu":
            return cls(compute_dtype, plain_map_px=CPU_PLAIN_MAP_PX)
        return cls(compute_dtype)
