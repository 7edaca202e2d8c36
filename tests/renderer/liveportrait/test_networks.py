"""The networks give the official numbers, in both variants, and mistakes that are easily made do not."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from services.renderer.liveportrait.appearance import AppearanceFeatureExtractor
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.config import NetworksConfig
from services.renderer.liveportrait.motion_extractor import MotionExtractor
from tests.parity import extraction, synthesis
from tests.parity.fill import MANIFEST, fill
from tests.parity.goldens import read
from tests.parity.liveportrait import fast_ratios
from tests.parity.networks import synthetic_networks
from tests.parity.variants import VARIANTS, Variant, reference

FAST = MANIFEST.with_name("liveportrait_fast_seed0.npz")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the reference outputs were made; and nothing here is trained."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return synthetic_networks(0, NetworksConfig())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_meets_the_goldens_at_a_reduced_size(variant: str, networks: Networks) -> None:
    ratios = fast_ratios(read(FAST), 0, networks, VARIANTS[variant](networks))
    assert ratios.keys() == {"F", "M", "W", "G"}
    assert max(ratios.values()) <= 1, ratios


def set_eps(module: nn.Module, kind: type[nn.Module], eps: float) -> None:
    for part in module.modules():
        if isinstance(part, kind):
            part.eps = eps  # type: ignore[assignment]  # torch types it as a module


def test_the_wrong_constant_in_layer_norms_is_caught() -> None:
    motion = MotionExtractor().eval()
    fill(motion, "motion_extractor", 0)
    assert extraction.small_motion_ratio(read(FAST), 0, motion) <= 1
    set_eps(motion, nn.LayerNorm, 1e-5)
    assert extraction.small_motion_ratio(read(FAST), 0, motion) > 10


def test_the_wrong_constant_in_batch_norms_is_caught() -> None:
    appearance = AppearanceFeatureExtractor().eval()
    fill(appearance, "appearance_feature_extractor", 0)
    set_eps(appearance, nn.modules.batchnorm._BatchNorm, 1e-6)
    assert extraction.small_appearance_ratio(read(FAST), 0, appearance) > 2


def test_source_and_driving_points_the_wrong_way_round_are_caught(networks: Networks) -> None:
    right = reference(networks)
    wrong = Variant(right.appearance, lambda f_s, x_s, x_d: right.warp(f_s, x_d, x_s), right.generate)
    assert synthesis.small_warping_ratio(read(FAST), 0, wrong) > 100
