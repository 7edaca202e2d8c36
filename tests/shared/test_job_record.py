"""The job hash as a value, and errors as they are stored in it."""

import json

import pytest

from shared.controls import DEFAULTS, NAMES
from shared.errors import ArtifactUnavailable, BadMessage
from shared.job_record import JobRecord, error_json
from shared.protocol import JobOptions, JobState, Unit
from shared.task import JobFields, Rows, payload_of


def test_a_hash_with_the_least_fields_is_a_job() -> None:
    record = JobRecord.from_hash("0-a", {b"state": b"queued", b"created": b"1.5"}, None)
    assert (record.state, record.created, record.n_frames, record.error) == (JobState.QUEUED, 1.5, 0, None)
    assert (record.options.output, record.queue_position) == ("square", None)
    assert JobRecord.from_hash("0-a", {b"state": b"ready"}, 0).queue_position == 1


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (ArtifactUnavailable("full"), {"code": "artifact_unavailable", "message": "full", "retryable": True}),
        (ValueError("odd"), {"code": "internal", "message": "odd", "retryable": False}),
        (ValueError(), {"code": "internal", "message": "ValueError", "retryable": False}),
        ({"code": "x", "message": "ü"}, {"code": "x", "message": "ü"}),
        ("text", {"code": "internal", "message": "text", "retryable": False}),
    ],
)
def test_every_error_is_stored_readably(error: BaseException | dict[str, object] | str, stored: object) -> None:
    assert json.loads(error_json(error)) == stored


NO_CONTROLS: list[bytes | None] = [None] * len(NAMES)
FIELDS = [b"100", b"65", b"1", b"square", b"digest", b"portrait.png", b"1.0", *NO_CONTROLS]


@pytest.mark.parametrize("reply", [[], [None] * len(FIELDS), [b"many", *FIELDS[1:]], [*FIELDS[:-1], b"bored"]])
def test_damaged_job_fields_are_no_payload(reply: list[bytes | None]) -> None:
    with pytest.raises(BadMessage, match="job fields"):
        JobFields.from_reply(reply)


@pytest.mark.parametrize("unit", ["motion:0", "render:0"])
@pytest.mark.parametrize("blob", [b"", b"\xc1", b"\xc0", b"\x81\xa1v\x02"])
def test_damaged_blobs_are_no_payload(unit: str, blob: bytes) -> None:
    with pytest.raises(BadMessage):
        payload_of("0-a", Unit.parse(unit), JobFields.from_reply(FIELDS), (blob, b""))


def test_a_job_of_before_the_controls_has_their_defaults() -> None:
    assert JobFields.from_reply(FIELDS).controls == DEFAULTS
    record = JobRecord.from_hash("0-a", {b"state": b"queued", b"seed": b"5", b"head_motion": b"0.5"}, None)
    assert record.options == JobOptions(seed=5, head_motion=0.5)


def test_rows_without_a_map_are_refused() -> None:
    with pytest.raises(BadMessage, match="version 1"):
        Rows.from_bytes(b"\x81\xa1v\x01")
