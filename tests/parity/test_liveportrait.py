"""The runner: what it prints, when it fails; and the whole comparison at full size, in both variants."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.fill import MANIFEST
from tests.parity.liveportrait import main

GOLDENS = MANIFEST.parent
CHEAP = ("functions", "pipeline", "S")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the reference outputs were made."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in GOLDENS.glob("liveportrait_*_seed0.npz"):
        shutil.copy(path, tmp_path)
    return tmp_path


def run(folder: Path, *others: str) -> int:
    return main(["--dir", str(folder), "--seed", "0", *others])


def change(path: Path, key: str, value: float) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays[key] = arrays[key].copy()
    arrays[key].flat[3] = value
    np.savez(path, **arrays)


def test_good_goldens_pass_and_the_last_line_says_how_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "liveportrait_goldens_seed9.npz").write_text("another seed, not read")
    assert run(folder, "--only", *CHEAP) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["seed"], report["variant"]) == (0, "reference")
    assert {name.partition("/")[0] for name in report["groups"]} == set(CHEAP)
    assert 0 < report["worst"] == max(report["groups"].values()) <= 1


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("pipeline", "out/abs_stitch/x_d", 0.1),
        ("goldens", "S/retarget_eye/out", np.nan),
    ],
)
def test_one_wrong_number_fails(
    kind: str, key: str, value: float, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / f"liveportrait_{kind}_seed0.npz", key, value)
    assert run(folder, "--only", *CHEAP) == 1
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sum(ratio > 1 for ratio in report["groups"].values()) == 1


def test_a_golden_that_is_missing_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "liveportrait_goldens_seed0.npz"
    with np.load(path) as file:
        np.savez(path, **{key: file[key] for key in file.files if key != "S/retarget_eye/out"})
    assert run(folder, "--only", "S") == 1
    assert "S/retarget_eye/out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_a_broken_file_is_named(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "liveportrait_fast_seed0.npz").write_bytes(content)
    assert run(folder) == 1
    assert "liveportrait_fast_seed0.npz" in json.loads(capsys.readouterr().out)["error"]


def test_files_that_are_not_there_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "liveportrait_functions_seed0.npz").unlink()
    assert run(folder, "--only", "functions", "pipeline") == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert {name.partition("/")[0] for name in groups} == {"pipeline"}


def test_a_seed_without_any_file_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(folder), "--seed", "7"]) == 1
    assert "liveportrait_goldens_seed7.npz" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["reference", "optimised"])
def test_every_golden_is_met(variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(GOLDENS, "--variant", variant) == 0, capsys.readouterr().out
    groups = json.loads(capsys.readouterr().out.splitlines()[-1])["groups"]
    assert {"F", "M", "S", "W", "G", "chain/keypoints", "chain/image", "chain/frame_u8"} < groups.keys()
