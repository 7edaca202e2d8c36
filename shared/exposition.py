"""How a process hands out its metrics: alone, or for all processes of its group.

Processes that fork or are forked (Celery's children, several uvicorn workers) count into files of a common folder, the
one that PROMETHEUS_MULTIPROC_DIR names; whichever of them is scraped answers with the sum. The launcher gives each
group an empty folder of its own. Counts of a process that ended stay in the sum; what it was doing at the moment
(open streams) is forgotten. Metrics of a CUDA device come from the module that a worker hands in: nothing here
imports torch.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from shared.errors import ConfigurationError
from shared.metrics import GROUP_VARIABLE, device_memory_bytes, device_utilisation_ratio

log = structlog.get_logger(__name__)


class Cuda(Protocol):
    """What is asked of `torch.cuda`."""

    def mem_get_info(self, device: int) -> tuple[int, int]:
        """Free and total bytes of the device."""

    def memory_allocated(self, device: int) -> int:
        """Bytes in tensors of this process."""

    def memory_reserved(self, device: int) -> int:
        """Bytes that this process keeps for tensors."""

    def utilization(self, device: int) -> int:
        """Percent of the last sample period in which a kernel ran; needs NVML."""


def registry() -> CollectorRegistry:
    """The metrics of this process, or of its whole group."""
    folder = os.environ.get(GROUP_VARIABLE)
    if not folder:
        return REGISTRY
    made = CollectorRegistry()
    made.register(_Group(Path(folder)))
    ProcessCollector(registry=made)
    return made


def serve_metrics(host: str, port: int) -> None:
    """Answer scrapes from a thread of this process.

    Args:
        host: address to bind.
        port: port to bind; 0: do nothing.

    Raises:
        ConfigurationError: the port is taken.
    """
    if not port:
        return
    try:
        start_http_server(port, host, registry())
    except OSError as error:
        raise ConfigurationError(
            f"metrics cannot be served at {host}:{port}: {error.strerror}. Set TH_METRICS_PORT to a free port, or to 0."
        ) from error


def export_device(cuda: Cuda, device: int, target: CollectorRegistry = REGISTRY) -> None:
    """Add memory and utilisation of a CUDA device to this process's metrics, read at every scrape.

    Args:
        cuda: the module `torch.cuda`.
        device: index of the device that this process uses.
        target: where to add them.
    """
    target.register(_Device(cuda, device))


class _Group(Collector):
    """The sum over a folder's processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sum = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Forget what dead processes were doing, then add up."""
        for path in self._folder.glob("gauge_live*.db"):
            pid = int(path.stem.rpartition("_")[2])
            if not _is_alive(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        yield from self._sum.collect()  # type: ignore[no-untyped-call]


class _Device(Collector):
    """One CUDA device."""

    def __init__(self, cuda: Cuda, device: int) -> None:
        self._cuda = cuda
        self._device = device
        self._has_nvml = True

    def collect(self) -> Iterable[Metric]:
        """Read memory, and utilisation where NVML is there."""
        name = str(self._device)
        free, total = self._cuda.mem_get_info(self._device)
        memory = {
            "allocated": self._cuda.memory_allocated(self._device),
            "reserved": self._cuda.memory_reserved(self._device),
            "used": total - free,
            "total": total,
        }
        yield device_memory_bytes.family(((name, kind), float(n_bytes)) for kind, n_bytes in memory.items())
        busy = self._utilisation()
        if busy is not None:
            yield device_utilisation_ratio.family([((name,), busy)])

    def _utilisation(self) -> float | None:
        if not self._has_nvml:
            return None
        try:
            return self._cuda.utilization(self._device) / 100
        except Exception as error:  # noqa: BLE001 - NVML's own error tree is in a package that may be missing
            # No package nvidia-ml-py, no library in the container, or a slice of a GPU, which has no such number.
            log.warning("device.utilisation_unknown", error=str(error))
            self._has_nvml = False
            return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
