"""Frames to JPEG where they were drawn: nvJPEG through torchvision, which is optional.

The bytes differ from what the CPU makes of the same pixels, so a slice that is drawn again elsewhere may change its
bytes. This is the only module that imports torchvision.
"""

from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from shared.errors import ConfigurationError


def choose_jpeg(choice: Literal["auto", "cpu", "gpu"], device: torch.device, quality: int) -> "GpuJpeg | None":
    """The encoder on the device, or None where the CPU compresses.

    Args:
        choice: "cpu"; "gpu"; or "auto", which is gpu on a CUDA device where torchvision is installed.
        device: where frames are drawn.
        quality: 30..100.

    Raises:
        ConfigurationError: gpu where it cannot be had.
    """
    missing = _missing(device)
    if choice == "gpu" and missing:
        raise ConfigurationError(f"TH_RENDERER_JPEG is gpu, but {missing}; set it to auto or cpu.")
    return None if choice == "cpu" or missing else GpuJpeg(quality)


def _missing(device: torch.device) -> str:
    if device.type != "cuda":
        return f"frames are drawn on {device}: TH_RENDERER_DEVICE must be cuda"
    if find_spec("torchvision") is None:
        return "torchvision is not installed: `pip install torchvision` of the version that fits torch"
    return ""


class GpuJpeg:
    """Compresses frames on their CUDA device.

    Args:
        quality: 30..100.
    """

    def __init__(self, quality: int) -> None:
        from torchvision.io import encode_jpeg  # an import at the top would make torchvision a requirement

        self._encode = encode_jpeg
        self._quality = quality

    def encode(self, frames: Tensor) -> list[bytes]:
        """Compress and bring to the host; waits for the device.

        Args:
            frames: (n, h, w, 3) uint8 RGB on the device.
        """
        planes = [frame.permute(2, 0, 1).contiguous() for frame in frames]
        encoded: list[Tensor] = self._encode(planes, quality=self._quality)
        return [data.cpu().numpy().tobytes() for data in encoded]
