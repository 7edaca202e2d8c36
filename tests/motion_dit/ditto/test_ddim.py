"""DDIM against closed forms: what the formulas of the papers say for a known clean motion."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from services.motion_dit.ditto.ddim import Step, cosine_alphas, ddim_step, ddim_steps, implied_noise, sample

X_0 = torch.tensor([0.5, -2.0, 7.0], dtype=torch.float64)
EPSILON = torch.tensor([1.0, 0.3, -0.8], dtype=torch.float64)


def noisy(alpha: float) -> Tensor:
    return math.sqrt(alpha) * X_0 + math.sqrt(1.0 - alpha) * EPSILON


def test_schedule_is_a_squared_cosine_until_the_last_step() -> None:
    alphas = cosine_alphas()
    assert alphas.shape == (1000,)
    u = np.arange(1, 1000) / 1000
    curve = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(alphas[:-1], curve, rtol=0, atol=1e-6)
    assert alphas[-1] / alphas[-2] == pytest.approx(0.001, rel=1e-3)  # beta is limited to 0.999
    assert (np.diff(alphas) < 0).all()


@pytest.mark.parametrize("n_steps", [1, 7, 10, 50, 1000])
def test_steps_begin_at_pure_noise_meet_and_end_at_clean_motion(n_steps: int) -> None:
    steps = ddim_steps(cosine_alphas(), n_steps)
    assert len(steps) == n_steps
    assert (steps[0].t, steps[-1].t_next, steps[-1].alpha_next) == (999, -1, 1.0)
    assert [step.t_next for step in steps[:-1]] == [step.t for step in steps[1:]]
    assert len({step.t for step in steps}) == n_steps


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_variance_is_kept_for_any_eta(eta: float) -> None:
    for step in ddim_steps(cosine_alphas(), 20, eta)[:-1]:
        assert step.c**2 + step.sigma**2 == pytest.approx(1.0 - step.alpha_next, abs=1e-6)


def test_without_fresh_noise_a_step_keeps_the_noise_there_was() -> None:
    for step in ddim_steps(cosine_alphas(), 10, eta=0.0)[:-1]:
        x = ddim_step(noisy(step.alpha), X_0, torch.full_like(X_0, 1e9), step)
        torch.testing.assert_close(x, noisy(step.alpha_next), rtol=0, atol=1e-3)  # float32 tables


def test_with_eta_1_a_step_between_neighbours_is_that_of_ddpm() -> None:
    """DDPM (arXiv:2006.11239), Eq. 6 and 7: mean and variance of x_t-1 given x_t and x_0."""
    for step in ddim_steps(cosine_alphas(), 1000)[100:900:100]:
        alpha_t = step.alpha / step.alpha_next
        beta, rest = 1.0 - alpha_t, 1.0 - step.alpha
        x = noisy(step.alpha)
        mean = math.sqrt(step.alpha_next) * beta / rest * X_0 + math.sqrt(alpha_t) * (1.0 - step.alpha_next) / rest * x
        deviation = math.sqrt(beta * (1.0 - step.alpha_next) / rest)
        z = torch.tensor([1.0, -1.0, 0.2], dtype=torch.float64)
        torch.testing.assert_close(ddim_step(x, X_0, z, step), mean + deviation * z, rtol=0, atol=1e-3)


@pytest.mark.parametrize("t", [19, 99, 500, 998])
def test_implied_noise_is_the_noise_that_was_added(t: int) -> None:
    alpha = float(cosine_alphas()[t])
    torch.testing.assert_close(implied_noise(noisy(alpha), X_0, alpha), EPSILON, rtol=0, atol=2e-3)


def test_a_perfect_predictor_is_believed_and_asked_once_per_step() -> None:
    asked: list[int] = []

    def predict(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return X_0

    noise = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert sample(predict, EPSILON, noise, ddim_steps(cosine_alphas())) is X_0
    assert asked == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


def test_gaussian_motion_comes_out_with_its_own_spread() -> None:
    """For x_0 ~ N(0, s^2) the best prediction is sqrt(a) s^2 x / (a s^2 + 1 - a); many steps sample that Gaussian."""
    spread, alphas = 3.0, cosine_alphas()

    def predict(x: Tensor, t: int) -> Tensor:
        alpha = float(alphas[t])
        return math.sqrt(alpha) * spread**2 / (alpha * spread**2 + 1.0 - alpha) * x

    source = torch.Generator().manual_seed(1)
    steps = ddim_steps(alphas, 250)
    x_T, noise = torch.randn(20000, generator=source), torch.randn(249, 20000, generator=source)
    assert sample(predict, x_T, noise, steps).std().item() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize(("n_steps", "eta"), [(0, 1.0), (1001, 1.0), (10, -0.1), (10, 1.1)])
def test_impossible_steps_are_refused(n_steps: int, eta: float) -> None:
    with pytest.raises(ValueError, match=r"expected 1\.\.1000 steps"):
        ddim_steps(cosine_alphas(), n_steps, eta)


def test_noise_must_be_there_for_every_step_but_the_last() -> None:
    steps: tuple[Step, ...] = ddim_steps(cosine_alphas(), 5)
    with pytest.raises(ValueError, match="shorter"):
        sample(lambda x, t: x, X_0, torch.zeros(3, 3), steps)
