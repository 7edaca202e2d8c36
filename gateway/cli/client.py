"""Plain HTTP client of the gateway: submit a job, follow its events, save its video.

Knows the HTTP contract only, nothing of Redis or the workers.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from shared.errors import DependencyError, TalkingHeadError

MAX_RECONNECTS = 20
RECONNECT_S = 0.5
TIMEOUT = httpx.Timeout(30.0, read=60.0)
ENDS = ("job.done", "job.error")


@dataclass(frozen=True)
class Event:
    """One server-sent event: name, frame index or empty, decoded JSON data."""

    name: str
    id: str
    data: dict[str, Any]


class GatewayClient:
    """Talks to one gateway; use it as a context manager.

    Args:
        url: base URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(base_url=self._url, timeout=TIMEOUT)

    def __enter__(self) -> "GatewayClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, portrait: Path, audio: Path, options: dict[str, str]) -> dict[str, Any]:
        """Create a job.

        Args:
            portrait: image file.
            audio: sound file.
            options: form fields by name, see `gateway/options.py`.

        Returns:
            The job resource.

        Raises:
            TalkingHeadError: the gateway refused it, in its own words.
            DependencyError: the gateway cannot be reached.
        """
        with ExitStack() as files:
            parts = {
                "portrait": (portrait.name, files.enter_context(portrait.open("rb"))),
                "audio": (audio.name, files.enter_context(audio.open("rb"))),
            }
            response = self._request("POST", "/v1/jobs", data=options, files=parts)
        job: dict[str, Any] = response.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job resource."""
        job: dict[str, Any] = self._request("GET", f"/v1/jobs/{job_id}").json()
        return job

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self._request("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str) -> Iterator[Event]:
        """Follow a job to its end; reconnects and continues after the last frame seen.

        Raises:
            DependencyError: the connection broke too often.
        """
        last_id, failures = "", 0
        while failures <= MAX_RECONNECTS:
            try:
                for event in self._event_stream(job_id, last_id):
                    last_id, failures = event.id or last_id, 0
                    yield event
                    if event.name in ENDS:
                        return
            except httpx.TransportError:
                pass
            failures += 1
            time.sleep(RECONNECT_S)
        raise DependencyError(f"lost the events of job {job_id} at {self._url}; the job may still be running there")

    def save_video(self, job_id: str, out: Path) -> None:
        """Download the finished video; `out` appears only when complete."""
        part = out.with_name(f".{out.name}.part")
        try:
            with self._http.stream("GET", f"/v1/jobs/{job_id}/video") as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                with part.open("wb") as file:
                    for block in response.iter_bytes():
                        file.write(block)
            part.replace(out)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _event_stream(self, job_id: str, last_id: str) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        with self._http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return
            if response.is_error:
                response.read()
                raise refusal(response)
            yield from parse_events(response.iter_lines())

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise refusal(response)
        return response

    def _unreachable(self, error: httpx.TransportError) -> DependencyError:
        return DependencyError(
            f"no answer from {self._url} ({error}); is a stack running there? start it: talkinghead up"
        )


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from lines without line ends; comments are dropped."""
    name, event_id, data = "", "", [""]
    data.clear()
    for line in lines:
        if not line:
            if data:
                yield Event(name or "message", event_id, json.loads("\n".join(data)))
            name, event_id, data = "", "", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "id":
            event_id = value
        elif key == "data":
            data.append(value)


def refusal(response: httpx.Response) -> TalkingHeadError:
    """The gateway's problem document as an error with its words."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    text = problem.get("detail") or problem.get("title") or response.reason_phrase
    code = problem.get("code")
    return TalkingHeadError(f"{text} (HTTP {response.status_code}{f', {code}' if code else ''})")
