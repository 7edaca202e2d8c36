"""The runner: what it prints, when it fails; and the whole comparison."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.motion_dit.joyvasa.network import JoyVasaConfig, JoyVasaNetwork
from tests.parity.joyvasa import main

DATA = Path(__file__).parents[1] / "data" / "parity"
MANIFEST = DATA / "joyvasa_state_dict.json"
SMALL_CONFIG = "c70w"  # eight steps


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the reference outputs were made."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small() -> dict[str, NDArray[Any]]:
    """The goldens without the configurations of fifty steps."""
    with np.load(DATA / "joyvasa_goldens_seed0.npz") as file:
        arrays = {key: file[key] for key in file.files if not key.startswith(("c73/", "c70/", "hidden"))}
    meta = json.loads(str(arrays["meta"]))
    for name in ("c73", "c70"):
        del meta["configs"][name]
    return {**arrays, "meta": np.array(json.dumps(meta))}


def run(folder: Path, arrays: dict[str, NDArray[Any]]) -> int:
    np.savez(folder / "joyvasa_goldens_seed0.npz", **arrays)
    return main(["--dir", str(folder), "--seed", "0"])


def test_good_goldens_pass_and_the_last_line_says_how_well(
    small: dict[str, NDArray[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, small) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"weights", "schedule", "padding", "motion/exp", "motion/R"} <= report["groups"].keys()
    assert 0 < report["worst"] == max(report["groups"].values()) <= 1


@pytest.mark.parametrize(
    ("key", "value", "group"),
    [
        ("c70w/out_raw/exp", np.nan, "motion/exp"),
        ("c70w/out_ema/yaw", 1e3, "motion/degrees"),
        ("pad_audio/1000/head", 11, "padding"),
    ],
)
def test_one_wrong_number_fails(
    key: str,
    value: float,
    group: str,
    small: dict[str, NDArray[Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = small[key].copy()
    wrong.flat[3] = value
    assert run(tmp_path, {**small, key: wrong}) == 1
    groups = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]
    assert [name for name, ratio in groups.items() if ratio > 1] == [group]


def test_a_weight_of_another_checksum_fails(
    small: dict[str, NDArray[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = json.loads(str(small["meta"]))
    meta["weights_crc"][SMALL_CONFIG]["audio_feature_map.bias"][1] += 1
    assert run(tmp_path, {**small, "meta": np.array(json.dumps(meta))}) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]["weights"] > 1


@pytest.mark.parametrize("case", ["lacking", "unknown"])
def test_goldens_that_are_missing_or_that_nobody_compares_fail(
    case: str, small: dict[str, NDArray[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {**small, "c70w/new": np.zeros(1)}
    if case == "lacking":
        changed = {key: array for key, array in small.items() if key != "c70w/out_raw/R"}
    assert run(tmp_path, changed) == 1
    assert ("c70w/new" if case == "unknown" else "c70w/out_raw/R") in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path), "--seed", "7"]) == 1
    assert "joyvasa_goldens_seed7.npz" in json.loads(capsys.readouterr().out)["error"]


def test_keys_and_shapes_are_the_official_ones() -> None:
    for variant in json.loads(MANIFEST.read_text())["denoiser_variants"].values():
        sizes = variant["constructor"]
        config = JoyVasaConfig(
            sizes["motion_feat_dim"], sizes["n_prev"], 100, sizes["feature_dim"], sizes["n_diff_steps"]
        )
        state = JoyVasaNetwork(config).state_dict()
        official = {key: (tuple(shape), dtype) for key, (shape, dtype, _) in variant["keys"].items()}
        ours = {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()}
        assert ours == official


@pytest.mark.slow
def test_every_golden_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(DATA), "--seed", "0"]) == 0, capsys.readouterr().out
    groups = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]
    assert {"audio_feat", "denoiser", "trajectory", "samplers", "second_window", "motion/R"} < groups.keys()
