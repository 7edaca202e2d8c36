"""A viewer of one job: reads server-sent events in a thread, reconnects with Last-Event-ID, remembers what it saw."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

FRAME, GAP = "frame", "gap"
ENDS = ("job.done", "job.error")
RECONNECT_S = 0.1
FRAME_PERIOD_S = 0.04


@dataclass(frozen=True)
class Event:
    """One server-sent event, with its arrival on the monotonic clock."""

    name: str
    id: str | None
    data: dict[str, Any]
    at_s: float


@dataclass(frozen=True)
class Frame:
    """One frame event: index, SHA-256 and size of its JPEG, arrival time, number of the connection it came by."""

    index: int
    sha256: str
    n_bytes: int
    at_s: float
    connection: int


class Viewer:
    """Follows a job to its end.

    Args:
        url: of the gateway.
        job_id: the job.
        after: frame to continue after (Last-Event-ID), or None.
        is_paced: take frames no faster than they are played, as a browser that plays them does.
        keep_jpegs: keep the pictures too.
    """

    def __init__(
        self, url: str, job_id: str, after: int | None = None, *, is_paced: bool = False, keep_jpegs: bool = False
    ) -> None:
        self.url = url
        self.job_id = job_id
        self.last_id = after
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.jpegs: list[bytes] = []
        self.connections = 0
        self.failure: BaseException | None = None
        self._is_paced = is_paced
        self._keep_jpegs = keep_jpegs
        self._started_s = time.monotonic()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"viewer {job_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave before the end."""
        self._stopping.set()
        self._thread.join(30.0)

    def wait_for(self, seen: Callable[["Viewer"], object], timeout_s: float, what: str) -> None:
        """Wait until something was seen.

        Raises:
            TimeoutError: it was not seen in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.failure is not None or bool(seen(self)), timeout_s):
                raise TimeoutError(f"not within {timeout_s:.0f} s: {what}; {len(self.frames)} frames seen")
        if self.failure is not None:
            raise self.failure

    def wait_frame(self, index: int, timeout_s: float = 60.0) -> None:
        """Wait until this frame was seen."""
        self.wait_for(lambda v: v.frames and v.frames[-1].index >= index, timeout_s, f"frame {index}")

    def wait_end(self, timeout_s: float = 120.0) -> Event:
        """Wait for the end of the job and return its event."""
        self.wait_for(lambda v: v.end, timeout_s, "the end of the job")
        assert self.end is not None
        return self.end

    @property
    def end(self) -> Event | None:
        """The event that ended the job, if it was seen."""
        return self.events[-1] if self.events and self.events[-1].name in ENDS else None

    @property
    def indices(self) -> list[int]:
        """Frame indices in the order of arrival."""
        return [frame.index for frame in self.frames]

    @property
    def hashes(self) -> list[str]:
        """SHA-256 of the JPEGs in the order of arrival."""
        return [frame.sha256 for frame in self.frames]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The announced gaps."""
        return [event.data for event in self.events if event.name == GAP]

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and self.end is None:
                with suppress(httpx.TransportError):
                    self._follow_once()
                self._stopping.wait(0.0 if self.end else RECONNECT_S)
        except BaseException as error:  # noqa: BLE001 - handed to the waiting test
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def _follow_once(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = str(self.last_id)
        path = f"{self.url}/v1/jobs/{self.job_id}/events"
        timeout = httpx.Timeout(20.0, read=30.0)
        with httpx.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.status_code == 503:
                return
            response.read() if response.is_error else None
            assert response.status_code == 200, response.text
            assert response.headers["content-type"].startswith("text/event-stream")
            self.connections += 1
            for event in parse(response.iter_lines()):
                self._take(event)
                if self._stopping.is_set() or event.name in ENDS:
                    return

    def _take(self, event: Event) -> None:
        with self._changed:
            if event.name == FRAME:
                self._take_frame(event)
            else:
                self.events.append(event)
            self._changed.notify_all()
        if event.name == FRAME and self._is_paced:
            due_s = self.frames[0].at_s + len(self.frames) * FRAME_PERIOD_S
            self._stopping.wait(max(0.0, due_s - time.monotonic()))

    def _take_frame(self, event: Event) -> None:
        jpeg = base64.b64decode(event.data["jpeg"], validate=True)
        assert jpeg[:2] == b"\xff\xd8", "a frame is a JPEG"
        index = int(event.data["index"])
        assert event.id == str(index), "the id of a frame event is its index"
        self.last_id = index
        self.frames.append(Frame(index, hashlib.sha256(jpeg).hexdigest(), len(jpeg), event.at_s, self.connections))
        if self._keep_jpegs:
            self.jpegs.append(jpeg)


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events of a response; comments (heartbeats) are dropped."""
    name, event_id, data = "message", None, list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name, event_id, json.loads("\n".join(data)), time.monotonic())
            name, event_id, data = "message", None, []
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
        elif field == "data":
            data.append(value)
