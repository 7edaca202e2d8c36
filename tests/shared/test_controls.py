"""Controls of the motion as text beside a job."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.controls import DEFAULTS, NAMES, RANGES, Controls, Emotion, controls_from_text, controls_to_text

ROOT = Path(__file__).parents[2]


def numbers(name: str) -> st.SearchStrategy[float]:
    return st.floats(*RANGES[name])


controls = st.builds(
    Controls,
    **{name: numbers(name) for name in RANGES if name != "blinks_per_minute"},
    blinks_per_minute=st.none() | numbers("blinks_per_minute"),
    emotion=st.sampled_from(Emotion),
)


@given(chosen=controls)
def test_controls_come_back_exactly_from_their_text(chosen: Controls) -> None:
    assert controls_from_text(controls_to_text(chosen)) == chosen


def test_what_is_missing_or_empty_has_its_default() -> None:
    assert controls_from_text({}) == DEFAULTS
    assert controls_from_text({"emotion": "", "gaze_x": "", "blinks_per_minute": "", "colour": "red"}) == DEFAULTS


@pytest.mark.parametrize("texts", [{"emotion": "bored"}, {"gaze_x": "left"}])
def test_text_that_is_no_control_is_an_error(texts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"bored|left"):
        controls_from_text(texts)


def test_every_control_has_a_range_and_reaches_the_workers() -> None:
    assert sorted(NAMES) == sorted(field.name for field in fields(Controls))
    for name, (low, high) in RANGES.items():
        default = getattr(DEFAULTS, name)
        assert default is None or low <= default <= high
    script = (ROOT / "shared" / "lua" / "take.lua").read_text()
    assert ", ".join(f"'{name}'" for name in NAMES) in " ".join(script.split())
