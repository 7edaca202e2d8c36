"""The runner of Ditto's comparison: the whole at full size, and what makes it fail."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.ditto import compare_schedule, main, ratios
from tests.parity.fill import MANIFEST
from tests.parity.goldens import Goldens, read

GOLDENS = MANIFEST.parent
FILE = "ditto_lmdm_goldens_seed0.npz"


def test_every_golden_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(GOLDENS), "--seed", "0"]) == 0, capsys.readouterr().err
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    groups = report["groups"]
    assert set(groups) == {"weights", "schedule", "cond_pass", "null_pass", "x_start", "pred_noise", "ddim10"}
    assert groups["weights"] == 0
    assert 0 < report["worst"] == max(groups.values()) < 1


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and then nothing"])
def test_a_file_that_is_missing_or_broken_is_named(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert main(["--dir", str(tmp_path), "--seed", "0"]) == 1
    assert FILE in json.loads(capsys.readouterr().out)["error"]


def test_goldens_of_another_seed_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / FILE.replace("seed0", "seed7")).write_bytes((GOLDENS / FILE).read_bytes())
    assert main(["--dir", str(tmp_path), "--seed", "7"]) == 1
    output = capsys.readouterr()
    assert json.loads(output.out)["worst"] == 1e9
    assert "seed 0; expected ditto_lmdm, seed 7" in output.err


def test_goldens_without_a_key_are_refused() -> None:
    arrays = read(GOLDENS / FILE)
    del arrays["meta"]
    with pytest.raises(KeyError, match="meta"):
        ratios(arrays, 0)


@pytest.mark.parametrize("value", [0.3, np.nan])
def test_one_wrong_number_is_too_far(value: float) -> None:
    arrays = {key: array for key, array in read(GOLDENS / FILE).items() if key.startswith(("sched/", "ddim10/"))}
    del arrays["ddim10/final"]
    assert 0 <= schedule_ratio(arrays) < 1
    arrays["ddim10/c"] = arrays["ddim10/c"].copy()
    arrays["ddim10/c"][4] = value
    assert schedule_ratio(arrays) > 1


def test_an_array_that_nobody_compares_is_noticed() -> None:
    arrays = {key: array for key, array in read(GOLDENS / FILE).items() if key.startswith(("sched/", "ddim10/"))}
    with pytest.raises(AssertionError, match="ddim10/final"):
        schedule_ratio(arrays)


def schedule_ratio(arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> float:
    goldens = Goldens(arrays)
    compare_schedule(goldens)
    return goldens.finish()["schedule"]
