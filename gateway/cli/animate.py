"""`talkinghead animate`: one job from two files to a video, with a progress bar and measured times."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli.client import Event, GatewayClient
from gateway.cli.media_type import IMAGE, SOUND, require_kind
from gateway.cli.stack import StackOptions, running_stack
from shared.errors import InputError, TalkingHeadError
from shared.timeline import FPS


@dataclass(frozen=True)
class AnimateOptions:
    """What the user asked for.

    Attributes:
        portrait: image file.
        audio: sound file.
        out: mp4 to write.
        url: gateway to use; empty: a private stack, stopped afterwards.
        fields: job options as form fields.
        is_quiet: no progress display, only the JSON line.
    """

    portrait: Path
    audio: Path
    out: Path
    url: str
    fields: dict[str, str]
    is_quiet: bool


@dataclass(frozen=True)
class Measures:
    """What was made and how fast; the stack was warm before the clock started.

    Attributes:
        frames: video frames.
        seconds: seconds of video.
        realtime_speed: seconds of video per second from acceptance to the finished video.
        first_frame_s: seconds from acceptance to the first frame event.
    """

    frames: int
    seconds: float
    realtime_speed: float
    first_frame_s: float | None


def animate(options: AnimateOptions) -> Measures:
    """Make the video; prints the measures as one JSON line, the last on stdout.

    Raises:
        InputError: a file is missing or of the wrong kind, or the output folder does not exist.
        TalkingHeadError: whatever the gateway or the stack says.
    """
    require_kind(options.portrait, IMAGE)
    require_kind(options.audio, SOUND)
    if not options.out.absolute().parent.is_dir():
        raise InputError(f"{options.out.absolute().parent}: no such folder for the video")
    with _display(options.is_quiet) as display, _gateway(options.url, display) as url, GatewayClient(url) as client:
        measures = run_job(client, options, display)
    if not options.is_quiet:
        print(f"{options.out}: {measures.seconds:.2f} s of video, made {measures.realtime_speed:.2f} times real time")
    print(json.dumps({key: _rounded(value) for key, value in asdict(measures).items()}))
    sys.stdout.flush()
    return measures


def run_job(client: GatewayClient, options: AnimateOptions, display: "Display") -> Measures:
    """Submit, follow and download one job.

    Raises:
        TalkingHeadError: the job failed; the message is the job's own.
    """
    display.say("submitting")
    job_id = str(client.submit(options.portrait, options.audio, options.fields)["id"])
    accepted_s = time.monotonic()
    first_frame_s: float | None = None
    last = Event("", "", {})
    for event in client.events(job_id):
        if event.name == "frame" and first_frame_s is None:
            first_frame_s = time.monotonic() - accepted_s
        display.follow(event)
        last = event
    total_s = time.monotonic() - accepted_s
    if last.name == "job.error":
        raise TalkingHeadError(_reason(last.data))
    display.say("saving")
    client.save_video(job_id, options.out)
    frames = int(last.data["progress"]["frames_total"])
    return Measures(frames, frames / FPS, frames / FPS / total_s, first_frame_s)


class Display:
    """Progress on stderr: what is being waited for, then frames of the video.

    Args:
        progress: where it is drawn; None shows nothing.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: TaskID | None = progress.add_task("starting", total=None) if progress is not None else None

    def say(self, words: str) -> None:
        """Name the current step."""
        self._update(description=words)

    def waiting_for(self, missing: str) -> None:
        """Name what start-up waits for."""
        self.say(f"starting the local stack, waiting for {missing}")

    def follow(self, event: Event) -> None:
        """Show an event of the job."""
        if event.name == "job.progress":
            self._update(total=event.data["frames_total"])
        elif event.name == "frame":
            self._update(description="speaking", completed=event.data["index"] + 1)
        elif event.name == "job.state":
            self.say(str(event.data.get("state", "")))

    def _update(self, **changes: Any) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, **changes)


@contextmanager
def _display(is_quiet: bool) -> Iterator[Display]:
    if is_quiet:
        yield Display(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} frames"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield Display(progress)


@contextmanager
def _gateway(url: str, display: Display) -> Iterator[str]:
    if url:
        yield url
        return
    workdir = Path(tempfile.mkdtemp(prefix="talkinghead-"))
    try:
        with running_stack(StackOptions(workdir, port=0), display.waiting_for) as (own_url, _):
            yield own_url
    finally:
        shutil.rmtree(workdir, ignore_errors=True)


def _reason(data: dict[str, Any]) -> str:
    error = data.get("error") or data
    if isinstance(error, str):
        return error
    text = error.get("detail") or error.get("message") or error.get("title") or "the job did not succeed"
    return f"{text} ({error['code']})" if error.get("code") else str(text)


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if isinstance(value, float) else value
