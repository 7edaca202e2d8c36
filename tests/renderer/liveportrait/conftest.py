"""Small networks with synthetic weights, and inputs whose axes all have different lengths."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from services.renderer.liveportrait.appearance import AppearanceConfig
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.config import NetworksConfig
from services.renderer.liveportrait.dense_motion import WarpingConfig
from services.renderer.liveportrait.generator import GeneratorConfig
from services.renderer.liveportrait.motion_extractor import MotionExtractorConfig
from services.renderer.liveportrait.stitching import StitchingConfig
from tests.parity.draw import draw, smooth
from tests.parity.networks import synthetic_networks

SEED = 3
SMALL = NetworksConfig(
    AppearanceConfig(first_channels=8, volume_channels=4, volume_depth=4, n_resblocks=2),
    MotionExtractorConfig(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16)),
    WarpingConfig(feature_channels=4, depth=4, compressed_channels=2, width=8, max_width=32, steps=2, out_channels=16),
    GeneratorConfig(feature_channels=16, image_channels=8, hidden=8),
    StitchingConfig(shoulder_widths=(8,), mouth_widths=(8,), eye_widths=(8,)),
)


@dataclass(frozen=True)
class Frames:
    """Two portraits and a driving frame of each.

    Attributes:
        f_s: (2, 4, 4, 16, 12) volumes.
        x_s: (2, 21, 3) source key points.
        x_d: (2, 21, 3) driving key points.
        feature: (2, 16, 16, 12) a generator's input.
    """

    f_s: Tensor
    x_s: Tensor
    x_d: Tensor
    feature: Tensor


@pytest.fixture(scope="session")
def networks() -> Networks:
    return synthetic_networks(SEED, SMALL)


@pytest.fixture(scope="session")
def frames() -> Frames:
    x_s = np.float32(0.35) * draw("x_s", (2, 21, 3), SEED)
    moved = np.float32(0.2) * draw("moved", (2, 21, 3), SEED)
    arrays = (smooth("f_s", (2, 4, 4, 16, 12), SEED), x_s, x_s + moved, smooth("feature", (2, 16, 16, 12), SEED))
    return Frames(*(torch.from_numpy(array) for array in arrays))
