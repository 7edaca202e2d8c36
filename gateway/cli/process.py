"""One supervised process: start, notice its death, restart with back-off, stop.

A child lives in a process group of its own, so that Ctrl-C reaches the supervisor only and a stop reaches the child's
own children too. The kernel kills it when the supervisor dies, whatever the reason: no orphan is left.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
MAX_FAILED_STARTS = 4
SETTLED_S = 20.0
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0
KILLED_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)


@dataclass(frozen=True)
class ChildSpec:
    """What to run.

    Attributes:
        name: unique in the stack; also the name of the log file.
        command: program and arguments.
        env: variables on top of the supervisor's own.
        prepare: called before every start, the first included.
        stop_rank: higher ranks are stopped later (Redis last).
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    stop_rank: int = 0


class Child:
    """A running `ChildSpec`; `step` keeps it alive."""

    def __init__(self, spec: ChildSpec, log_dir: Path) -> None:
        self.spec = spec
        self.log_path = log_dir / f"{spec.name}.log"
        self.n_restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._failed_starts = 0
        self._backoff_s = FIRST_BACKOFF_S

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, now_s: float) -> None:
        """Start the process now."""
        if self.spec.prepare is not None:
            self.spec.prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *self.spec.command),
                env={**os.environ, **self.spec.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._started_s = now_s

    def step(self, now_s: float) -> str | None:
        """Notice a death, restart when the back-off is over.

        Args:
            now_s: monotonic clock, seconds.

        Returns:
            None, or why this child is given up.
        """
        if self._process is None:
            if now_s >= self._start_at_s:
                self.start(now_s)
            return None
        code = self._process.poll()
        if code is None:
            if now_s - self._started_s >= SETTLED_S:
                self._failed_starts, self._backoff_s = 0, FIRST_BACKOFF_S
            return None
        self._bury(code, now_s)
        if self._failed_starts >= MAX_FAILED_STARTS:
            return f"{self.spec.name} ended {self._failed_starts} times soon after its start, last with {_words(code)}"
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its own children, if it runs."""
        if self._process is not None and self._process.poll() is None:
            _signal_group(self._process.pid, number)

    def is_gone(self) -> bool:
        """True once no process is left; kills what an ended process left in its group."""
        if self._process is None:
            return True
        if self._process.poll() is None:
            return False
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process = None
        return True

    def log_tail(self, n_lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-n_lines:])

    def _bury(self, code: int, now_s: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process.pid, signal.SIGKILL)
        is_failed_start = now_s - self._started_s < SETTLED_S and code not in KILLED_FROM_OUTSIDE
        self._failed_starts = self._failed_starts + 1 if is_failed_start else 0
        self.n_restarts += 1
        self._start_at_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)
        with self.log_path.open("a") as log:
            log.write(f"--- supervisor: {self.spec.name} ended with {_words(code)}, starting it again\n")


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
