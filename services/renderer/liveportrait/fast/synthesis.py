"""W and G behind one call: prepared portraits and driving key points to images.

The forward pass has static shapes and never waits for the device: no ``item``, no shape that depends on data, no tensor
made from Python numbers. It can be captured in a CUDA graph.
"""

import torch
from torch import Tensor, nn

from services.renderer.liveportrait.fast.generator import FastGenerator
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.warping import FastWarping, SourceState
from services.renderer.liveportrait.generator import SpadeGenerator
from services.renderer.liveportrait.keypoints import frames_u8
from services.renderer.liveportrait.warping import WarpingNetwork
from shared.errors import ShapeError


class FastSynthesis(nn.Module):
    """W followed by G, frozen."""

    def __init__(self, warping: FastWarping, generator: FastGenerator) -> None:
        super().__init__()
        self.warping = warping
        self.generator = generator
        self.eval().requires_grad_(False)

    @classmethod
    def from_networks(
        cls, warping: WarpingNetwork, generator: SpadeGenerator, options: FastOptions | None = None
    ) -> "FastSynthesis":
        """Rearrange the weights of W and G, which stay as they are.

        Args:
            warping: W, loaded.
            generator: G, loaded, on the same device.
            options: None takes `FastOptions.for_device` of the weights' device.
        """
        options = options or FastOptions.for_device(generator.fc.weight.device)
        with torch.no_grad():
            return cls(FastWarping(warping, options), FastGenerator(generator, options))

    @torch.no_grad()
    def source(self, f_s: Tensor, x_s: Tensor) -> SourceState:
        """What one or several portraits contribute to all their frames.

        Args:
            f_s: (B, 32, 16, 64, 64) appearance volumes, float32.
            x_s: (B, 21, 3) source key points, float32.
        """
        return self.warping.source(f_s, x_s)

    @torch.no_grad()
    def forward(self, sources: SourceState, x_d: Tensor) -> Tensor:
        """Images of a batch of frames.

        Args:
            sources: the portrait of every frame, B rows; see `SourceState.select`.
            x_d: (B, 21, 3) driving key points, float32.

        Returns:
            (B, 3, 512, 512) RGB in 0..1, float32.
        """
        return self._logits(sources, x_d).sigmoid()

    @torch.no_grad()
    def frames_u8(self, sources: SourceState, x_d: Tensor) -> tuple[Tensor, Tensor]:
        """Frames ready to encode, and whether they can be trusted; both stay on the device.

        Returns:
            (B, 512, 512, 3) uint8 RGB and (B,) bool, False where a number became infinite or undefined.
        """
        logits = self._logits(sources, x_d)
        return frames_u8(logits.sigmoid()), logits.isfinite().flatten(1).all(1)

    def _logits(self, sources: SourceState, x_d: Tensor) -> Tensor:
        if x_d.shape != sources.x_s.shape:
            raise ShapeError(
                f"driving key points are {tuple(x_d.shape)}, those of the portraits {tuple(sources.x_s.shape)}: "
                "select one portrait per row of driving key points"
            )
        logits: Tensor = self.generator(self.warping(sources, x_d).out)
        return logits
