"""Streams, events and pinned host memory, which are nothing at all on a CPU.

Three lanes of one device run beside each other: what is uploaded, computed and downloaded for different batches at the
same time. On a CPU a lane does its work where it is called and a mark is the time it was made, so the same code runs
there. The caller keeps every tensor of a batch until its last mark was reached: no memory is reused under a kernel.
Knows nothing of networks or frames.
"""

import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import ConfigurationError


def choose_device(name: str) -> torch.device:
    """Look a device up by its name: cpu, cuda or cuda:N.

    Raises:
        ConfigurationError: another name, or a CUDA device that is not there.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise ConfigurationError(f"TH_RENDERER_DEVICE is {name!r}; expected cpu, cuda or cuda:N")
    if kind == "cpu":
        return torch.device("cpu")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(number or 0)
    if index >= n_devices:
        raise ConfigurationError(
            f"TH_RENDERER_DEVICE is {name!r}, but torch {torch.__version__} sees {n_devices} CUDA devices. Install a "
            "torch build with CUDA and a driver that fits it, give the process a device, or set TH_RENDERER_DEVICE=cpu."
        )
    return torch.device("cuda", index)


class Mark:
    """A place in the work of a lane.

    Args:
        event: recorded on the lane's stream; None on a CPU.
    """

    def __init__(self, event: torch.cuda.Event | None) -> None:
        self.event = event
        self.made_s = time.perf_counter()

    def wait(self) -> None:
        """Let the calling thread wait until the device has come so far."""
        if self.event is not None:
            self.event.synchronize()

    def seconds_since(self, earlier: "Mark") -> float:
        """Time between two marks that were both reached, on the device's clock."""
        if self.event is not None and earlier.event is not None:
            return float(earlier.event.elapsed_time(self.event)) / 1e3
        return self.made_s - earlier.made_s


class Lane:
    """One queue of a device.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types for it

    @contextmanager
    def active(self) -> Iterator[None]:
        """Queue here what is launched inside the block (by this thread)."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def follow(self, mark: Mark) -> None:
        """Begin what is queued here from now on only after ``mark`` of another lane; the caller does not wait."""
        if self._stream is not None and mark.event is not None:
            self._stream.wait_event(mark.event)

    def mark(self) -> Mark:
        """A mark behind everything that was queued here."""
        if self._stream is None:
            return Mark(None)
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types for it
        event.record(self._stream)
        return Mark(event)

    def send(self, array: NDArray[np.generic]) -> Tensor:
        """Queue the way of an array to the device; the array may be changed afterwards.

        On a device it goes through pinned memory that torch hands out again only after the copy was done.
        """
        host = torch.from_numpy(np.array(array))
        if self._stream is None:
            return host
        with self.active():
            return host.pin_memory().to(self.device, non_blocking=True)

    def drain(self) -> None:
        """Wait until everything that was queued here is done."""
        if self._stream is not None:
            self._stream.synchronize()


@dataclass(frozen=True)
class Lanes:
    """The three lanes of a renderer.

    Attributes:
        upload: host to device.
        compute: the networks.
        download: device to host.
    """

    upload: Lane
    compute: Lane
    download: Lane

    @classmethod
    def of(cls, device: torch.device) -> "Lanes":
        """New streams of a device."""
        return cls(Lane(device), Lane(device), Lane(device))


class Slot:
    """Host buffers of one batch, borrowed from a ring.

    Attributes:
        buffers: tensors in the order the ring was made with.
    """

    def __init__(self, buffers: tuple[Tensor, ...], ring: "queue.SimpleQueue[tuple[Tensor, ...]]") -> None:
        self.buffers = buffers
        self._ring = ring
        self._is_held = True

    def release(self) -> None:
        """Give the buffers back; once more does nothing."""
        if self._is_held:
            self._is_held = False
            self._ring.put(self.buffers)


class PinnedRing:
    """A bounded number of host buffers that a device copies into: pinned for a CUDA device, plain memory for a CPU.

    A slot is acquired before the copy is queued and released once its bytes were used, so the ring is what holds a fast
    device back. A slot that is released while its copy is still under way is safe as long as all copies into the ring
    are queued on one lane.

    Args:
        n_slots: batches that may be between device and host.
        buffers: shape and dtype of each buffer of a slot.
        device: that copies into them.
    """

    def __init__(
        self, n_slots: int, buffers: Sequence[tuple[tuple[int, ...], torch.dtype]], device: torch.device
    ) -> None:
        is_pinned = device.type == "cuda"
        self._free: queue.SimpleQueue[tuple[Tensor, ...]] = queue.SimpleQueue()
        for _ in range(n_slots):
            self._free.put(tuple(torch.empty(shape, dtype=dtype, pin_memory=is_pinned) for shape, dtype in buffers))

    def acquire(self) -> Slot:
        """Borrow buffers; waits while all of them are in use."""
        return Slot(self._free.get(), self._free)

    @property
    def n_free(self) -> int:
        """Slots nobody holds."""
        return self._free.qsize()
