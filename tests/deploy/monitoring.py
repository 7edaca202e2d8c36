"""A real Prometheus over a running stack, with the configuration that ships: only where targets are is replaced."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.cli.ports import free_port
from tests.polling import eventually

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNPACKED = ROOT / ".cache" / "prometheus" / "root" / "usr" / "bin"
READY_S = 30.0
# Names of processes in a local stack -> services of docker-compose.yml, which are jobs of Prometheus.
SERVICES = {"celery": "media"}


def tool(name: str) -> str:
    """Path of prometheus or promtool; ends the test where there is none."""
    found = shutil.which(name, path=str(UNPACKED)) or shutil.which(name)
    if found is None and shutil.which("apt-get") is None:
        pytest.skip(f"no {name} on PATH, and no apt to unpack it with")
    if found is None:
        pytest.fail(f"no {name}: run `sh deploy/prometheus.sh` (`make test` does)")
    return found


def promtool(*words: str, cwd: Path = DEPLOY) -> "subprocess.CompletedProcess[str]":
    """Run promtool."""
    return subprocess.run([tool("promtool"), *words], cwd=cwd, capture_output=True, text=True, check=False)


def load_yaml(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def free_ports(n_ports: int) -> int:
    """The first of some consecutive free ports."""

    def look() -> int:
        first = free_port()
        with ExitStack() as held:
            for port in range(first, first + n_ports):
                probe = held.enter_context(socket.socket())
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError):
                    return 0
        return first

    return eventually(look, what=f"{n_ports} consecutive free ports")


def job_of(process: str) -> str:
    """Job of Prometheus for a process of a local stack: renderer-1 is one of the service renderer."""
    name = process.partition("-")[0]
    return SERVICES.get(name, name)


def local_configuration(stack_file: Path, folder: Path) -> Path:
    """The shipped configuration and rules, with the targets of a local stack and a scrape every second."""
    urls: Mapping[str, str] = json.loads(stack_file.read_text())["metrics"]
    config = load_yaml(DEPLOY / "prometheus.yml")
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["alerting"] = {}
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        targets = [httpx.URL(url).netloc.decode() for name, url in urls.items() if job_of(name) == job["job_name"]]
        job["static_configs"] = [{"targets": targets}]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["static_configs"][0]["targets"]]
    shutil.copy(DEPLOY / "alerts.yml", folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


class Prometheus:
    """The HTTP interface of a running Prometheus.

    Args:
        url: of its root.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10.0)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """True once it answers queries."""
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now: (labels, value) of every series; fails unless the status is success."""
        answer = self._http.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        assert answer["data"]["resultType"] == "vector", expr
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def value(self, expr: str) -> float:
        """The only value of an expression; NaN when there is none."""
        found = self.query(expr)
        assert len(found) <= 1, (expr, found)
        return found[0][1] if found else float("nan")

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped."""
        active: list[dict[str, Any]] = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return active

    def rules(self) -> list[dict[str, Any]]:
        """Alert rules with their state and health."""
        groups: Sequence[dict[str, Any]] = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def running_prometheus(config: Path, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus with a configuration for the duration of a ``with`` block."""
    port = free_port()
    command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(prometheus.is_ready, READY_S, f"Prometheus, see {folder / 'prometheus.log'}")
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        process.wait()
