import numpy as np
import pytest

from shared.motion import SLIDER_INDEX, exp_from_sliders, lip_opening, sliders_from_exp
from training.labels import CLASS_OF_VISEME, CLASSES
from training.visemes import CLASS_TARGETS, CLOSURES, constant_sliders, mixed, visemes


def test_the_table_has_the_visemes_that_labels_use() -> None:
    assert set(visemes()) == set(CLASS_OF_VISEME)
    assert set(CLASS_TARGETS) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASS_OF_VISEME))
def test_visemes_survive_the_way_through_exp(name: str) -> None:
    sliders = visemes()[name].sliders[None]
    assert np.allclose(sliders_from_exp(exp_from_sliders(sliders)), sliders, atol=0.05)


@pytest.mark.parametrize(
    ("name", "opening"),
    [("aa", 0.40), ("ae", 0.38), ("E", 0.29), ("ih", 0.20), ("oh", 0.28), ("ou", 0.12), ("SS", 0.10)],
)
def test_openings_are_the_tuned_ones(name: str, opening: float) -> None:
    assert float(lip_opening(exp_from_sliders(visemes()[name].sliders[None]))[0]) == pytest.approx(opening, abs=0.04)


def test_silence_and_the_constant_smile_keep_the_lips_closed() -> None:
    still = visemes()["sil"].sliders + constant_sliders()
    assert lip_opening(exp_from_sliders(still[None]))[0] == 0


def test_consonants_part_the_lips_and_closures_are_marked() -> None:
    for name, viseme in visemes().items():
        if name not in (*CLOSURES, "sil"):
            assert lip_opening(exp_from_sliders(viseme.sliders[None]))[0] > 0.03, name


def test_class_weights_sum_to_one_and_mix_linearly() -> None:
    for targets in CLASS_TARGETS.values():
        assert sum(weight for _, weight in targets) == pytest.approx(1.0)
    jaw = SLIDER_INDEX["jaw_open"]
    table = visemes()
    expected = 0.6 * table["aa"].sliders[jaw] + 0.4 * table["ae"].sliders[jaw]
    assert mixed(CLASS_TARGETS["AA"]).sliders[jaw] == pytest.approx(expected)
