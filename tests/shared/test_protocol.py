"""Names and messages between processes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import protocol
from shared.controls import Emotion
from shared.errors import BadMessage
from shared.protocol import JobOptions, JobState, Manifest, Stage, Unit

units = st.builds(Unit, st.sampled_from([s for s in Stage if s is not Stage.PORTRAIT]), st.integers(0, 10**6))


@given(unit=units | st.just(Unit(Stage.PORTRAIT)))
def test_units_come_back_from_their_text(unit: Unit) -> None:
    assert Unit.parse(str(unit)) == unit


@pytest.mark.parametrize("text", ["", "paint:1", "encode", "encode:", "encode:x", "encode:-1", "portrait:1", "mux:²"])
def test_text_that_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(BadMessage, match="expected"):
        Unit.parse(text)


def test_keys_of_a_job_share_its_hash_tag() -> None:
    job = "3-01JABC"
    keys = [
        protocol.job_key(job),
        protocol.job_key(job, "slice", "65"),
        protocol.stream_key("3", Stage.RENDER, "embedded"),
        protocol.stream_key("3", Stage.MUX, "embedded"),
        protocol.dead_key("3"),
        protocol.appearance_key("3", "ab"),
    ]
    assert all(key.startswith("th:{3}:") for key in keys)
    assert keys[0] == "th:{3}:job:3-01JABC"
    assert keys[3] == "th:{3}:mux"


@pytest.mark.parametrize("job_id", ["", "x", "-a", "3-"])
def test_an_id_without_shard_is_refused(job_id: str) -> None:
    with pytest.raises(BadMessage, match="SHARD-NAME"):
        protocol.shard_of(job_id)


def test_manifest_comes_back() -> None:
    options = JobOptions(seed=2**63 - 1, output="full", gaze_y=0.1, emotion=Emotion.HAPPY)
    manifest = Manifest("0-a", 12.5, "embedded", options, "portrait.png", "audio.wav")
    read = Manifest.from_dict(json.loads(json.dumps(manifest.to_dict())))
    assert read == manifest
    assert isinstance(read.options.emotion, Emotion)


def test_a_manifest_of_version_1_has_the_defaults_of_what_it_lacks() -> None:
    options = {"seed": 7, "head_motion": 0.5, "expressiveness": 1.0, "output": "full"}
    names = {"portrait_file": "p", "audio_file": "a"}
    value = {"job_id": "0-a", "created": 1.0, "bundle": "embedded", "options": options, "version": 1, **names}
    assert Manifest.from_dict(value).options == JobOptions(seed=7, head_motion=0.5, output="full")


@pytest.mark.parametrize(
    "change",
    [{"version": 9}, {"version": "1"}, {"options": {}}, {"options": {"seed": 1, "emotion": "bored"}}, {"extra": 1}],
)
def test_a_foreign_manifest_is_refused(change: dict[str, object]) -> None:
    value = Manifest("0-a", 1.0, "embedded", JobOptions(seed=1), "p", "a").to_dict() | change
    with pytest.raises(BadMessage):
        Manifest.from_dict(value)


def test_final_states_are_the_last_four() -> None:
    assert [s.value for s in JobState if s.is_final] == ["succeeded", "failed", "canceled", "expired"]
