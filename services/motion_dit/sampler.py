"""Few-step sampling of a flow, and noise that can be drawn again.

Linear path of flow matching (arXiv:2210.02747): x_t = (1 - t) x_0 + t x_1 with noise x_0 and motion x_1, velocity
v = x_1 - x_0. A network that predicts x_1 gives v = (x_1^ - x_t) / (1 - t). Works on any denoiser; knows nothing of
sound or windows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.timeline import FPS

Denoiser = Callable[[Tensor, float], Tensor]

MOTION_STREAM, EVENT_STREAM = 0, 1


@dataclass(frozen=True)
class Steps:
    """A second-order multistep solver for denoisers.

    Attributes:
        times: flow times of the evaluations, ascending from 0; the last step ends at 1.
        lean: how far each step's prediction is extrapolated along its change since the step before; the first is 0.

    Raises:
        ValueError: times are not ascending in [0, 1), or there is not one lean for each.
    """

    times: tuple[float, ...]
    lean: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse steps that cannot be taken."""
        ascending = all(a < b for a, b in zip(self.times, (*self.times[1:], 1.0), strict=False))
        if not self.times or self.times[0] < 0 or not ascending or len(self.lean) != len(self.times):
            raise ValueError(f"{self}; expected ascending times in [0, 1) and one lean for each")


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


@cache
def smoothing(n_frames: int, time_constant_s: float) -> NDArray[np.float32]:
    """Matrix that turns white noise into the smooth noise of head motion: (N, N) float32, S with S S^T its covariance.

    A stationary autoregressive process of second order and unit variance, with the poles of the head motion that the
    network is trained on: time constants tau and tau / 5. Noise that moves like the motion to be made leaves the
    network little to do, so that few steps lose none of the head motion (decision 0016).

    Args:
        n_frames: N.
        time_constant_s: tau; 0 is the identity.
    """
    if time_constant_s == 0.0:
        return np.eye(n_frames, dtype=np.float32)
    a, b = (float(np.exp(-1.0 / (FPS * tau))) for tau in (time_constant_s, time_constant_s / 5))
    lag = np.abs(np.subtract.outer(np.arange(n_frames), np.arange(n_frames)))
    covariance = a ** (lag + 1) * (1 - b * b) - b ** (lag + 1) * (1 - a * a)
    return np.linalg.cholesky(covariance / covariance[0, 0]).astype(np.float32)


def denoise_in(steps: Steps, denoise: Denoiser, x_0: Tensor, leaning: Tensor) -> Tensor:
    """Follow the flow from noise to motion.

    Each step goes straight towards D_i + lean_i (D_i - D_{i-1}), D being the denoiser's predictions of x_1: Euler's
    method where lean is 0, the multistep rule of DPM-Solver++ (arXiv:2211.01095) where it is half the ratio of two
    steps in log SNR. Ours are fitted (decision 0016).

    Args:
        steps: times and extrapolations.
        denoise: prediction of x_1 at (x, t).
        x_0: start.
        leaning: factor on the lean of each coordinate, broadcast to x_0; 0 is Euler's method.

    Returns:
        x at time 1, shape of x_0.
    """
    x, before = x_0, None
    for begin, end, lean in zip(steps.times, (*steps.times[1:], 1.0), steps.lean, strict=True):
        predicted = denoise(x, begin)
        aim = predicted if before is None else predicted + lean * leaning * (predicted - before)
        share = (end - begin) / (1.0 - begin)
        x, before = x + share * (aim - x), predicted
    return x
