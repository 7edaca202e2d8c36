"""Which number format the networks run in, and what happens when half precision was not enough.

Official LivePortrait runs in fp16, and on some cards that gives NaN or black frames. Flags that travel with the frames
say so, without a wait in the frame loop; the batch is drawn again in fp32, and fp32 it stays from then on. Knows
nothing of streams or portraits.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.renderer.liveportrait.fast.warping import SourceState
from services.renderer.liveportrait.graphs import Launcher, LaunchOptions
from shared import metrics
from shared.errors import ConfigurationError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TENSOR_CORES = (7, 0)  # compute capability of the first cards with them
WITHOUT_TENSOR_CORES = "GTX 16"  # capability 7.5, but none on board; the cards that black frames are reported of

log = structlog.get_logger(__name__)


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of the large networks.

    Args:
        precision: "auto", "fp32", "fp16" or "bf16"; auto is fp16 on a CUDA device with tensor cores, fp32 elsewhere.
        device: where they run.

    Raises:
        ConfigurationError: another word, or a format that the device cannot compute with.
    """
    if precision == "auto":
        return torch.float16 if device.type == "cuda" and _has_tensor_cores(device) else torch.float32
    if precision not in DTYPES:
        raise ConfigurationError(f"TH_RENDERER_PRECISION is {precision!r}; expected auto, {', '.join(DTYPES)}")
    dtype = DTYPES[precision]
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigurationError(
            "TH_RENDERER_PRECISION is fp16 on a CPU; set it to fp32 or bf16, or use a CUDA device."
        )
    return dtype


def _has_tensor_cores(device: torch.device) -> bool:
    properties = torch.cuda.get_device_properties(device)
    return (properties.major, properties.minor) >= TENSOR_CORES and WITHOUT_TENSOR_CORES not in properties.name


class Synthesis(Protocol):
    """Source features and driving key points to frames, in one number format."""

    def source(self, f_s: Tensor, x_s: Tensor) -> SourceState:
        """What depends on the portrait only, in float32."""

    def frames_u8(self, state: SourceState, x_d: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512, 512, 3) uint8 and (B,) bool, which of them are finite; never waits for the device."""


@dataclass(frozen=True)
class Synthesised:
    """A batch as it was queued.

    Attributes:
        frames: (B, 512, 512, 3) uint8 on the device.
        is_sound: (B,) bool on the device: finite and, in half precision, not all black.
        dtype: number format it was made with.
        sources: what it was made of, B rows.
        x_d: (B, 21, 3) driving key points.
    """

    frames: Tensor
    is_sound: Tensor
    dtype: torch.dtype
    sources: SourceState
    x_d: Tensor


class GuardedSynthesis:
    """Draws in the chosen format until that fails once, and in fp32 from then on.

    Args:
        make: builds the networks for a format; called again, for fp32, when the guard steps in.
        dtype: the chosen format.
        device: where the networks are.
        options: how batches are launched; after the guard has stepped in they are launched eagerly.
    """

    def __init__(
        self,
        make: Callable[[torch.dtype], Synthesis],
        dtype: torch.dtype,
        device: torch.device,
        options: LaunchOptions,
    ) -> None:
        self._make = make
        self._device = device
        self._lock = threading.Lock()
        self._path = self._new_path(dtype, options)

    @property
    def dtype(self) -> torch.dtype:
        """The format in use."""
        return self._path.dtype

    def source(self, f_s: Tensor, x_s: Tensor) -> SourceState:
        """What a portrait contributes to all its frames; the same for every format.

        Args:
            f_s: (1, 32, 16, 64, 64) float32 appearance features.
            x_s: (1, 21, 3) float32 source key points.
        """
        return self._path.synthesis.source(f_s, x_s)

    @torch.inference_mode()
    def warm_up(self, source: SourceState, x_d: Tensor) -> None:
        """Compile, capture and run every batch size, and see whether the format is good enough here.

        Args:
            source: any portrait, one row.
            x_d: (1, 21, 3) float32 driving key points on the device.
        """
        path = self._path
        made = path.made(path.launch.warm_up(*path.flat(source, x_d)), source, x_d)
        self.settle(made, made.frames.cpu().numpy(), made.is_sound.cpu().numpy())

    @torch.inference_mode()
    def frames(self, sources: Sequence[SourceState], x_d: Tensor) -> Synthesised:
        """Queue a batch; never waits for the device.

        Args:
            sources: one per frame, each of one row.
            x_d: (B, 21, 3) float32 driving key points on the device.
        """
        return self._path.draw(SourceState.stack(list(sources)), x_d)

    def settle(
        self, made: Synthesised, frames: NDArray[np.uint8], is_sound: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Look at the flags of a batch that has arrived, and draw it again where half precision was not enough.

        Args:
            made: as it was queued.
            frames: (B, 512, 512, 3) uint8, its frames on the host.
            is_sound: (B,) bool, its flags on the host.

        Returns:
            Frames, and which of them may be shown: those that are not are NaN or infinite in fp32 too.
        """
        if is_sound.all() or made.dtype == torch.float32:
            return frames, is_sound
        self._fall_back(made.dtype, int((~is_sound).sum()))
        with torch.inference_mode():
            again = self._path.draw(made.sources, made.x_d)
        return again.frames.cpu().numpy(), again.is_sound.cpu().numpy()

    def _fall_back(self, failed: torch.dtype, n_bad: int) -> None:
        with self._lock:
            if self._path.dtype == torch.float32:
                return
            log.warning(
                "precision.fallback",
                failed=str(failed).removeprefix("torch."),
                n_bad_frames=n_bad,
                text="NaN, infinite or black frames; drawing in fp32 from now on. Set TH_RENDERER_PRECISION=fp32 to "
                "start like this.",
            )
            metrics.precision_fallbacks_total.inc()
            self._path = self._new_path(torch.float32, LaunchOptions(max_batch_frames=1))

    def _new_path(self, dtype: torch.dtype, options: LaunchOptions) -> "_Path":
        path = _Path(self._make(dtype), dtype, options, self._device)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # weights are complete before another thread's stream reads them
        return path


class _Path:
    """The networks in one format, and how they are launched."""

    def __init__(self, synthesis: Synthesis, dtype: torch.dtype, options: LaunchOptions, device: torch.device) -> None:
        self.synthesis = synthesis
        self.dtype = dtype
        self.launch = Launcher(self._run, options, device)

    def draw(self, sources: SourceState, x_d: Tensor) -> Synthesised:
        """Launch a batch, one row of sources per frame."""
        return self.made(self.launch(*self.flat(sources, x_d)), sources, x_d)

    def flat(self, sources: SourceState, x_d: Tensor) -> tuple[Tensor, ...]:
        """Inputs as a launcher takes them: tensors only, all made in inference mode, as compiled code expects."""
        return (*(getattr(sources, field.name) for field in dataclasses.fields(sources)), x_d.clone())

    def made(self, results: tuple[Tensor, ...], sources: SourceState, x_d: Tensor) -> Synthesised:
        """Results as a launcher gives them, with their names."""
        return Synthesised(results[0], results[1], self.dtype, sources, x_d)

    def _run(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        frames, is_sound = self.synthesis.frames_u8(SourceState(*inputs[:-1]), inputs[-1])
        if self.dtype != torch.float32:
            is_sound = is_sound & (frames.flatten(1).amax(1) > 0)
        return frames, is_sound
