"""DDIM as Ditto runs it: a few of 1000 cosine-spaced steps, with fresh noise at each but the last.

Equations of DDIM (arXiv:2010.02502), schedule of Nichol and Dhariwal (arXiv:2102.09672, Eq. 17). Works on any predictor
of clean motion; knows nothing of networks, guidance or random sources.

The tables are rounded to float32 where Ditto rounds them: near the ends of the schedule 1 / alpha - 1 and the noise
factor are differences of nearly equal numbers, and the rounding is most of what they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Predictor = Callable[[Tensor, int], Tensor]  # (x_t, t) to x_0

N_TRAINED_STEPS = 1000
ONLINE_STEPS = 10
COSINE_OFFSET = 0.008
BETA_LIMIT = 0.999
ONE = np.float32(1.0)


@dataclass(frozen=True)
class Step:
    """One step of the sampler, x_t to x_t_next.

    Attributes:
        t: step the network is asked at.
        t_next: step after it; -1 is clean motion.
        alpha: alpha_bar at t: share of signal in the variance.
        alpha_next: alpha_bar at t_next.
        sigma: standard deviation of the fresh noise.
        c: factor of the implied noise, sqrt(1 - alpha_next - sigma^2).
    """

    t: int
    t_next: int
    alpha: float
    alpha_next: float
    sigma: float
    c: float


def cosine_alphas(n_steps: int = N_TRAINED_STEPS) -> Floats:
    """alpha_bar of every trained step, from nearly 1 to nearly 0: (n_steps,) float32.

    alpha_bar(u) = cos^2((u + s) / (1 + s) pi / 2) over its value at 0, with no step's beta above 0.999.
    """
    u = np.arange(n_steps + 1, dtype=np.float64) / n_steps
    alpha_bar = np.cos((u + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * np.pi / 2.0) ** 2
    betas = np.clip(1.0 - alpha_bar[1:] / alpha_bar[:-1], 0.0, BETA_LIMIT)
    steps = np.float32(1.0) - betas.astype(np.float32)
    alphas: Floats = np.cumprod(steps, dtype=np.float64).astype(np.float32)
    return alphas


def ddim_steps(alphas: Floats, n_steps: int = ONLINE_STEPS, eta: float = 1.0) -> tuple[Step, ...]:
    """Evenly spaced steps from the noisiest to clean motion.

    Args:
        alphas: (T,) alpha_bar of the trained steps.
        n_steps: network evaluations, 1 .. T.
        eta: 0 is deterministic, 1 has the noise of the trained process (DDIM, Eq. 16).

    Raises:
        ValueError: n_steps or eta out of range.
    """
    if not (1 <= n_steps <= len(alphas) and 0.0 <= eta <= 1.0):
        raise ValueError(f"{n_steps} steps and eta {eta}; expected 1..{len(alphas)} steps and eta 0..1")
    times = np.linspace(-1, len(alphas) - 1, n_steps + 1).astype(np.int64)[::-1].tolist()
    return tuple(_step(alphas, t, t_next, eta) for t, t_next in pairwise(times))


def implied_noise(x: Tensor, x_0: Tensor, alpha: float) -> Tensor:
    """The unit noise that makes x of x_0: x / sqrt(1 - alpha) - x_0 / sqrt(1 / alpha - 1).

    (x - sqrt(alpha) x_0) / sqrt(1 - alpha) is the same on paper; in float32 it leaves the bounds of parity at step 0.
    """
    alpha_f32 = np.float32(alpha)
    return x * float(np.sqrt(ONE / (ONE - alpha_f32))) - x_0 / float(np.sqrt(ONE / alpha_f32 - ONE))


def ddim_step(x: Tensor, x_0: Tensor, noise: Tensor, step: Step) -> Tensor:
    """x_t to x_t_next (DDIM, Eq. 12): sqrt(alpha_next) x_0 + c epsilon + sigma noise.

    Args:
        x: motion at t.
        x_0: the clean motion predicted from it; shape of x.
        noise: standard normal; shape of x.
        step: where from and where to.
    """
    return math.sqrt(step.alpha_next) * x_0 + step.c * implied_noise(x, x_0, step.alpha) + step.sigma * noise


def sample(predict: Predictor, x_T: Tensor, noise: Sequence[Tensor] | Tensor, steps: Sequence[Step]) -> Tensor:
    """Run the sampler.

    Args:
        predict: clean motion from (x_t, t).
        x_T: standard normal start.
        noise: standard normal, of the shape of x_T, one per step but the last.
        steps: from `ddim_steps`.

    Returns:
        The last prediction of clean motion; shape of x_T.

    Raises:
        ValueError: the number of noises is not the number of steps less one.
    """
    x = x_T
    for step, z in zip(steps[:-1], noise, strict=True):
        x = ddim_step(x, predict(x, step.t), z, step)
    return predict(x, steps[-1].t)


def _step(alphas: Floats, t: int, t_next: int, eta: float) -> Step:
    alpha, alpha_next = alphas[t], alphas[t_next] if t_next >= 0 else ONE
    variance = (ONE - alpha / alpha_next) * (ONE - alpha_next) / (ONE - alpha)
    sigma = np.float32(eta) * np.sqrt(variance)
    c = np.sqrt(np.maximum(np.float32(0.0), ONE - alpha_next - sigma * sigma))
    return Step(t, t_next, float(alpha), float(alpha_next), float(sigma), float(c))
