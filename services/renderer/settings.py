"""What a renderer reads from the environment."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from shared.settings import Settings


class RendererSettings(Settings):
    """What a renderer reads besides the shared settings; those about the device are for the liveportrait renderer."""

    jpeg_quality: int = Field(90, ge=30, le=100, description="quality of streamed frames, 4:2:0")
    renderer_cache: int = Field(16, ge=1, description="built appearances kept in memory (about 10 MB each)")
    renderer_messages: int = Field(0, ge=0, le=64, description="slices taken at once; 0: 1, on a CUDA device 4")
    renderer_deadline_s: float = Field(
        0.0, ge=0, description="seconds the slices taken at once may last; 0: 60, with networks on a CPU 1800"
    )
    renderer_weights: str = Field("", description="folder with the networks; empty: what weights pull installed")
    renderer_device: str = Field("cpu", description="cpu, cuda or cuda:N")
    renderer_precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="number format of the large networks; auto: fp16 on tensor cores, else fp32"
    )
    renderer_compile: Literal["off", "default"] = Field("off", description="torch.compile of the large networks")
    renderer_graphs: Literal["on", "off"] = Field("on", description="CUDA graphs, one per batch size")
    renderer_max_batch: int = Field(0, ge=0, le=64, description="frames computed at once; 0: 8 on CUDA, 1 on a CPU")
    renderer_jpeg: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="where frames are compressed; auto: on a CUDA device with torchvision there, else cpu"
    )


@dataclass(frozen=True)
class Limits:
    """What the handler of a renderer may use; the settings with nothing left open.

    Attributes:
        messages: slices taken at once.
        deadline_s: seconds they may last before others take them over.
        cached: built portraits kept.
        jpeg_quality: 30..100.
    """

    messages: int = 1
    deadline_s: float = 60.0
    cached: int = 16
    jpeg_quality: int = 90
