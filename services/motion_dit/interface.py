"""What any motion generator is: features and a state in, motion and the next state out.

The worker knows generators by this alone; what a state holds is a generator's own business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from shared.controls import DEFAULTS, Controls
from shared.timeline import Geometry

FloatArray = NDArray[np.float32]


class State(Protocol):
    """What the windows before have left for the next one."""

    def to_bytes(self) -> bytes:
        """Encode for the queue."""


StateT = TypeVar("StateT", bound=State)


@dataclass(frozen=True)
class Request(Generic[StateT]):
    """One window to generate.

    Attributes:
        features: (context + hop + lookahead, D) float32 sound features.
        state: what the previous window left.
        seed: of the job.
        controls: what the caller chose.
    """

    features: FloatArray
    state: StateT
    seed: int
    controls: Controls = DEFAULTS


@dataclass(frozen=True)
class Generated(Generic[StateT]):
    """A generated window.

    Attributes:
        rows: (hop, 70) float32, options applied.
        next_state: for the next window.
        reference: (70,) float32 row that shows the portrait itself where motion is absolute; None where it is relative.
    """

    rows: FloatArray
    next_state: StateT
    reference: FloatArray | None = None


class Generator(Protocol[StateT]):
    """Immutable, shared by all jobs."""

    device: torch.device

    def read_state(self, data: bytes, window: int) -> StateT:
        """Decode the state for a window; empty bytes are the state of window 0."""

    def generate(self, requests: Sequence[Request[StateT]]) -> list[Generated[StateT]]:
        """Generate windows of any jobs."""

    def warm_up(self, geometry: Geometry) -> None:
        """Run one window, so that the first job does not pay for lazy initialisation."""
