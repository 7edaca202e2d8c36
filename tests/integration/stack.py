"""A whole stack under test: started by `talkinghead up` in a folder of its own, observed and killed piece by piece."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from redis import Redis
from redis.exceptions import RedisError

from shared.redis_client import connect

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).parents[2]
PORTRAIT = DATA / "portrait.jpg"
SPEECH = DATA / "speech.flac"
SPEECH_SHORT = DATA / "speech_short.flac"

START_S = 300.0
STOP_S = 60.0
JOB_S = 120.0
POLL_S = 0.01
FINAL = ("succeeded", "failed", "canceled", "expired")
Seen = TypeVar("Seen")


def until(look: Callable[[], Seen | None], timeout_s: float, what: str, poll_s: float = POLL_S) -> Seen:
    """Look until something truthy is seen, and return it.

    Raises:
        TimeoutError: it was not seen in time; says ``what``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(poll_s)


class Stack:
    """The running processes, and a client of their gateway.

    Args:
        workdir: of the supervisor.
        supervisor: the process `talkinghead up`.
    """

    def __init__(self, workdir: Path, supervisor: "subprocess.Popen[bytes]") -> None:
        self.workdir = workdir
        self._supervisor = supervisor
        status = until(self._status, START_S, "the supervisor's stack.json", 0.05)
        self.url: str = status["url"]
        self.redis_url: str = status["redis_url"]
        self.http = httpx.Client(base_url=self.url, timeout=20.0)
        self.redis: Redis = connect(self.redis_url)

    def close(self) -> None:
        """Close the clients, not the stack."""
        self.http.close()
        self.redis.close()

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until a worker of every kind has announced itself."""
        until(self._is_ready, timeout_s, f"readiness of the stack; logs in {self.workdir / 'logs'}", 0.1)

    def pids(self) -> dict[str, int]:
        """Process ids by name, as the supervisor wrote them last."""
        status = self._status()
        return dict(status["processes"]) if status else {}

    def pid(self, name: str) -> int:
        """Process id of one child (``renderer`` means the first one)."""
        wanted = f"{name}-0" if name == "renderer" else name
        return until(lambda: self.pids().get(wanted, 0), START_S, f"a running {wanted}")

    def processes(self, name: str) -> list[psutil.Process]:
        """A child and its own children."""
        process = psutil.Process(self.pid(name))
        return [process, *process.children(recursive=True)]

    def kill(self, name: str) -> None:
        """SIGKILL one child and wait until the supervisor has started another one in its place."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pid(name) != pid, START_S, f"a new {name} in place of {pid}")

    def submit(self, speech: Path = SPEECH_SHORT, portrait: bytes | None = None, **options: object) -> str:
        """Create a job, over the sample portrait unless another is given, and return its id."""
        picture = PORTRAIT.read_bytes() if portrait is None else portrait
        response = self.post(speech.name, speech.read_bytes(), PORTRAIT.name, picture, **options)
        assert response.status_code == 202, response.text
        job = response.json()
        assert response.headers["location"].endswith(f"/v1/jobs/{job['id']}")
        return str(job["id"])

    def post(
        self, audio_name: str, audio: bytes, portrait_name: str, portrait: bytes, **options: object
    ) -> httpx.Response:
        """POST /v1/jobs with these bytes."""
        files = {"portrait": (portrait_name, portrait), "audio": (audio_name, audio)}
        fields = {name: str(value) for name, value in options.items()}
        return self.http.post("/v1/jobs", data=fields, files=files)

    def job(self, job_id: str) -> dict[str, Any]:
        """GET one job."""
        response = self.http.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def wait_final(self, job_id: str, timeout_s: float = JOB_S) -> dict[str, Any]:
        """Wait for the end of a job; rides out a gateway or Redis that is away."""
        return until(lambda: self._final(job_id), timeout_s, f"the end of job {job_id}", 0.05)

    def video(self, job_id: str) -> bytes:
        """GET the finished video."""
        response = self.http.get(f"/v1/jobs/{job_id}/video")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "video/mp4"
        return response.content

    def _final(self, job_id: str) -> dict[str, Any] | None:
        try:
            response = self.http.get(f"/v1/jobs/{job_id}")
        except httpx.TransportError:
            return None
        if response.status_code == 503:
            return None
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job if job["state"] in FINAL else None

    def _is_ready(self) -> bool:
        self._require_alive()
        try:
            return self.http.get("/v1/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _status(self) -> dict[str, Any] | None:
        self._require_alive()
        try:
            status: dict[str, Any] = json.loads((self.workdir / "stack.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return status

    def _require_alive(self) -> None:
        code = self._supervisor.poll()
        assert code is None, f"the supervisor ended with {code}: {_tail(self.workdir / 'supervisor.log')}"


def unseen_portrait() -> bytes:
    """The sample portrait as a file that no stack has seen: bytes after the end of a JPEG change no pixel."""
    return PORTRAIT.read_bytes() + uuid.uuid4().bytes


@contextmanager
def running_stack(
    workdir: Path,
    environment: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
) -> Iterator[Stack]:
    """Start a stack on free ports, wait until it is ready, stop it in the end.

    Args:
        workdir: empty folder.
        environment: variables on top of those of the tests.
        prefix: command that runs the supervisor (to give it a namespace of its own, for example).
        arguments: more words for `talkinghead up`.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    command = (*prefix, sys.executable, "-m", "gateway.cli.main", "up", "--port", "0", "--workdir", str(workdir))
    command += ("--start-timeout", str(START_S), *arguments)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TH_")}
    fast = {"TH_X264_PRESET": "ultrafast", "TH_LOG_FORMAT": "json"}
    with (workdir / "supervisor.log").open("wb") as log:
        supervisor = subprocess.Popen(
            command, env={**clean, **fast, **(environment or {})}, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        stack = Stack(workdir, supervisor)
        try:
            stack.wait_ready()
            yield stack
        finally:
            stack.close()
    finally:
        _stop(supervisor)


def worker_turns(redis: "Redis", job_id: str) -> dict[str, str]:
    """The outstanding units of a job: unit -> entry id, and ``UNIT:tries`` -> how often work on it began."""
    key = f"th:{{{job_id.partition('-')[0]}}}:job:{job_id}:turns"
    try:
        fields: dict[bytes, bytes] = redis.hgetall(key)  # type: ignore[assignment]
    except RedisError:
        return {}
    return {name.decode(): value.decode() for name, value in fields.items()}


def _stop(supervisor: "subprocess.Popen[bytes]") -> None:
    if supervisor.poll() is None:
        supervisor.send_signal(signal.SIGTERM)
    try:
        supervisor.wait(STOP_S)
    finally:
        supervisor.kill()
        supervisor.wait()


def _tail(path: Path, n_lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:]) if path.exists() else ""
