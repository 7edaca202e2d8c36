"""Options of a submission: the same names, ranges and defaults wherever they appear."""

from dataclasses import asdict
from typing import Any

import gradio as gr
import pytest

from gateway.cli.main import build_parser
from gateway.demo.layout import option_elements
from gateway.options import FIELDS, option_schema, parse_options, require_usable
from gateway.schemas import Options
from shared.bundles import BUNDLES
from shared.controls import DEFAULTS, RANGES, Emotion
from shared.errors import InputError
from shared.protocol import JobOptions

ALL = {
    "seed": "5",
    "head_motion": "0.5",
    "expressiveness": "1.5",
    "blinks_per_minute": "40",
    "gaze_x": "-1",
    "gaze_y": "0.25",
    "emotion": "surprised",
    "emotion_strength": "0",
    "output": "full",
}


def test_every_option_is_read() -> None:
    assert set(ALL) == set(FIELDS)
    expected = JobOptions(
        seed=5,
        output="full",
        head_motion=0.5,
        expressiveness=1.5,
        blinks_per_minute=40.0,
        gaze_x=-1.0,
        gaze_y=0.25,
        emotion=Emotion.SURPRISED,
        emotion_strength=0.0,
    )
    assert parse_options(ALL) == expected
    assert set(Options.model_fields) == set(asdict(expected)) == set(FIELDS)


def test_what_is_not_said_has_its_default() -> None:
    assert parse_options({"seed": "1"}) == JobOptions(seed=1)


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, high):
        assert getattr(parse_options({name: str(value)}), name) == value
    for value in (low - 0.01, high + 0.01, float("nan")):
        with pytest.raises(InputError, match=name):
            parse_options({name: str(value)})


def test_a_rate_of_blinks_is_refused_where_it_would_do_nothing() -> None:
    options = parse_options({"blinks_per_minute": "10"})
    for name, bundle in BUNDLES.items():
        require_usable(parse_options({"emotion": "happy", "gaze_x": "1"}), bundle)
        if name == "joyvasa":
            with pytest.raises(InputError, match="blinks_per_minute does nothing with bundle joyvasa"):
                require_usable(options, bundle)
        else:
            require_usable(options, bundle)


def test_the_description_has_the_limits_that_are_checked() -> None:
    schema: dict[str, Any] = option_schema()
    assert set(schema) == set(FIELDS)
    for name, (low, high) in RANGES.items():
        assert (schema[name]["minimum"], schema[name]["maximum"]) == (low, high)
        assert schema[name].get("default") == getattr(DEFAULTS, name)
    assert schema["emotion"]["enum"] == [emotion.value for emotion in Emotion]


def test_the_command_line_has_a_flag_for_every_option() -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in ALL.items()]
    parsed = build_parser().parse_args(["animate", "p.jpg", "a.wav", "-o", "o.mp4", *words])
    assert parse_options({name: str(getattr(parsed, name)) for name in FIELDS}) == parse_options(ALL)


async def test_the_page_has_an_element_for_every_option_and_sends_its_defaults() -> None:
    with gr.Blocks(analytics_enabled=False):
        elements = option_elements()
    assert set(elements) == set(FIELDS)
    configs = {name: element.get_config() for name, element in elements.items()}
    for name in RANGES.keys() - {"blinks_per_minute"}:
        limits = (configs[name]["minimum"], configs[name]["maximum"])
        assert limits == RANGES[name]
    assert configs["blinks_per_minute"]["name"] == "textbox"  # what is empty stays empty in the browser
    texts = {name: str(config["value"]) for name, config in configs.items() if config["value"] not in (None, "")}
    assert "blinks_per_minute" not in texts
    assert parse_options({"seed": "1"} | texts) == JobOptions(seed=1)
