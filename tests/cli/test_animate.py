"""`talkinghead animate` against a small gateway that speaks the HTTP contract: what it shows, saves and returns."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main

DATA = Path(__file__).parents[1] / "data"
PORTRAIT, SPEECH = str(DATA / "portrait.jpg"), str(DATA / "speech_short.flac")
MP4 = b"\0\0\0 ftypisom" + bytes(1000)
DONE = {"id": "0-1", "state": "succeeded", "progress": {"frames_total": 50}}


class FakeGateway(BaseHTTPRequestHandler):
    """Answers one job; `script` is what its event stream says, connection by connection."""

    created = (202, {"id": "0-1", "state": "queued"})
    script: tuple[str, ...] = ()
    seen_ids: list[str]
    body = b""

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        type(self).body = self.rfile.read(length)
        self.answer(*self.created)

    def do_GET(self) -> None:
        if self.path.endswith("/video"):
            self.answer(200, MP4)
        else:
            self.seen_ids.append(self.headers.get("Last-Event-ID", ""))
            self.answer(200, self.script[min(len(self.seen_ids), len(self.script)) - 1].encode(), "text/event-stream")

    def answer(self, status: int, body: object, content_type: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fake_gateway(**answers: Any) -> Iterator[tuple[str, type[FakeGateway]]]:
    handler = type("Handler", (FakeGateway,), {"seen_ids": [], **answers})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def event(name: str, data: dict[str, Any], event_id: int | None = None) -> str:
    line = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {name}\n{line}data: {json.dumps(data)}\n\n"


def frame(index: int) -> str:
    return event("frame", {"index": index, "jpeg": ""}, index)


def test_saves_the_video_and_ends_with_a_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.mp4"
    script = (frame(0) + frame(1), frame(2) + event("job.done", DONE))  # the first connection breaks
    with fake_gateway(script=script) as (url, gateway):
        assert main(["animate", PORTRAIT, SPEECH, "-o", str(out), "--url", url, "--seed", "7", "--output", "full"]) == 0
    assert out.read_bytes() == MP4
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    measures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(measures) == {"frames", "seconds", "realtime_speed", "first_frame_s"}
    assert (measures["frames"], measures["seconds"]) == (50, 2.0)
    assert measures["realtime_speed"] > 0 < measures["first_frame_s"]
    assert gateway.seen_ids == ["", "1"]
    assert b'name="seed"\r\n\r\n7' in gateway.body
    assert b'name="output"\r\n\r\nfull' in gateway.body
    assert b"head_motion" not in gateway.body


def test_json_mode_prints_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(script=(event("job.done", DONE),)) as (url, _):
        assert main(["animate", PORTRAIT, SPEECH, "-o", str(tmp_path / "o.mp4"), "--url", url, "--json"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.err == ""


def test_a_refused_job_shows_the_gateways_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"title": "Content Too Large", "detail": "the upload has 31 MB, at most 25 MB", "code": "limit_exceeded"}
    with fake_gateway(created=(413, problem)) as (url, _):
        assert main(["animate", PORTRAIT, SPEECH, "-o", str(tmp_path / "o.mp4"), "--url", url, "--json"]) == 1
    assert "the upload has 31 MB, at most 25 MB (HTTP 413, limit_exceeded)" in capsys.readouterr().err


def test_a_failed_job_shows_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "no_face_found", "detail": "no face in the portrait"}
    with fake_gateway(script=(frame(0) + event("job.error", problem),)) as (url, _):
        assert main(["animate", PORTRAIT, SPEECH, "-o", str(tmp_path / "o.mp4"), "--url", url, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "talkinghead: no face in the portrait (no_face_found)\n"
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []
