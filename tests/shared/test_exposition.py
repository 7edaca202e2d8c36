"""Metrics of a group of processes add up, the dead are forgotten, a GPU is read when there is one."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from shared import exposition
from shared.exposition import Cuda, export_device
from tests.metric_values import Samples
from tests.polling import eventually

# Counts, opens two event streams, says so, and waits to be ended.
MEMBER = """
import sys
from shared import metrics
metrics.announce(["render"])
metrics.messages_total.labels("render", "done").inc(int(sys.argv[1]))
metrics.stage_duration_seconds.labels("render").observe(0.03)
metrics.viewers.inc(2)
print("counted", flush=True)
sys.stdin.read()
"""
SCRAPE = """
from prometheus_client import generate_latest
from shared.exposition import registry
print(generate_latest(registry()).decode())
"""


class Group:
    """Processes that count into one folder."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.members: list[subprocess.Popen[str]] = []

    def add(self, n_messages: int) -> "subprocess.Popen[str]":
        """Start one and wait until it has counted."""
        command = [sys.executable, "-c", MEMBER, str(n_messages)]
        pipe = subprocess.PIPE
        member = subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, text=True)
        self.members.append(member)
        assert member.stdout is not None
        assert member.stdout.readline() == "counted\n"
        return member

    def scrape(self) -> Samples:
        """What any process of the group would answer."""
        command = [sys.executable, "-c", SCRAPE]
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return Samples(answer.stdout)

    def end(self) -> None:
        """End all that is left."""
        for member in self.members:
            member.communicate()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    made = Group(tmp_path / "not" / "there" / "yet")
    yield made
    made.end()


def test_a_group_adds_up_and_forgets_what_a_killed_process_was_doing(group: Group) -> None:
    first, _ = group.add(3), group.add(4)
    told = group.scrape()
    assert told.value("messages_total", stage="render", outcome="done") == 7
    assert told.value("stage_duration_seconds_count", stage="render") == 2
    assert told.value("stage_duration_seconds_bucket", stage="render", le="0.04") == 2
    assert told.value("stage_duration_seconds_bucket", stage="render", le="0.02") == 0
    assert told.value("viewers") == 4
    assert told.value("build_info") == 1
    assert "process_resident_memory_bytes" in told.by_name
    first.send_signal(signal.SIGKILL)
    first.wait()
    group.add(5)
    after = group.scrape()
    assert after.value("messages_total", stage="render", outcome="done") == 12, "counts of the dead stay"
    assert after.value("viewers") == 4, "its open streams do not"


def test_a_process_of_its_own_hands_out_its_own() -> None:
    assert exposition.registry() is REGISTRY


def test_no_gpu_no_series() -> None:
    assert b"talkinghead_device" not in generate_latest(REGISTRY)


class Card:
    """The numbers that `torch.cuda` gives for a card with 80 GB, of which other processes use some.

    Args:
        busy_percent: None where NVML is missing.
    """

    def __init__(self, busy_percent: int | None) -> None:
        self.busy_percent = busy_percent
        self.n_asked = 0

    def mem_get_info(self, device: int) -> tuple[int, int]:
        return 60_000_000_000, 80_000_000_000

    def memory_allocated(self, device: int) -> int:
        return 3_000_000_000

    def memory_reserved(self, device: int) -> int:
        return 5_000_000_000

    def utilization(self, device: int) -> int:
        self.n_asked += 1
        if self.busy_percent is None:
            raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")
        return self.busy_percent


def scraped_device(cuda: Cuda, device: int) -> Samples:
    registry = CollectorRegistry()
    export_device(cuda, device, registry)
    return Samples(generate_latest(registry).decode())


def test_device_memory_is_told_by_what_it_is_for() -> None:
    told = scraped_device(Card(37), 1)
    found = {kind: told.value("device_memory_bytes", device="1", kind=kind) for kind in ("allocated", "used", "total")}
    assert found == {"allocated": 3e9, "used": 20e9, "total": 80e9}
    assert told.value("device_utilisation_ratio", device="1") == pytest.approx(0.37)


def test_utilisation_is_left_out_where_nvml_is_missing() -> None:
    card = Card(None)
    registry = CollectorRegistry()
    export_device(card, 0, registry)
    for _ in range(3):
        told = Samples(generate_latest(registry).decode())
        assert told.value("device_utilisation_ratio") is None
        assert told.value("device_memory_bytes", kind="reserved") == 5e9
    assert card.n_asked == 1


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_real_device_is_read() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    registry = CollectorRegistry()
    export_device(torch.cuda, 0, registry)
    held = torch.zeros(64, 1 << 20, device="cuda")
    told = Samples(generate_latest(registry).decode())
    assert (told.value("device_memory_bytes", kind="allocated") or 0) >= held.nbytes
    used, total = (told.value("device_memory_bytes", kind=kind) or 0 for kind in ("used", "total"))
    assert held.nbytes < used < total
    if importlib.util.find_spec("pynvml") is None:
        return

    def is_busy() -> bool:
        torch.mm(torch.ones(4096, 4096, device="cuda"), torch.ones(4096, 4096, device="cuda")).sum().item()
        return (Samples(generate_latest(registry).decode()).value("device_utilisation_ratio") or 0) > 0

    eventually(is_busy, 10.0, "a device at work")
