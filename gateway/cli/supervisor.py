"""Keeps a set of processes running until it is told to stop.

Knows nothing of what they do: `stack.py` says which ones there are. A child that dies is started again; one that keeps
failing right after its start ends the whole stack with the tail of its log.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.cli.process import Child, ChildSpec
from shared.errors import DependencyError

POLL_S = 0.05
STATUS_FILE = "stack.json"


class Supervisor:
    """Starts, watches and stops child processes from one thread of its own.

    Args:
        specs: the children, in start order.
        workdir: holds logs/NAME.log and the status file stack.json.
        facts: written into the status file as they are (URLs).
    """

    def __init__(self, specs: Sequence[ChildSpec], workdir: Path, facts: Mapping[str, object] | None = None) -> None:
        log_dir = workdir / "logs"
        log_dir.mkdir(parents=True, exist_ok=True)
        self._workdir = workdir
        self._facts = dict(facts or {})
        self._children = [Child(spec, log_dir) for spec in specs]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._failure: str | None = None
        self._written: dict[str, int] | None = None
        self._grace_s = 10.0

    def start(self) -> None:
        """Start all children and watch them in the background."""
        self._thread.start()

    def pids(self) -> dict[str, int]:
        """Process ids of the running children by name."""
        return {child.spec.name: child.pid for child in self._children if child.pid is not None}

    def restarts(self) -> dict[str, int]:
        """How often each child was started again."""
        return {child.spec.name: child.n_restarts for child in self._children}

    def check(self) -> None:
        """Raise if a child was given up.

        Raises:
            DependencyError: names the child and shows the end of its log.
        """
        if self._failure is not None:
            raise DependencyError(self._failure)

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop all children: SIGTERM so that they drain, SIGKILL after the grace time; lower ranks first.

        Args:
            grace_s: seconds a rank may take.
        """
        self._grace_s = grace_s
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        # One thread starts and stops all: the kernel kills a child when the *thread* that started it ends.
        while not self._stopping.wait(POLL_S):
            if self._failure is None:
                self._failure = self._step()
                self._write_status()
        for rank in sorted({child.spec.stop_rank for child in self._children}):
            self._stop_rank([child for child in self._children if child.spec.stop_rank == rank], self._grace_s)
        self._write_status()

    def _step(self) -> str | None:
        for child in self._children:
            try:
                reason = child.step(time.monotonic())
            except OSError as error:
                reason = f"{child.spec.name} cannot be started: {error}"
            if reason is not None:
                return f"{reason}. End of {child.log_path}:\n{child.log_tail()}"
        return None

    def _stop_rank(self, children: Sequence[Child], grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        for child in children:
            child.signal(signal.SIGTERM)
        left = [child for child in children if not child.is_gone()]
        while left and time.monotonic() < deadline:
            time.sleep(POLL_S)
            left = [child for child in left if not child.is_gone()]
        for child in left:
            child.signal(signal.SIGKILL)
        while left:
            time.sleep(POLL_S)
            left = [child for child in left if not child.is_gone()]

    def _write_status(self) -> None:
        pids = self.pids()
        if pids == self._written:
            return
        self._written = pids
        status = {**self._facts, "supervisor": os.getpid(), "processes": pids}
        temporary = self._workdir / f".{STATUS_FILE}"
        temporary.write_text(json.dumps(status, indent=2) + "\n")
        temporary.replace(self._workdir / STATUS_FILE)
