"""Finds and describes the Redis server of a local stack: append-only file, loopback, nothing evicted.

Knows how to mend an append-only file: Redis 7.0 cuts a file that was torn inside a transaction at the last whole
command, so half a script would be applied; ``redis-check-aof --fix`` cuts before the transaction instead.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from gateway.cli.process import ChildSpec
from shared.errors import ConfigurationError

MAX_MEMORY = "1gb"
STOP_RANK = 1


def redis_spec(port: int, data_dir: Path) -> ChildSpec:
    """Describe a Redis server on loopback that survives SIGKILL with its data.

    Args:
        port: free TCP port.
        data_dir: folder of the append-only file; created if missing.

    Raises:
        ConfigurationError: no redis-server on this machine.
    """
    server = find_redis_server()
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(data_dir),
        "--save": "",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory": MAX_MEMORY,
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    command = (server, *(word for option in options.items() for word in option))
    return ChildSpec("redis", command, prepare=lambda: mend_append_only_file(server, data_dir), stop_rank=STOP_RANK)


def find_redis_server() -> str:
    """Path of redis-server: from PATH, else the one that setup put beside this interpreter.

    Raises:
        ConfigurationError: there is none.
    """
    beside = Path(sys.executable).parent / "redis-server"
    found = shutil.which("redis-server") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ConfigurationError(
            "redis-server was not found on PATH nor beside this Python; run `make setup`, install redis-server, "
            "or set TH_REDIS_URL to a running Redis"
        )
    return found


def mend_append_only_file(server: str, data_dir: Path) -> None:
    """Cut a torn end off the append-only file before the server reads it; do nothing if there is no file.

    Args:
        server: path of redis-server; the checker is the same program under another name.
        data_dir: folder given to the server.
    """
    candidates = (data_dir / "appendonlydir" / "appendonly.aof.manifest", data_dir / "appendonly.aof")
    for path in (candidate for candidate in candidates if candidate.exists()):
        checker = Path(server).with_name("redis-check-aof")
        executable = str(checker) if checker.exists() else server
        subprocess.run(
            ["redis-check-aof", "--fix", str(path)],
            executable=executable,
            input=b"y\n",
            capture_output=True,
            check=False,  # a file beyond repair: the server itself says so, into its log
        )
