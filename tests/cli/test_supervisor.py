"""The supervisor on tiny real processes: restart, give up, clean stop, no orphans."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.process import ChildSpec
from gateway.cli.supervisor import Supervisor
from shared.errors import DependencyError

pytestmark = pytest.mark.stack
FOREVER = "import time\nprint('alive', flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
POLITE = (
    "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\n"
    + FOREVER
)
PARENT = (
    f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True)\n{FOREVER}"
)


def spec(name: str, code: str, stop_rank: int = 0) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code), stop_rank=stop_rank)


@contextmanager
def supervised(workdir: Path, *specs: ChildSpec) -> Iterator[Supervisor]:
    supervisor = Supervisor(specs, workdir, {"url": "http://127.0.0.1:1"})
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop(grace_s=2)


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def log(workdir: Path, name: str) -> str:
    path = workdir / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_killed_child_is_started_again_and_the_status_file_follows(tmp_path: Path) -> None:
    with supervised(tmp_path, spec("a", FOREVER), spec("b", FOREVER)) as supervisor:
        wait_for(lambda: log(tmp_path, "a").count("alive") == 1 and "b" in supervisor.pids())
        before = supervisor.pids()
        os.kill(before["a"], signal.SIGKILL)
        wait_for(lambda: log(tmp_path, "a").count("alive") == 2)
        wait_for(lambda: json.loads((tmp_path / "stack.json").read_text())["processes"] == supervisor.pids())
        after = supervisor.pids()
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]
        assert supervisor.restarts() == {"a": 1, "b": 0}
        supervisor.check()
    status = json.loads((tmp_path / "stack.json").read_text())
    assert status["processes"] == {}
    assert status["url"] == "http://127.0.0.1:1"


def test_a_child_that_keeps_failing_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    bad = spec("bad", "import sys\nprint('weights do not fit')\nsys.exit(3)")
    with supervised(tmp_path, bad, spec("good", FOREVER)) as supervisor:

        def gave_up() -> bool:
            try:
                supervisor.check()
            except DependencyError:
                return True
            return False

        wait_for(gave_up)
        with pytest.raises(DependencyError, match=r"bad ended 4 times .* exit code 3(.|\n)*weights do not fit"):
            supervisor.check()
        assert "good" in supervisor.pids()


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with supervised(tmp_path, ChildSpec("ghost", (str(tmp_path / "ghost"),))) as supervisor:
        wait_for(lambda: "FileNotFoundError" in log(tmp_path, "ghost"))
        wait_for(lambda: supervisor.restarts()["ghost"] >= 4)
        with pytest.raises(DependencyError, match="ghost ended 4 times"):
            supervisor.check()


def test_stop_drains_first_kills_later_and_keeps_the_order(tmp_path: Path) -> None:
    last = spec("last", POLITE, stop_rank=1)
    with supervised(tmp_path, last, spec("polite", POLITE), spec("stubborn", STUBBORN)) as supervisor:
        wait_for(lambda: all("alive" in log(tmp_path, name) for name in ("last", "polite", "stubborn")))
        pids = supervisor.pids()
    assert not any(is_running(pid) for pid in pids.values())
    assert "drained" in log(tmp_path, "polite")
    assert "drained" in log(tmp_path, "last")
    polite, final = (tmp_path / "logs" / f"{name}.log" for name in ("polite", "last"))
    assert final.stat().st_mtime_ns > polite.stat().st_mtime_ns


def test_children_of_a_child_are_stopped_too(tmp_path: Path) -> None:
    with supervised(tmp_path, spec("parent", PARENT)):
        wait_for(lambda: log(tmp_path, "parent").count("alive") == 2)
        grandchild = int(log(tmp_path, "parent").split()[0])
        assert is_running(grandchild)
    wait_for(lambda: not is_running(grandchild))


def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gateway.cli.process import ChildSpec\n"
        "from gateway.cli.supervisor import Supervisor\n"
        f"s = Supervisor([ChildSpec('a', (sys.executable, '-c', {STUBBORN!r}))], Path({str(tmp_path)!r}))\n"
        "s.start()\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: "alive" in log(tmp_path, "a"))
        pid = int(json.loads((tmp_path / "stack.json").read_text())["processes"]["a"])
        assert is_running(pid)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not is_running(pid))
