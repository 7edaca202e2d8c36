import numpy as np
import pytest

from services.renderer.embedded.controls import (
    FIELD_INDEX,
    angles,
    beyond,
    controls_of,
    jaw_from_opening,
    rotations,
    soft_limit,
)
from shared.errors import NonFiniteOutput, ShapeError
from shared.motion import neutral_rows
from tests.renderer.motion_rows import rows


def test_jaw_is_zero_at_contact_monotone_and_limited() -> None:
    c_lip = np.linspace(0.0, 2.0, 400)
    jaw = jaw_from_opening(c_lip)
    assert jaw[0] == 0.0
    assert (np.diff(jaw) >= 0).all()
    assert jaw.max() == pytest.approx(0.9)
    assert jaw_from_opening(np.array([0.2]))[0] == pytest.approx(1.15 * (1 - np.exp(-0.2 / 0.45)), abs=1e-6)


def test_neutral_row_commands_nothing() -> None:
    (controls,) = controls_of(neutral_rows(1))
    assert controls.is_still
    assert controls.blink == (0.0, 0.0)
    assert controls.gaze == (0.0, 0.0)
    commanded = np.delete(controls.fields, FIELD_INDEX["close"])
    assert not commanded.any()


@pytest.mark.parametrize("slider", ["lip_pucker", "lip_press", "smile", "brow_raise", "mouth_x"])
def test_sliders_without_opening_leave_the_jaw_shut(slider: str) -> None:
    (controls,) = controls_of(rows(**{slider: 0.8}))
    assert controls.fields[FIELD_INDEX["jaw"]] == 0.0


def test_gaze_up_is_negative_y_and_blinks_stay_on_their_side() -> None:
    (up,) = controls_of(rows(gaze_y=0.6))
    assert up.gaze[1] < -0.4
    (left,) = controls_of(rows(blink_left=1.0))
    assert left.blink[0] > 0.9
    assert left.blink[1] < 0.1


def test_brows_raised_and_drawn_together_slant_and_either_alone_does_not() -> None:
    names = ("brow_raise", "brow_frown", "brow_oblique")
    both, up, together = (
        [float(controls_of(rows(**sliders))[0].fields[FIELD_INDEX[name]]) for name in names]
        for sliders in ({"brow_raise": 0.8, "brow_frown": 0.5}, {"brow_raise": 0.8}, {"brow_frown": 0.5})
    )
    assert both == pytest.approx([0.3, 0.0, 0.5], abs=0.03)
    assert up == pytest.approx([0.8, 0.0, 0.0], abs=0.03)
    assert together == pytest.approx([0.0, 0.5, 0.0], abs=0.03)


def test_lids_open_wider_within_limits_and_follow_the_gaze_but_not_small_glances() -> None:
    (wide,) = controls_of(rows(blink_left=-0.3, blink_right=-0.6))
    assert wide.blink == pytest.approx((-0.3, -0.4), abs=0.03)
    (up,), (down,), (glance,) = (controls_of(rows(gaze_y=value)) for value in (0.7, -0.7, 0.12))
    assert max(up.blink) < -0.1
    assert min(down.blink) > 0.1
    assert glance.blink == pytest.approx((0.0, 0.0), abs=0.02)
    assert [beyond(value, 0.15) for value in (-0.25, 0.1, 0.25)] == pytest.approx([-0.1, 0.0, 0.1])


def test_reference_row_shows_the_portrait_itself() -> None:
    motion = rows(jaw_open=np.array([0.5, 0.2]), yaw=np.array([3.0, -2.0]), pitch=4.0, tx=0.02)
    first, second = controls_of(motion, motion[0])
    assert np.allclose(first.pose, 0.0, atol=1e-6)
    assert not first.shift.any()
    assert not np.allclose(second.pose, 0.0)


def test_angles_undo_rotations() -> None:
    pyr = np.random.default_rng(0).uniform(-30, 30, (50, 3))
    assert np.allclose(angles(rotations(pyr)), pyr)


def test_soft_limit_is_identity_up_to_the_knee_and_never_passes_the_limit() -> None:
    x = np.linspace(-100, 100, 2001)
    y = soft_limit(x, 6.0, 10.0)
    assert np.array_equal(y[np.abs(x) <= 6], x[np.abs(x) <= 6])
    assert np.abs(y).max() <= 10.0
    assert (np.diff(y) >= 0).all()
    assert np.allclose(y, -y[::-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_motion_is_refused(bad: float) -> None:
    motion = neutral_rows(3)
    motion[1, 10] = bad
    with pytest.raises(NonFiniteOutput, match="row 1"):
        controls_of(motion)


def test_motion_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError):
        controls_of(np.zeros((3, 69), np.float32))
    with pytest.raises(ShapeError):
        controls_of(np.zeros((3, 70), np.float64))
