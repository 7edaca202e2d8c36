import math

import numpy as np
import pytest
import torch

from services.motion_dit.generator import STEPS
from services.motion_dit.sampler import EVENT_STREAM, MOTION_STREAM, Steps, denoise_in, noise, philox, smoothing
from shared.timeline import FPS

SEEDS = (0, 1, 2**63 - 1)
ALL = torch.ones(1)


def _gaussian(mean: float, deviation: float, times: Steps) -> tuple[float, float]:
    """Mean and deviation of what a perfect denoiser of a normal distribution makes of normal noise."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:  # posterior mean of N(mean, deviation^2) seen through x_t
        gain = t * deviation**2 / (t**2 * deviation**2 + (1 - t) ** 2)
        return mean + gain * (x - t * mean)

    ends = denoise_in(times, denoise, torch.tensor([-1.0, 1.0], dtype=torch.float64), ALL)
    return float(ends.mean()), float(ends[1] - ends[0]) / 2


def test_each_step_asks_at_its_beginning_and_leans_on_the_step_before() -> None:
    asked: list[float] = []

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        asked.append(t)
        return torch.full_like(x, 1.0 + t)

    out = denoise_in(Steps((0.0, 0.5), (0.0, 0.4)), denoise, torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert asked == [0.0, 0.5]
    assert out.tolist() == pytest.approx([1.5 + 0.4 * 0.5, 1.5])


def test_without_lean_it_is_eulers_method() -> None:
    n = 400
    steps = Steps(tuple(i / n for i in range(n)), (0.0,) * n)
    start = torch.ones(1, dtype=torch.float64)
    out = denoise_in(steps, lambda x, t: x + (1 - t) * x, start, ALL)  # velocity x
    assert float(out) == pytest.approx(math.e, abs=0.01)


def test_a_perfect_denoiser_lands_on_the_data_in_any_number_of_steps() -> None:
    data = torch.tensor([0.3, -2.0])
    for steps in (STEPS, Steps((0.0,), (0.0,)), Steps((0.0, 0.25, 0.5), (0.0, 0.5, 0.5))):
        torch.testing.assert_close(
            denoise_in(steps, lambda x, t: data, torch.randn(2), ALL), data, atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("deviation", [0.15, 0.4, 1.0, 1.7, 3.0])
def test_four_evaluations_keep_the_width_of_any_gaussian(deviation: float) -> None:
    assert len(STEPS.times) <= 4
    mean, reached = _gaussian(1.5, deviation, STEPS)
    assert mean == pytest.approx(1.5, abs=0.01)
    assert reached == pytest.approx(deviation, rel=0.02)
    n = len(STEPS.times)
    even = Steps(tuple(i / n for i in range(n)), (0.0,) * n)
    assert _gaussian(1.5, deviation, even)[1] < 0.8 * deviation


@pytest.mark.parametrize(
    ("times", "lean"), [((), ()), ((0.5, 0.2), (0, 0)), ((0.0, 1.0), (0, 0)), ((-0.1, 0.5), (0, 0)), ((0.0,), (0, 0))]
)
def test_impossible_steps_are_refused(times: tuple[float, ...], lean: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending times"):
        Steps(times, lean)


def test_smooth_noise_has_unit_variance_and_moves_slowly() -> None:
    matrix = smoothing(69, 0.6)
    covariance = matrix @ matrix.T
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-4)
    a, b = math.exp(-1 / (FPS * 0.6)), math.exp(-1 / (FPS * 0.12))
    for lag in (0, 1, 7):  # the recursion of the process, away from its start
        row = covariance[40]
        assert row[40 + lag + 2] == pytest.approx((a + b) * row[40 + lag + 1] - a * b * row[40 + lag], abs=1e-3)
    assert 1.0 - covariance[0, 1] < 0.02
    assert np.array_equal(smoothing(5, 0.0), np.eye(5))
    np.testing.assert_allclose(smoothing(30, 0.6), matrix[:30, :30], atol=1e-5)  # a longer window begins the same


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_drawn_again_for_equal_arguments_only(seed: int) -> None:
    once, again = noise(seed, 4, (65, 17)), noise(seed, 4, (65, 17))
    assert once.dtype == np.float32
    assert np.array_equal(once, again)
    assert not np.array_equal(once, noise(seed, 5, (65, 17)))
    assert not np.array_equal(once, noise(seed ^ 1, 4, (65, 17)))


def test_streams_of_a_window_differ() -> None:
    motion, events = philox(1, 2, MOTION_STREAM), philox(1, 2, EVENT_STREAM)
    assert not np.array_equal(motion.random(8), events.random(8))
