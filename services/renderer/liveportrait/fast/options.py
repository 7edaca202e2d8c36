"""What the fast networks may choose: where a choice depends on the device, it is made here and nowhere else."""

from dataclasses import dataclass

import torch

CPU_PLAIN_MAP_PX = 16
CPU_WINOGRAD_CHANNELS = 128


@dataclass(frozen=True)
class FastOptions:
    """Choices that change speed or precision, never what is computed.

    Attributes:
        compute_dtype: of convolutions and what stands between them. Key points, sampling coordinates, softmax and the
            statistics of instance norms are float32 whatever it is.
        plain_map_px: maps of at most this many pixels are not put channels last.
        winograd_channels: in float32, 3x3 convolutions with at least so many channels on both sides use
            `WinogradConvolution`; None leaves all of them to the library.
    """

    compute_dtype: torch.dtype = torch.float32
    plain_map_px: int = 0
    winograd_channels: int | None = None

    @classmethod
    def for_device(cls, device: torch.device, compute_dtype: torch.dtype = torch.float32) -> "FastOptions":
        """The choices for a device: measured on CPU (docs/decisions/0008), by reasoning and not measured on a GPU."""
        if device.type != "cpu":
            return cls(compute_dtype)
        return cls(compute_dtype, plain_map_px=CPU_PLAIN_MAP_PX, winograd_channels=CPU_WINOGRAD_CHANNELS)
