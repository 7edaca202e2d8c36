from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.renderer.liveportrait.stitching import StitchingNetwork
from tests.parity import functions, pipeline
from tests.parity.fill import STITCHING, fill
from tests.parity.goldens import Goldens

DATA = Path(__file__).parents[1] / "data" / "parity"

Npz = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def stitching() -> StitchingNetwork:
    network = StitchingNetwork().eval()
    fill(network, STITCHING, 0)
    return network


def load(group: str) -> Npz:
    return dict(np.load(DATA / f"liveportrait_{group}_seed0.npz"))


def test_every_function_equals_the_official_one(stitching: StitchingNetwork) -> None:
    worst = functions.ratios(load("functions"), stitching, seed=0)
    assert {group: ratio for group, ratio in worst.items() if not ratio <= 1.0} == {}


def test_every_configuration_hands_the_official_points_to_the_renderer(stitching: StitchingNetwork) -> None:
    npz = load("pipeline")
    worst = pipeline.ratios(npz, stitching, seed=0)
    assert len(pipeline.configurations(npz)) == pipeline.N_CONFIGURATIONS
    assert set(pipeline.configurations(npz)) <= set(worst)
    assert {group: ratio for group, ratio in worst.items() if not ratio <= 1.0} == {}


@pytest.mark.parametrize(("group", "ratios"), [("functions", functions.ratios), ("pipeline", pipeline.ratios)])
def test_a_golden_that_nothing_reads_is_noticed(
    group: str, ratios: Callable[[Npz, StitchingNetwork, int], dict[str, float]], stitching: StitchingNetwork
) -> None:
    with pytest.raises(AssertionError, match="new/key"):
        ratios({**load(group), "new/key": np.zeros(1)}, stitching, 0)


def test_a_wrong_network_is_noticed() -> None:
    other = StitchingNetwork().eval()
    fill(other, STITCHING, 7)
    assert functions.ratios(load("functions"), other, seed=0)["stitching"] > 100.0
    worst = pipeline.ratios(load("pipeline"), other, seed=0)
    assert worst["rel_pose_stitch"] > 100.0
    assert worst["rel_pose_nostitch"] <= 1.0


def test_nan_and_inequality_count_as_infinitely_far() -> None:
    goldens = Goldens({"a": np.zeros(2), "b": np.zeros(2)})
    goldens.near("near", torch.tensor([0.0, torch.nan]), "a", 1.0)
    goldens.same("same", torch.tensor([0.0, 1e-6]), "b")
    assert goldens.finish() == {"near": np.inf, "same": np.inf}


def test_configurations_differ_from_each_other(stitching: StitchingNetwork) -> None:
    """No option is without effect, but for expression-friendly relative motion, whose multiplier is one."""
    npz = load("pipeline")
    results = {name: npz[f"out/{name}/x_d"] for name in pipeline.configurations(npz)}
    same = {
        (a, b)
        for a in results
        for b in results
        if a < b and results[a].shape == results[b].shape and np.abs(results[a] - results[b]).max() < 1e-5
    }
    assert all(a.replace("expr", "pose") == b.replace("expr", "pose") for a, b in same)
