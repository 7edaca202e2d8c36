"""Which processes make up a local stack, and when it is ready.

Start-up order does not matter, every process waits for what it needs; those that load longest come first. Every worker
computes with one thread; parallelism is the number of processes.
"""

import fcntl
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.cli.ports import free_port, require_port, usable_cores
from gateway.cli.process import ChildSpec
from gateway.cli.redis_server import redis_spec
from gateway.cli.supervisor import Supervisor
from shared.errors import ConfigurationError, DependencyError
from shared.metrics import GROUP_VARIABLE
from shared.settings import Settings

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
READY_POLL_S = 0.2
SCRATCH = "tmp"
CELERY = ("-m", "celery", "-A", "gateway.tasks")


@dataclass(frozen=True)
class StackOptions:
    """How to run a local stack.

    Attributes:
        workdir: logs, Redis data, artifacts, stack.json.
        host: address of the gateway.
        port: port of the gateway; 0: a free one.
        n_renderers: renderer processes; 0: one less than the cores, at least one.
        redis_url: use this Redis instead of starting one.
        start_timeout_s: how long start-up may take.
    """

    workdir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    n_renderers: int = 0
    redis_url: str = ""
    start_timeout_s: float = 300.0


@contextmanager
def running_stack(options: StackOptions, report: Callable[[str], None]) -> Iterator[tuple[str, Supervisor]]:
    """Run a stack for the duration of a ``with`` block.

    Args:
        options: how to run it.
        report: told in a few words what start-up is waiting for.

    Yields:
        The gateway's base URL and the supervisor, once everything is ready.

    Raises:
        ConfigurationError: port taken, workdir in use or impossible, no redis-server.
        DependencyError: a process keeps failing, or start-up takes too long.
    """
    workdir = _made(options.workdir.resolve())
    with _only_one(workdir):
        shutil.rmtree(workdir / SCRATCH, ignore_errors=True)
        (workdir / SCRATCH).mkdir()
        port = options.port or free_port(options.host)
        require_port(options.host, port)
        redis_port = free_port()
        redis_url = options.redis_url or f"redis://127.0.0.1:{redis_port}/0"
        url = base_url(options.host, port)
        specs = stack_specs(options, port, redis_url)
        if not options.redis_url:
            specs.insert(0, redis_spec(redis_port, workdir / "redis"))
        facts = {"url": url, "redis_url": redis_url, "workdir": str(workdir), "metrics": metrics_urls(specs, url)}
        supervisor = Supervisor(specs, workdir, facts)
        try:
            supervisor.start()
            wait_until_ready(url, supervisor, report, options.start_timeout_s)
            yield url, supervisor
        finally:
            supervisor.stop()


def stack_specs(options: StackOptions, port: int, redis_url: str) -> list[ChildSpec]:
    """The processes of the system, without Redis; a metrics port becomes the first of one per process."""
    workdir = options.workdir.resolve()
    env = _environment(workdir, redis_url)
    python = sys.executable

    first_port = Settings().metrics_port
    metrics_ports = itertools.count(first_port, step=1 if first_port else 0)  # processes of one machine side by side

    def spec(name: str, *arguments: str, **more: str) -> ChildSpec:
        return ChildSpec(name, (python, *arguments), {**env, **more})

    def worker(name: str, *arguments: str, **more: str) -> ChildSpec:
        return spec(name, *arguments, TH_METRICS_PORT=str(next(metrics_ports)), **more)

    def group(name: str) -> dict[str, str]:
        return {GROUP_VARIABLE: str(workdir / SCRATCH / f"metrics-{name}")}

    n_renderers = options.n_renderers or max(1, usable_cores() - 1)
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return [
        worker("audio_encoder", "-m", "services.audio_encoder.worker"),
        worker("motion_dit", "-m", "services.motion_dit.worker"),
        *(worker(f"renderer-{i}", "-m", "services.renderer.worker") for i in range(n_renderers)),
        spec("gateway", *_gateway_arguments(options.host, port), **group("gateway")),
        worker("muxer", "-m", "gateway.muxer"),
        worker("celery", *CELERY, "worker", "--pool", "prefork", "--concurrency", "2", *quiet, **group("celery")),
        worker("beat", *CELERY, "beat", "--pidfile", ""),
    ]


def metrics_urls(specs: Sequence[ChildSpec], url: str) -> dict[str, str]:
    """Where each process of a stack serves its metrics, if it does."""
    host = Settings().metrics_host
    ports = {spec.name: spec.env.get("TH_METRICS_PORT", "0") for spec in specs}
    served = {name: f"{base_url(host, int(port))}/metrics" for name, port in ports.items() if int(port)}
    return {"gateway": f"{url}/metrics", **served}


def wait_until_ready(url: str, supervisor: Supervisor, report: Callable[[str], None], timeout_s: float) -> None:
    """Wait until the gateway says that a worker of every kind is ready.

    Raises:
        DependencyError: a process was given up, or time is over; names what is missing.
    """
    deadline = time.monotonic() + timeout_s
    missing = "the gateway"
    with httpx.Client(base_url=url, timeout=5.0) as client:
        while time.monotonic() < deadline:
            supervisor.check()
            report(missing)
            try:
                response = client.get("/v1/health/ready")
            except httpx.TransportError:
                missing = "the gateway"
            else:
                if response.status_code == httpx.codes.OK:
                    return
                missing = _what_is_missing(response)
            time.sleep(READY_POLL_S)
    raise DependencyError(f"the stack was not ready after {timeout_s:.0f} s; still waiting for {missing}")


def base_url(host: str, port: int) -> str:
    """URL at which a local client reaches the gateway."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{local}:{port}"


def _gateway_arguments(host: str, port: int) -> tuple[str, ...]:
    server = ("-m", "uvicorn", "gateway.app:create_app", "--factory", "--no-access-log")
    return (*server, "--host", host, "--port", str(port), "--timeout-graceful-shutdown", "5")


def _environment(workdir: Path, redis_url: str) -> dict[str, str]:
    libraries = Path(sys.prefix) / "system-libs"
    path = os.pathsep.join(filter(None, (str(libraries), os.environ.get("LD_LIBRARY_PATH", ""))))
    return {
        **dict.fromkeys(ONE_THREAD, "1"),
        **({"LD_LIBRARY_PATH": path} if libraries.exists() else {}),
        "TH_THREADS": os.environ.get("TH_THREADS", "1"),
        "TH_REDIS_URL": redis_url,
        "TH_REDIS_PASSWORD_FILE": "",  # it is in the URL already
        "TH_WORKER_NAME": "",  # one name for several processes would mix up their work
        "TH_ARTIFACTS_URL": os.environ.get("TH_ARTIFACTS_URL", str(workdir / "artifacts")),
        "TMPDIR": str(workdir / SCRATCH),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _what_is_missing(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return f"the gateway (HTTP {response.status_code})"
    missing = [str(name).removeprefix("worker:") for name in body.get("missing", ())]
    return ", ".join(missing) or str(body.get("detail", f"the gateway (HTTP {response.status_code})"))


def _made(workdir: Path) -> Path:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            return workdir
    except OSError as error:
        raise ConfigurationError(
            f"{workdir} cannot be used ({error.strerror}): logs, Redis' data and artifacts go there; name a folder "
            "that can be written with --workdir"
        ) from error


@contextmanager
def _only_one(workdir: Path) -> Iterator[None]:
    with (workdir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"another stack runs in {workdir}; stop it or choose another --workdir") from error
        yield
