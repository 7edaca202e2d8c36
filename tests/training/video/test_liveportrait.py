"""Motion by M, with a small network of drawn weights: the arithmetic around it."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from services.renderer.embedded.controls import rotations
from shared.errors import WeightsMismatch
from shared.motion import EXP, PYR, SCALE, neutral_row, neutral_rows
from training.video.decode import Picture
from training.video.liveportrait import load_extractor, relative_rows, resting_frames, rows_from_pictures
from training.video.measures import AT, MEASURES


def pictures(n: int, rate: int) -> Iterator[Picture]:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 255, (90, 120, 3)).astype(np.float64) for _ in range(2))
    for i in range(n):
        image = one + (other - one) * (i / rate)
        yield Picture(Fraction(i, rate), image.astype(np.uint8))


def landmarks(n: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    face = rng.uniform(30, 60, (478, 3)).astype(np.float32)
    face[[33, 159, 133, 145, 362, 386, 263, 374], 1] = 35
    face[[61, 291], 1] = 55
    return np.repeat(face[None], n, axis=0)


def test_rows_are_those_of_the_clips_own_pictures(weights: Path) -> None:
    extractor = load_extractor(weights)
    measures = np.tile(np.linspace(0.1, 0.2, 10)[:, None], (1, len(MEASURES)))
    rows = rows_from_pictures(pictures(40, 25), 12, landmarks(10), measures, extractor)
    early = rows_from_pictures(pictures(40, 25), 11, landmarks(10), measures, extractor)
    assert rows.shape == (10, 70)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows[:, EXP].std(axis=0).max() > 1e-5
    # Both begin at other frames and rest on other ones, but the steps between the frames they share are equal.
    assert np.abs(np.diff(rows[:9, EXP], axis=0) - np.diff(early[1:, EXP], axis=0)).max() < 1e-5


def test_other_rates_give_the_same_motion(weights: Path) -> None:
    extractor = load_extractor(weights)
    measures = np.tile(np.linspace(0.1, 0.2, 10)[:, None], (1, len(MEASURES)))
    slow = rows_from_pictures(pictures(40, 25), 5, landmarks(10), measures, extractor)
    fast = rows_from_pictures(pictures(48, 30), 5, landmarks(10), measures, extractor)
    spread = float(np.ptp(slow[:, EXP], axis=0).max())
    assert np.abs(fast[:, EXP] - slow[:, EXP]).max() < 0.1 * spread


def test_the_person_at_rest_is_the_neutral_row() -> None:
    absolute = neutral_rows(30)
    absolute[:, EXP] = 0.03
    absolute[:, SCALE] = 1.4
    absolute[:, PYR] = (10.0, -20.0, 5.0)
    absolute[20:, PYR] = (12.0, -15.0, 3.0)
    rows = relative_rows(absolute, np.arange(20))
    assert np.abs(rows[:20] - neutral_row()).max() < 1e-5
    turn = rotations(rows[25:26, PYR])[0] @ rotations(absolute[:1, PYR])[0]
    assert turn == pytest.approx(rotations(absolute[25:26, PYR])[0], abs=1e-6)


def test_rest_is_closed_lips_with_open_eyes() -> None:
    measures = np.zeros((40, len(MEASURES)))
    measures[:, AT["gap"]] = np.arange(40) % 8
    measures[:, [AT["lid_left"], AT["lid_right"]]] = 0.3
    measures[8:12, [AT["lid_left"], AT["lid_right"]]] = 0.05
    rest = resting_frames(measures)
    assert 8 not in rest
    assert measures[rest, AT["gap"]].max() <= 1


def test_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / "motion_extractor.safetensors")
    with pytest.raises(WeightsMismatch, match="motion_extractor"):
        load_extractor(tmp_path)
