import numpy as np
import pytest
from numpy.typing import NDArray

from services.motion_dit.controls import POSE_LIMITS_DEG, apply_controls, scale_expression
from shared.controls import DEFAULTS, Controls
from shared.motion import EXP, PYR, SLIDER_INDEX, exp_from_sliders, lip_opening, neutral_rows, sliders_from_exp

FloatArray = NDArray[np.float32]

FACTORS = (0.0, 0.5, 1.0, 1.5)


def _mouths() -> FloatArray:
    sliders = np.zeros((60, 14), np.float32)
    rng = np.random.default_rng(0)
    sliders[:, SLIDER_INDEX["jaw_open"]] = np.linspace(0, 0.6, 60)
    sliders[:, SLIDER_INDEX["lip_pucker"]] = rng.uniform(0, 0.5, 60)
    sliders[:15, SLIDER_INDEX["lip_press"]] = rng.uniform(0, 0.7, 15)
    sliders[:, SLIDER_INDEX["blink_left"]] = rng.uniform(0, 1, 60)
    return exp_from_sliders(sliders)


@pytest.mark.parametrize("factor", FACTORS)
def test_lip_opening_is_scaled_exactly(factor: float) -> None:
    exp = _mouths()
    before, after = lip_opening(exp), lip_opening(scale_expression(exp, factor))
    assert (before == 0).any()
    assert (before > 0.1).any()
    assert np.allclose(after, factor * before, atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_eyes_do_not_follow_expressiveness(factor: float) -> None:
    exp = _mouths()
    lids = sliders_from_exp(scale_expression(exp, factor))[:, SLIDER_INDEX["blink_left"]]
    assert np.allclose(lids, sliders_from_exp(exp)[:, SLIDER_INDEX["blink_left"]], atol=0.02)


@pytest.mark.parametrize("head_motion", FACTORS)
def test_pose_stays_inside_its_scaled_limits(head_motion: float) -> None:
    rows = neutral_rows(50)
    rows[:, PYR] = np.linspace(-40, 40, 50)[:, None]
    pose = np.abs(apply_controls(rows, Controls(head_motion=head_motion), 0)[:, PYR])
    assert (pose <= head_motion * np.array(POSE_LIMITS_DEG) + 1e-5).all()
    assert pose.max() == pytest.approx(head_motion * 5.0, abs=1e-3)


def test_no_head_motion_leaves_the_portrait_where_it_is() -> None:
    rows = neutral_rows(20)
    rows[:, 63:] += np.random.default_rng(1).normal(size=(20, 7)).astype(np.float32)
    out = apply_controls(rows, Controls(head_motion=0.0), 0)
    assert np.array_equal(out, neutral_rows(20))


def test_small_pose_passes_unchanged_and_inputs_are_kept() -> None:
    rows = neutral_rows(4)
    rows[:, PYR] = 0.1
    rows[:, EXP] = 0.01
    before = rows.copy()
    out = apply_controls(rows, DEFAULTS, 0)
    assert np.allclose(out[:, PYR], 0.1, atol=1e-3)
    assert np.array_equal(out[:, EXP], rows[:, EXP])
    assert np.array_equal(rows, before)
    assert out.dtype == np.float32
