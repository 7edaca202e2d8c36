"""`talkinghead demo`: ports, addresses, and the page's process from start to stop."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.cli.demo import port_near
from gateway.cli.main import main
from gateway.cli.ports import free_port
from shared.errors import ConfigurationError
from tests.polling import eventually

UNUSED_URL = "http://127.0.0.1:9"
START_S = 120.0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_a_free_port_is_kept() -> None:
    port = free_port()
    assert port_near("127.0.0.1", port) == port


def test_a_taken_port_is_replaced_and_zero_is_any(taken_port: int) -> None:
    assert port_near("127.0.0.1", taken_port) not in (0, taken_port)
    assert port_near("127.0.0.1", 0) > 0


def test_an_address_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        port_near("192.0.2.1", 9995)
    assert main(("demo", "--url", UNUSED_URL, "--host", "192.0.2.1")) == 1
    assert "cannot listen on" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_runs_before_its_gateway_and_stops_without_a_trace(taken_port: int, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "gateway.cli.main", "demo", "--url", UNUSED_URL, "--port", str(taken_port))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        eventually(lambda: any("ready: open" in line for line in said), START_S, "the page's address")
        url = next(word for line in said if "ready: open" in line for word in line.split() if word.startswith("http"))
        assert any(f"port {taken_port} is taken" in line for line in said)
        assert httpx.get(f"{url}/health/live").json() == {"status": "live"}
        assert httpx.get(f"{url}/gateway/ready").json()["code"] == "gateway_unreachable"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=START_S)
        reader.join()
    assert process.returncode == 130
    assert "Traceback" not in "".join(said)
    assert list(tmp_path.iterdir()) == []
