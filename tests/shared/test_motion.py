"""The motion row: layout, sliders and lip opening."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared import motion
from shared.errors import ShapeError
from shared.motion import FloatArray


def sliders(**values: float) -> FloatArray:
    row = np.zeros((1, len(motion.SLIDERS)), np.float32)
    for name, value in values.items():
        row[0, motion.SLIDER_INDEX[name]] = value
    return row


def test_layout_covers_the_row_exactly_once() -> None:
    columns = [
        *range(70)[motion.EXP],
        motion.SCALE,
        *range(70)[motion.T],
        *range(70)[motion.PYR],
    ]
    assert columns == list(range(motion.ROW))


def test_neutral_is_zero_with_scale_one() -> None:
    rows = motion.neutral_rows(3)
    assert rows.shape == (3, 70)
    assert rows.dtype == np.float32
    assert np.all(rows[:, motion.SCALE] == 1)
    assert np.count_nonzero(rows) == 3


@pytest.mark.parametrize("name", motion.SLIDERS)
def test_each_slider_survives_the_round_trip(name: str) -> None:
    recovered = motion.sliders_from_exp(motion.exp_from_sliders(sliders(**{name: 0.6})))
    np.testing.assert_allclose(recovered, sliders(**{name: 0.6}), atol=0.05)


def test_recovered_sliders_stay_in_their_ranges() -> None:
    recovered = motion.sliders_from_exp(np.full((4, 63), 9.0, np.float32))
    assert np.all(recovered >= motion.slider_ranges()[:, 0])
    assert np.all(recovered <= motion.slider_ranges()[:, 1])


def test_neutral_and_press_command_closed_lips_and_a_vowel_opens_them() -> None:
    assert motion.lip_opening(np.zeros((1, 63), np.float32))[0] == 0
    assert motion.lip_opening(motion.exp_from_sliders(sliders(lip_press=0.7)))[0] == 0
    assert motion.lip_opening(motion.exp_from_sliders(sliders(jaw_open=0.1)))[0] == 0
    assert motion.lip_opening(motion.exp_from_sliders(sliders(jaw_open=0.63)))[0] == pytest.approx(0.39, abs=0.02)


@given(low=st.floats(0, 1.2), step=st.floats(0.05, 0.4))
def test_more_jaw_never_opens_the_lips_less(low: float, step: float) -> None:
    exp = motion.exp_from_sliders(np.concatenate([sliders(jaw_open=low), sliders(jaw_open=low + step)]))
    less, more = motion.lip_opening(exp)
    assert more >= less


@pytest.mark.parametrize("rows", [np.zeros((2, 69), np.float32), np.zeros(70, np.float32), np.zeros((2, 70))])
def test_rows_of_another_shape_or_dtype_are_refused(rows: NDArray[Any]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(N, 70\) float32"):
        motion.check_rows(rows)
