"""The samplers on a problem that is solved on paper: every number normal with mean m and deviation d."""

import math

import pytest
import torch
from torch import Tensor

from services.motion_dit.joyvasa.samplers import Predict, ddpm_states, dpm_solver, solver_steps
from services.motion_dit.joyvasa.schedule import Curve, DiffusionSchedule

MEAN, DEVIATION = 0.7, 0.4


def best_prediction(schedule: DiffusionSchedule) -> Predict:
    """E[x_0 | x_t] of the normal distribution."""

    def predict(x: Tensor, t: int) -> Tensor:
        bar = float(schedule.alpha_bars[t])
        gain = math.sqrt(bar) * DEVIATION**2 / (bar * DEVIATION**2 + 1 - bar)
        return MEAN + gain * (x - math.sqrt(bar) * MEAN)

    return predict


def exact(schedule: DiffusionSchedule, x: Tensor, s: int, t: int) -> Tensor:
    """The probability flow keeps a number's place in the distribution: (x - alpha m) / deviation of x is constant."""
    a, b = float(schedule.alpha_bars[s]), float(schedule.alpha_bars[t])
    spread = math.sqrt((b * DEVIATION**2 + 1 - b) / (a * DEVIATION**2 + 1 - a))
    return math.sqrt(b) * MEAN + spread * (x - math.sqrt(a) * MEAN)


def solver_error(n_evaluations: int, begin: int, end: int) -> float:
    schedule = DiffusionSchedule(960).double()
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    steps = [round(begin + (end - begin) * i / n_evaluations) for i in range(n_evaluations + 1)]
    ours = dpm_solver(best_prediction(schedule), schedule, x, steps)
    return float((ours - exact(schedule, x, begin, end)).abs().max())


def test_the_solver_is_of_second_order() -> None:
    coarse, fine = solver_error(20, 800, 320), solver_error(80, 800, 320)
    assert fine < 2e-4
    assert math.log2(coarse / fine) / 2 == pytest.approx(2.0, abs=0.35)


def test_eight_evaluations_of_fifty_steps_end_near_the_exact_solution() -> None:
    schedule = DiffusionSchedule(50)
    x = torch.linspace(-2, 2, 9)
    error = {}
    for n_evaluations in (2, 4, 8, 50):
        steps = solver_steps(50, n_evaluations)
        ours = dpm_solver(best_prediction(schedule), schedule, x, steps)
        error[n_evaluations] = float((ours - exact(schedule, x, 50, 0)).abs().max())
    assert error[8] < 0.01
    even = dpm_solver(best_prediction(schedule), schedule, x, [50, 44, 38, 31, 25, 19, 12, 6, 0])
    assert error[8] < 0.1 * float((even - exact(schedule, x, 50, 0)).abs().max())
    assert error[50] < 0.005
    assert error[2] > error[4] > error[8]


def test_steps_of_the_solver_descend_to_zero() -> None:
    assert solver_steps(50, 8) == [50, 41, 32, 25, 18, 11, 6, 2, 0]
    assert solver_steps(8, 8) == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    for n_evaluations in range(1, 51):
        steps = solver_steps(50, n_evaluations)
        assert steps == sorted(set(steps), reverse=True)
        assert len(steps) == n_evaluations + 1
    for wrong in (0, 51):
        with pytest.raises(ValueError, match="evaluations"):
            solver_steps(50, wrong)


@pytest.mark.parametrize("flexibility", [0.0, 1.0])
def test_ddpm_draws_from_the_distribution(flexibility: float) -> None:
    schedule = DiffusionSchedule(50)
    torch.manual_seed(0)
    noise = torch.randn(50, 20000)
    *_, x = ddpm_states(best_prediction(schedule), schedule, noise[0], noise[1:].unbind(), flexibility)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(x.std()) == pytest.approx(DEVIATION, abs=0.05)


def test_ddpm_wants_noise_for_every_step_but_the_last() -> None:
    schedule = DiffusionSchedule(4)
    with pytest.raises(ValueError, match="noise"):
        list(ddpm_states(best_prediction(schedule), schedule, torch.zeros(2), [torch.zeros(2)] * 4))


@pytest.mark.parametrize("curve", Curve)
def test_a_schedule_goes_from_signal_towards_noise(curve: Curve) -> None:
    schedule = DiffusionSchedule(50, curve)
    assert float(schedule.alpha_bars[0]) == 1.0
    assert (schedule.alpha_bars.diff() < 0).all()
    assert (schedule.sigmas_inflex <= schedule.sigmas_flex).all()
