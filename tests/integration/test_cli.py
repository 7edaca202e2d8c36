"""`talkinghead animate` and `talkinghead up` as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.integration.stack import PORTRAIT, SPEECH_SHORT, Stack, running_stack, until
from tests.integration.video import facts

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]
TALKINGHEAD = (sys.executable, "-m", "gateway.cli.main")
START_AND_JOB_S = 400.0


def animate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = (*TALKINGHEAD, "animate", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=START_AND_JOB_S, check=False)


def test_animate_uses_a_running_stack(ready_stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = animate(str(PORTRAIT), str(SPEECH_SHORT), "-o", str(out), "--url", ready_stack.url, "--seed", "1")
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout.splitlines()[-1])
    assert facts(out.read_bytes()).n_frames == measures["frames"] == 60
    assert 0 < measures["first_frame_s"] < measures["seconds"] / measures["realtime_speed"]


def test_animate_says_why_a_portrait_cannot_speak(ready_stack: Stack, tmp_path: Path) -> None:
    empty = tmp_path / "wall.png"
    Image.new("RGB", (300, 300), "white").save(empty)
    done = animate(str(empty), str(SPEECH_SHORT), "-o", str(tmp_path / "out.mp4"), "--url", ready_stack.url)
    assert done.returncode == 1
    assert "no_face_found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.mp4").exists()


def test_animate_brings_its_own_stack_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    out = tmp_path / "out.mp4"
    done = animate(str(PORTRAIT), str(SPEECH_SHORT), "-o", str(out), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 60
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])]
    assert left == []


def test_up_stops_cleanly_and_refuses_a_workdir_in_use(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack") as stack:
        command = (*TALKINGHEAD, "up", "--port", "0", "--workdir", str(tmp_path / "stack"))
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "another stack runs in" in second.stderr
        processes = [process for name in stack.pids() for process in stack.processes(name)]
    until(lambda: not any(process.is_running() for process in processes), 5.0, "the end of all processes")
    assert json.loads((tmp_path / "stack" / "stack.json").read_text())["processes"] == {}
