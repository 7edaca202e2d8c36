import math

import numpy as np
import pytest
import torch

from services.motion_dit.generator import SCHEDULE
from services.motion_dit.sampler import (
    EVENT_STREAM,
    MOTION_STREAM,
    guided,
    integrate,
    noise,
    philox,
    velocity_of,
)

SEEDS = (0, 1, 2**63 - 1)


def test_a_constant_velocity_is_integrated_exactly() -> None:
    out = integrate(lambda x, t: torch.full_like(x, 3.0), torch.ones(4), (0.0, 0.1, 0.7))
    torch.testing.assert_close(out, torch.full((4,), 4.0))


def test_an_exponential_flow_converges_at_first_order() -> None:
    def error(n_steps: int) -> float:
        times = [i / n_steps for i in range(n_steps)]
        x = integrate(lambda x, t: x, torch.ones(1, dtype=torch.float64), times)
        return abs(float(x) - math.e)

    assert error(400) < 0.004
    assert error(200) / error(400) == pytest.approx(2.0, abs=0.05)


def test_a_velocity_that_depends_on_time_is_asked_at_the_beginning_of_each_step() -> None:
    asked: list[float] = []

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        asked.append(t)
        return torch.full_like(x, 2 * t)

    assert float(integrate(velocity, torch.zeros(1), (0.0, 0.5))) == pytest.approx(0.5)
    assert asked == [0.0, 0.5]


def test_a_perfect_denoiser_lands_on_the_data_in_any_number_of_steps() -> None:
    data = torch.tensor([0.3, -2.0])
    for times in ((0.0,), (0.0, 0.4), (0.0, 0.25, 0.5, 0.75)):
        out = integrate(velocity_of(lambda x, t: data), torch.randn(2), times)
        torch.testing.assert_close(out, data, atol=1e-6, rtol=1e-6)


def test_the_flow_of_a_gaussian_reaches_its_deviation() -> None:
    mean, deviation = 1.5, 0.4

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:  # posterior mean of N(mean, deviation^2) seen through x_t
        gain = t * deviation**2 / (t**2 * deviation**2 + (1 - t) ** 2)
        return mean + gain * (x - t * mean)

    x_0 = torch.from_numpy(noise(3, 0, (4000,))).double()
    out = integrate(velocity_of(denoise), x_0, [i / 200 for i in range(200)])
    assert float(out.mean()) == pytest.approx(mean, abs=0.03)
    assert float(out.std()) == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize("times", [(), (0.5, 0.2), (0.0, 1.0), (-0.1, 0.5)])
def test_impossible_schedules_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="flow times"):
        integrate(lambda x, t: x, torch.zeros(1), times)


def test_guidance_is_linear_between_and_beyond_its_branches() -> None:
    with_sound, without = torch.tensor([2.0]), torch.tensor([1.0])
    assert guided(with_sound, without, 0.0) == without
    assert guided(with_sound, without, 1.0) == with_sound
    assert float(guided(with_sound, without, 1.5)) == pytest.approx(2.5)


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


def test_the_schedule_spends_at_most_eight_evaluations() -> None:
    assert SCHEDULE.n_evaluations <= 8
    assert len(SCHEDULE.times) == len(SCHEDULE.guided)
    assert any(SCHEDULE.guided)
    assert SCHEDULE.guidance > 1.0
