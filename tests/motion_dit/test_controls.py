import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.motion_dit.controls import (
    POSE_LIMITS_DEG,
    SCALE_LIMIT,
    TRANSLATION_LIMIT,
    add_lasting,
    apply_controls,
    ease_in,
    scale_expression,
)
from shared.controls import DEFAULTS, RANGES, Controls, Emotion
from shared.motion import (
    EXP,
    PYR,
    SLIDER_INDEX,
    exp_from_sliders,
    lip_opening,
    neutral_rows,
    slider_ranges,
    sliders_from_exp,
)
from shared.motion import T as TRANSLATION

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


def _speaking(seed: int, n_rows: int = 80) -> FloatArray:
    """Rows all over the ranges of the sliders, lips closed in about a third of them."""
    rng = np.random.default_rng(seed)
    low, high = slider_ranges().T
    sliders = rng.uniform(0.7 * low, 0.7 * high, (n_rows, len(low))).astype(np.float32)
    closed = rng.random(n_rows) < 0.35
    sliders[closed, SLIDER_INDEX["jaw_open"]] = rng.uniform(-0.15, 0.05, closed.sum())
    for name in ("lip_flare", "lip_wide", "upper_lip_raise"):
        sliders[closed, SLIDER_INDEX[name]] *= 0.1
    rows = neutral_rows(n_rows)
    rows[:, EXP] = exp_from_sliders(sliders)
    rows[:, 63:] += rng.normal(0.0, 1.0, (n_rows, 7)).astype(np.float32)
    return rows


def _as_made(rows: FloatArray) -> FloatArray:
    """What default options give: expression untouched, pose limited by tanh."""
    limits = np.array(POSE_LIMITS_DEG, np.float32)
    out = rows.copy()
    out[:, PYR] = limits * np.tanh(rows[:, PYR] / limits)
    out[:, TRANSLATION] = TRANSLATION_LIMIT * np.tanh(rows[:, TRANSLATION] / TRANSLATION_LIMIT)
    out[:, 63] = 1.0 + SCALE_LIMIT * np.tanh((rows[:, 63] - 1.0) / SCALE_LIMIT)
    return out


@pytest.mark.parametrize(
    "controls", [DEFAULTS, Controls(emotion_strength=0.3), Controls(emotion=Emotion.ANGRY, emotion_strength=0.0)]
)
def test_options_that_ask_for_nothing_change_no_byte(controls: Controls) -> None:
    rows = _speaking(3)
    assert apply_controls(rows, controls, 200).tobytes() == _as_made(rows).tobytes()


chosen = st.builds(
    Controls,
    expressiveness=st.floats(*RANGES["expressiveness"]),
    gaze_x=st.floats(*RANGES["gaze_x"]),
    gaze_y=st.floats(*RANGES["gaze_y"]),
    emotion=st.sampled_from(Emotion),
    emotion_strength=st.floats(*RANGES["emotion_strength"]),
)


@settings(max_examples=60, deadline=None)
@given(controls=chosen, seed=st.integers(0, 2**16), first_frame=st.integers(0, 10_000))
def test_closed_lips_stay_closed_and_open_ones_open_as_far_whatever_is_chosen(
    controls: Controls, seed: int, first_frame: int
) -> None:
    rows = _speaking(seed)
    before = lip_opening(rows[:, EXP])
    after = lip_opening(apply_controls(rows, controls, first_frame)[:, EXP])
    assert (after[before == 0] == 0).all()
    np.testing.assert_allclose(after, controls.expressiveness * before, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(controls=chosen, seed=st.integers(0, 2**16))
def test_gaze_and_emotion_stay_inside_the_sliders_ranges_and_shut_eyes_shut(controls: Controls, seed: int) -> None:
    exp = _speaking(seed)[:, EXP]
    before = sliders_from_exp(exp)
    change = exp_from_sliders(np.zeros((1, 14), np.float32)) + add_lasting(exp, controls, 1000) - exp
    low, high = slider_ranges().T
    after = before + sliders_from_exp(change)
    others = [index for name, index in SLIDER_INDEX.items() if name != "jaw_open"]  # the jaw keeps the lips
    assert (after[:, others] <= high[others] + 0.02).all()
    assert (after[:, others] >= low[others] - 0.02).all()
    lids = [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]
    shut = (before[:, lids] >= 1.0).all(axis=1)
    np.testing.assert_allclose(after[shut][:, lids], before[shut][:, lids], atol=0.02)


@pytest.mark.parametrize(
    ("controls", "slider", "sign"),
    [
        (Controls(gaze_x=1.0), "gaze_x", 1),
        (Controls(gaze_x=-1.0), "gaze_x", -1),
        (Controls(gaze_y=1.0), "gaze_y", 1),
        (Controls(gaze_y=-0.5), "gaze_y", -1),
        (Controls(emotion=Emotion.HAPPY), "smile", 1),
        (Controls(emotion=Emotion.SAD), "smile", -1),
        (Controls(emotion=Emotion.ANGRY), "brow_frown", 1),
        (Controls(emotion=Emotion.SURPRISED), "brow_raise", 1),
    ],
)
def test_each_control_moves_its_slider(controls: Controls, slider: str, sign: int) -> None:
    moved = sliders_from_exp(apply_controls(neutral_rows(1), controls, 1000)[:, EXP])[0, SLIDER_INDEX[slider]]
    assert sign * moved > 0.25
    half = add_lasting(np.zeros((1, 63), np.float32), controls, 1000)
    assert np.array_equal(half, apply_controls(neutral_rows(1), controls, 1000)[:, EXP])


def test_the_first_frame_is_the_photo_and_the_second_second_is_whole() -> None:
    controls = Controls(emotion=Emotion.SURPRISED, gaze_x=0.5)
    rows = apply_controls(neutral_rows(60), controls, 0)
    assert np.allclose(rows[0], neutral_rows(1), atol=1e-5)
    assert np.allclose(rows[25:], rows[25], atol=1e-6)
    steps = np.abs(np.diff(sliders_from_exp(rows[:, EXP]), axis=0)).max(axis=1)
    assert steps.max() < 0.08
    assert np.array_equal(ease_in(10, 30), ease_in(0, 40)[10:])


def test_pieces_of_a_video_are_what_the_whole_is() -> None:
    rows, controls = _speaking(1), Controls(emotion=Emotion.HAPPY, gaze_y=-0.4, expressiveness=1.3)
    pieces = [apply_controls(rows[start : start + 13], controls, start) for start in range(0, len(rows), 13)]
    assert np.allclose(np.concatenate(pieces), apply_controls(rows, controls, 0), atol=1e-6)
