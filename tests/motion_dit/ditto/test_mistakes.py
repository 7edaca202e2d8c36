"""Plausible mistakes at full size: each must leave the bounds of the stored reference results."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from services.motion_dit.ditto.ddim import cosine_alphas, ddim_steps, implied_noise, sample
from services.motion_dit.ditto.guidance import GuidedClip
from services.motion_dit.ditto.layers import Film, Rotary
from services.motion_dit.ditto.network import Condition, Lmdm, LmdmConfig
from tests.parity.ditto import CLEAN_BOUND, NOISE_BOUND, PASS_BOUND, synthetic_lmdm, synthetic_weights
from tests.parity.goldens import read

Arrays = dict[str, Tensor]
T = 500


class HalvesRotary(Rotary):
    """Turns columns (i, i + hidden / 2), as many implementations do."""

    def forward(self, x: Tensor) -> Tensor:
        paired = torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)
        turned = super().forward(paired)
        return torch.cat([turned[..., 0::2], turned[..., 1::2]], dim=-1)


class ShiftFirstFilm(Film):
    """Takes the first half for the shift."""

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.block(c)[:, None].chunk(2, dim=-1)
        return torch.add(x * (1.0 + scale), shift)


class FramesOnlyRotary(Rotary):
    """Gives the step tokens, which are the last two of the memory, no position."""

    def forward(self, x: Tensor) -> Tensor:
        frames = LmdmConfig().frames
        return torch.cat([super().forward(x[:, :frames]), x[:, frames:]], dim=1)


@pytest.fixture(scope="module")
def goldens() -> Arrays:
    arrays = read(Path(__file__).parents[2] / "data" / "parity" / "ditto_lmdm_goldens_seed0.npz")
    return {key: torch.from_numpy(array) for key, array in arrays.items() if key != "meta"}


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return synthetic_weights(0, LmdmConfig())


@pytest.fixture
def network(weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Lmdm:
    """A network of its own for every test, over the same weights."""
    return synthetic_lmdm(weights, LmdmConfig())


@torch.inference_mode()
def error(network: Lmdm, goldens: Arrays, condition: Condition) -> float:
    predicted = network(goldens["in/x"], goldens["in/cond_frame"], torch.tensor([T]), condition)
    return float((predicted - goldens[f"cond_pass/t{T}"]).abs().max())


@torch.inference_mode()
def test_the_right_network_is_far_inside_the_bound(network: Lmdm, goldens: Arrays) -> None:
    assert error(network, goldens, network.encode(goldens["in/cond"])) < 0.2 * PASS_BOUND


@pytest.mark.parametrize(
    ("right", "wrong", "places"),
    [(Rotary, HalvesRotary, 11), (Rotary, FramesOnlyRotary, 11), (Film, ShiftFirstFilm, 24)],
)
@torch.inference_mode()
def test_a_wrong_part_shows(
    right: type[nn.Module], wrong: type[nn.Module], places: int, network: Lmdm, goldens: Arrays
) -> None:
    parts = [part for _, part in network.named_modules(remove_duplicate=False) if type(part) is right]
    for part in parts:
        part.__class__ = wrong
    assert len(parts) == places
    assert error(network, goldens, network.encode(goldens["in/cond"])) > 10 * PASS_BOUND


@torch.inference_mode()
def test_a_summary_that_keeps_its_sound_without_condition_shows(network: Lmdm, goldens: Arrays) -> None:
    known, unknown = network.encode(goldens["in/cond"]), network.no_condition(1)
    predicted = network(
        goldens["in/x"], goldens["in/cond_frame"], torch.tensor([T]), Condition(unknown.tokens, known.summary)
    )
    assert (predicted - goldens[f"null_pass/t{T}"]).abs().max() > 10 * PASS_BOUND


@torch.inference_mode()
def test_a_schedule_that_is_off_by_one_or_another_form_of_the_noise_shows(goldens: Arrays) -> None:
    x, x_0, stored = goldens["in/x"], goldens["x_start/t0"], goldens["pred_noise/t0"]
    bound = NOISE_BOUND * float(stored.square().mean().sqrt())
    first, second = (float(alpha) for alpha in cosine_alphas()[:2])
    assert (implied_noise(x, x_0, first) - stored).abs().max() < 0.1 * bound
    assert (implied_noise(x, x_0, second) - stored).abs().max() > 10 * bound
    same_on_paper = (x - math.sqrt(first) * x_0) / math.sqrt(1.0 - first)
    assert (same_on_paper - stored).abs().max() > bound


@torch.inference_mode()
def test_a_sampler_with_the_noise_of_another_step_or_none_shows(network: Lmdm, goldens: Arrays) -> None:
    """Two steps are enough: the second begins from other motion."""
    predict = GuidedClip(network, goldens["in/cond"], goldens["in/cond_frame"])
    x, noise = goldens["in/x_T"], goldens["in/noise"]
    steps = ddim_steps(cosine_alphas(), 2)
    right = sample(predict, x, noise[:1], steps)
    for other in (
        sample(predict, x, noise[1:2], steps),
        sample(predict, x, noise[:1], ddim_steps(cosine_alphas(), 2, eta=0.0)),
    ):
        assert (other - right).abs().max() > 10 * CLEAN_BOUND
