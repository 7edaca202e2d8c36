"""From noise to motion with a network that predicts x_0: DDPM, and DPM-Solver++(2M) on few of its steps.

Both work on any prediction function over a `DiffusionSchedule`; they know nothing of motion, sound or guidance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from services.motion_dit.joyvasa.schedule import DiffusionSchedule

SPACING = 1.5

Predict = Callable[[Tensor, int], Tensor]


def ddpm_states(
    predict: Predict, schedule: DiffusionSchedule, x: Tensor, noise: Sequence[Tensor], flexibility: float = 0.0
) -> Iterator[Tensor]:
    """Ancestral sampling, arXiv:2006.11239, Eq. 7 with the predicted x_0.

    Args:
        predict: x_0 from (x_t, t).
        schedule: with T steps.
        x: x_T.
        noise: T - 1 tensors like x, for the steps T..2; the last step adds none.
        flexibility: 0 uses the posterior's deviation, 1 uses sqrt(beta); between them the mean of both, so weighted.

    Yields:
        x_{T-1}, ..., x_0.

    Raises:
        ValueError: another number of noise tensors.
    """
    if len(noise) != schedule.n_steps - 1:
        raise ValueError(f"{len(noise)} tensors of noise for {schedule.n_steps} steps; expected one less than steps")
    alphas, alpha_bars = schedule.alphas, schedule.alpha_bars
    sigmas = flexibility * schedule.sigmas_flex + (1 - flexibility) * schedule.sigmas_inflex
    for t, z in zip(range(schedule.n_steps, 0, -1), [*noise, torch.zeros_like(x)], strict=True):
        rest = 1 - alpha_bars[t]
        keep = (1 - alpha_bars[t - 1]) * alphas[t].sqrt() / rest
        take = (1 - alphas[t]) * alpha_bars[t - 1].sqrt() / rest
        x = keep * x + take * predict(x, t) + sigmas[t] * z
        yield x


def solver_steps(n_steps: int, n_evaluations: int) -> list[int]:
    """Steps at which the solver asks the network, from T, closer together towards 0, which is the end.

    T (n / N)^1.5 for n = N..0, never less than n. The exponent was chosen by the error on normal distributions narrower
    than the noise, where eight evaluations of it err less than evenly spaced ones (docs/decisions/0015-joyvasa.md).

    Raises:
        ValueError: more evaluations than steps, or none.
    """
    if not 1 <= n_evaluations <= n_steps:
        raise ValueError(f"{n_evaluations} evaluations on {n_steps} steps; expected 1..{n_steps}")
    left = range(n_evaluations, -1, -1)
    return [max(n, round(n_steps * (n / n_evaluations) ** SPACING)) for n in left]


def dpm_solver(predict: Predict, schedule: DiffusionSchedule, x: Tensor, steps: Sequence[int]) -> Tensor:
    """DPM-Solver++(2M), arXiv:2211.01095, Algorithm 2, on integer steps; deterministic.

    With lambda = log(alpha / sigma) and h its growth over a step, x_t = sigma_t / sigma_s x_s - alpha_t (e^-h - 1) D,
    where D extrapolates the last two predictions. The first step, and one that ends at t = 0, where lambda is infinite,
    use the last prediction alone.

    Args:
        predict: x_0 from (x_t, t).
        schedule: its alpha_bars are used.
        x: state at ``steps[0]``.
        steps: descending; the last is where to stop.

    Returns:
        The state at ``steps[-1]``.
    """
    bars = schedule.alpha_bars.double().tolist()
    before: Tensor | None = None
    h_before = 0.0
    for s, t in pairwise(steps):
        h = _half_log_snr(bars[t]) - _half_log_snr(bars[s])
        predicted = predict(x, s)
        direction = predicted
        if before is not None and math.isfinite(h):
            direction = predicted + h / (2 * h_before) * (predicted - before)
        shrink = math.sqrt((1 - bars[t]) / (1 - bars[s]))
        x = shrink * x - math.sqrt(bars[t]) * math.expm1(-h) * direction
        before, h_before = predicted, h
    return x


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar)) if alpha_bar < 1 else math.inf
