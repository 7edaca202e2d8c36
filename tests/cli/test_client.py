"""The client's parsing of server-sent events and problem documents."""

import httpx

from gateway.cli.client import Event, parse_events, refusal
from gateway.cli.media_type import IMAGE, SOUND, kind_of


def test_events_are_parsed_with_ids_comments_and_several_data_lines() -> None:
    text = (
        'event: job.state\ndata: {"state": "running"}\n\n: heartbeat\n\n'
        'event: frame\nid: 7\ndata: {"index": 7,\ndata: "n": 1}\n\nretry: 500\n\nevent: cut off\ndata: {'
    )
    assert list(parse_events(iter(text.split("\n")))) == [
        Event("job.state", "", {"state": "running"}),
        Event("frame", "7", {"index": 7, "n": 1}),
    ]


def test_a_refusal_speaks_the_words_of_the_problem_document() -> None:
    problem = {"title": "Unprocessable", "detail": "no face in the portrait", "code": "no_face_found"}
    assert str(refusal(httpx.Response(422, json=problem))) == "no face in the portrait (HTTP 422, no_face_found)"
    assert str(refusal(httpx.Response(502, text="<html>"))) == "Bad Gateway (HTTP 502)"


def test_files_are_recognised_by_their_first_bytes() -> None:
    assert {kind_of(head) for head in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ")} == {IMAGE}
    sounds = (
        b"RIFF\0\0\0\0WAVEfmt ",
        b"ID3\x04",
        b"\xff\xfb\x90",
        b"OggS",
        b"fLaC",
        b"\0\0\0 ftypM4A ",
        b"\x1aE\xdf\xa3",
    )
    assert {kind_of(head) for head in sounds} == {SOUND}
    assert {kind_of(head) for head in (b"", b"hello", b"GIF89a", b"RIFF\0\0\0\0AVI ")} == {None}
