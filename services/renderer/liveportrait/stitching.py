"""S: three small networks on key points: stitching to the shoulders, and retargeting of the mouth and of the eyes.

LivePortrait (arXiv:2407.03168), Sec. 3.2. Attribute names are the keys of the official checkpoint; how their
inputs are put together is the business of ``keypoints``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn


@dataclass(frozen=True)
class StitchingConfig:
    """Hidden widths of the three networks; the defaults are the official ones."""

    n_keypoints: int = 21
    shoulder_widths: tuple[int, ...] = (128, 128, 64)
    mouth_widths: tuple[int, ...] = (128, 128, 64)
    eye_widths: tuple[int, ...] = (256, 256, 128, 128, 64)


class Mlp(nn.Module):
    """Linear layers with ReLU between them: (B, widths[0]) -> (B, widths[-1])."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])  # none after the last

    def forward(self, x: Tensor) -> Tensor:
        """All layers."""
        y: Tensor = self.mlp(x)
        return y


class StitchingNetwork(nn.Module):
    """The three networks of one checkpoint file; each is called by itself.

    ``retarget_shoulder``: (B, 126) source and driving points -> (B, 65), movement of the points and of the whole.
    ``retarget_mouth``: (B, 65) source points, source and target lip ratio -> (B, 63) movement of the points.
    ``retarget_eye``: (B, 66) source points, both source eye ratios and the target ratio -> (B, 63).
    """

    def __init__(self, config: StitchingConfig | None = None) -> None:
        super().__init__()
        config = config or StitchingConfig()
        self.config = config
        n = 3 * config.n_keypoints
        self.retarget_shoulder = Mlp((2 * n, *config.shoulder_widths, n + 2))
        self.retarget_mouth = Mlp((n + 2, *config.mouth_widths, n))
        self.retarget_eye = Mlp((n + 3, *config.eye_widths, n))
