"""M, the motion extractor: canonical key points, head pose and expression of one face image.

LivePortrait (arXiv:2407.03168), Sec. 3.1. Attribute names are the keys of the official checkpoint. What the numbers
mean geometrically is the business of ``keypoints``.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from services.renderer.liveportrait.convnext import ConvNeXtV2


@dataclass(frozen=True)
class MotionExtractorConfig:
    """Sizes of M; the defaults are the official ones (ConvNeXt V2 tiny)."""

    depths: tuple[int, ...] = (3, 3, 9, 3)  # blocks per stage
    widths: tuple[int, ...] = (96, 192, 384, 768)  # channels per stage
    n_keypoints: int = 21
    n_angle_bins: int = 66  # of 3 degrees each


@dataclass(frozen=True)
class RawMotion:
    """What the heads say, batch first, before any geometry."""

    pitch: Tensor  # (B, 66) logits over the bins of the angle
    yaw: Tensor  # (B, 66)
    roll: Tensor  # (B, 66)
    t: Tensor  # (B, 3) translation, model units
    exp: Tensor  # (B, 63) expression: 21 x (x, y, z)
    scale: Tensor  # (B, 1)
    kp: Tensor  # (B, 63) canonical key points: 21 x (x, y, z)


class MotionExtractor(nn.Module):
    """Image -> ``RawMotion``."""

    def __init__(self, config: MotionExtractorConfig | None = None) -> None:
        super().__init__()
        config = config or MotionExtractorConfig()
        self.config = config
        n_bins, n_coordinates = config.n_angle_bins, 3 * config.n_keypoints
        heads = {"kp": n_coordinates, "scale": 1, "pitch": n_bins, "yaw": n_bins, "roll": n_bins, "t": 3}
        self.detector = ConvNeXtV2(config.depths, config.widths, heads | {"exp": n_coordinates})

    def forward(self, image: Tensor) -> RawMotion:
        """Motion of images (B, 3, H, W), RGB in 0..1, H and W divisible by 32; officially 256x256."""
        return RawMotion(**self.detector(image))
