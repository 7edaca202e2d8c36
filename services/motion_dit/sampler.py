"""Few-step sampling of a flow: schedule, solver, guidance; and noise that can be drawn again.

Linear path of flow matching (arXiv:2210.02747): x_t = (1 - t) x_0 + t x_1 with noise x_0 and motion x_1, velocity
v = x_1 - x_0. A network that predicts x_1 gives v = (x_1^ - x_t) / (1 - t). Works on any velocity function; knows
nothing of motion, sound or windows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
Denoiser = Callable[[Tensor, float], Tensor]

MOTION_STREAM, EVENT_STREAM = 0, 1


@dataclass(frozen=True)
class Schedule:
    """When the flow is evaluated, and where guidance is worth a second evaluation.

    Attributes:
        times: flow times of the evaluations, ascending from 0; the last step ends at 1.
        guided: for each time, whether the network is asked without sound as well.
        guidance: weight w of x_1 = x_without + w (x_with - x_without); 1 is no guidance.
    """

    times: tuple[float, ...]
    guided: tuple[bool, ...]
    guidance: float

    @property
    def n_evaluations(self) -> int:
        """Network evaluations per window."""
        return len(self.times) + sum(self.guided)


def philox(seed: int, window: int, stream: int) -> np.random.Generator:
    """The generator of one window of one job: equal arguments, equal numbers, in any process.

    Args:
        seed: of the job, 0 .. 2**63 - 1.
        window: index of the window.
        stream: `MOTION_STREAM` or `EVENT_STREAM`; different streams never overlap.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, window]))


def noise(seed: int, window: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise of one window: float32 of ``shape``."""
    return philox(seed, window, MOTION_STREAM).standard_normal(shape, dtype=np.float32)


def velocity_of(denoise: Denoiser) -> Velocity:
    """The velocity field of a denoiser that predicts x_1: v = (x_1^(x, t) - x) / (1 - t), for t < 1."""

    def velocity(x: Tensor, t: float) -> Tensor:
        return (denoise(x, t) - x) / (1.0 - t)

    return velocity


def guided(with_sound: Tensor, without_sound: Tensor, weight: float) -> Tensor:
    """Classifier-free guidance (arXiv:2207.12598) on predictions: without + w (with - without)."""
    return without_sound + weight * (with_sound - without_sound)


def integrate(velocity: Velocity, x_0: Tensor, times: Sequence[float]) -> Tensor:
    """Euler's method from the first of ``times`` to 1.

    With a denoiser's velocity the last step lands exactly on its last prediction.

    Args:
        velocity: dx/dt at (x, t).
        x_0: start.
        times: ascending, all in [0, 1).

    Returns:
        x at time 1, shape of x_0.

    Raises:
        ValueError: times are not ascending or not in [0, 1).
    """
    ends = [*times[1:], 1.0]
    if not times or times[0] < 0 or any(end <= begin for begin, end in zip(times, ends, strict=True)):
        raise ValueError(f"flow times {tuple(times)}; expected ascending numbers in [0, 1)")
    x = x_0
    for begin, end in zip(times, ends, strict=True):
        x = x + (end - begin) * velocity(x, begin)
    return x
