import numpy as np
import pytest

from shared.motion import SLIDER_INDEX, SLIDERS, exp_from_sliders, lip_opening
from training.video.measures import AT, MEASURES
from training.video.sliders import TOUCHING, calibration, inputs_of, jaw_for, lid_closure, opening, resting


def test_a_drawn_gap_gives_back_the_opening() -> None:
    c = np.linspace(0, 0.5, 20)
    jaw = 1.15 * (1 - np.exp(-c / 0.45))
    assert opening(0.40 * jaw, 0.3) == pytest.approx(c, abs=1e-5)
    assert opening(0.40 * jaw * 0.37 / 0.47, 0.47) == pytest.approx(c, abs=1e-5)


def test_the_row_reads_the_opening_that_was_seen() -> None:
    rng = np.random.default_rng(0)
    sliders = np.zeros((40, len(SLIDERS)))
    sliders[:, SLIDER_INDEX["lip_pucker"]] = rng.uniform(0, 0.6, 40)
    sliders[:, SLIDER_INDEX["smile"]] = rng.uniform(-0.2, 0.5, 40)
    c = np.linspace(TOUCHING, 0.4, 40).astype(np.float32)
    sliders[:, SLIDER_INDEX["jaw_open"]] = jaw_for(c, sliders)
    assert lip_opening(exp_from_sliders(sliders)) == pytest.approx(c, abs=1e-3)


def test_touching_lips_stay_shut_whatever_the_rest_does() -> None:
    sliders = np.zeros((11, len(SLIDERS)))
    sliders[:, SLIDER_INDEX["lip_pucker"]] = np.linspace(0, 1, 11)
    sliders[:, SLIDER_INDEX["jaw_open"]] = jaw_for(np.zeros(11, np.float32), sliders)
    assert lip_opening(exp_from_sliders(sliders)).max() == 0


def test_the_jaw_does_not_jump_where_the_lips_part() -> None:
    c = np.linspace(0, 0.1, 101).astype(np.float32)
    jaw = jaw_for(c, np.zeros((101, len(SLIDERS))))
    assert np.diff(jaw).max() < 0.02
    assert np.diff(jaw).min() >= 0


def test_lids_close_relative_to_the_persons_own_eyes() -> None:
    assert lid_closure(np.array([0.3, 0.3 * 0.25]), 0.3) == pytest.approx([0, 1])
    assert lid_closure(np.array([0.2, 0.2 * 0.25]), 0.2) == pytest.approx([0, 1])


def test_rest_is_closed_lips_and_open_eyes() -> None:
    rng = np.random.default_rng(1)
    measures = np.tile(np.linspace(0.2, 0.4, len(MEASURES)), (200, 1))
    measures[:, AT["gap"]] = np.maximum(0.004, rng.normal(0.05, 0.05, 200))
    measures[:, AT["lid_left"]] = np.where(rng.random(200) < 0.1, 0.05, 0.31)
    rest = resting(measures)
    assert rest.values[AT["gap"]] == pytest.approx(0.004)
    assert rest.values[AT["lid_left"]] == pytest.approx(0.31)


def test_the_calibration_names_sliders_and_measures() -> None:
    weights = calibration()
    assert set(weights) < set(SLIDERS)
    for slider, row in weights.items():
        assert set(np.flatnonzero(row)) <= {AT[name] for name in inputs_of(slider)}
        assert row.any()
