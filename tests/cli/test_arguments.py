"""What the command line refuses, and how it says so."""

import socket
from pathlib import Path

import pytest

from gateway.cli.main import main

DATA = Path(__file__).parents[1] / "data"
PORTRAIT, SPEECH = str(DATA / "portrait.jpg"), str(DATA / "speech_short.flac")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_missing_files_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "nobody.jpg")
    assert f"{missing}: no such file" in refused(capsys, "animate", missing, SPEECH, "-o", str(tmp_path / "o.mp4"))
    assert f"{missing}: no such file" in refused(capsys, "animate", PORTRAIT, missing, "-o", str(tmp_path / "o.mp4"))


def test_swapped_and_foreign_files_are_recognised(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "o.mp4")
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.wav"
    text.write_text("hello")
    empty.touch()
    assert "expected a portrait" in refused(capsys, "animate", SPEECH, PORTRAIT, "-o", out)
    assert "this looks like an image" in refused(capsys, "animate", PORTRAIT, PORTRAIT, "-o", out)
    assert "this looks like something else" in refused(capsys, "animate", str(text), SPEECH, "-o", out)
    assert "the file is empty" in refused(capsys, "animate", PORTRAIT, str(empty), "-o", out)


def test_the_output_folder_must_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such folder" in refused(capsys, "animate", PORTRAIT, SPEECH, "-o", str(tmp_path / "no" / "o.mp4"))


def test_a_gateway_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses connections
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        words = refused(capsys, "animate", PORTRAIT, SPEECH, "-o", str(tmp_path / "o.mp4"), "--json", "--url", url)
    assert f"no answer from {url}" in words
    assert not (tmp_path / "o.mp4").exists()


def test_a_taken_port_is_an_error_for_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = refused(capsys, "up", "--port", port, "--workdir", str(tmp_path))
    assert f"cannot listen on 127.0.0.1:{port}" in words


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("animate",), ("animate", PORTRAIT, SPEECH), ("up", "--port", "x")]
)
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert "usage: talkinghead" in capsys.readouterr().err
