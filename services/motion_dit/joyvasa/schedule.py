"""The noise schedules of DDPM (arXiv:2006.11239) as DiffPoseTalk and JoyVASA store them.

x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e, t = 0..T; index 0 is padding with beta_0 = 0. Published
checkpoints use ``COSINE``. Knows no network.
"""

from enum import StrEnum

import torch
from torch import Tensor, nn

BETA_FIRST, BETA_LAST = 1e-4, 0.02
BETA_MIN, BETA_MAX = 1e-4, 0.999
COSINE_OFFSET = 0.008
SIGMOID_REACH = 5.0


class Curve(StrEnum):
    """How beta grows with t."""

    COSINE = "cosine"
    LINEAR = "linear"
    QUADRATIC = "quadratic"
    SIGMOID = "sigmoid"


class DiffusionSchedule(nn.Module):
    """Tables over t = 0..T, float32.

    Attributes:
        betas, alphas, alpha_bars: (T + 1,), beta, 1 - beta, and the product of alphas.
        sigmas_flex: sqrt(beta).
        sigmas_inflex: standard deviation of q(x_{t-1} | x_t, x_0).
    """

    betas: Tensor
    alphas: Tensor
    alpha_bars: Tensor
    sigmas_flex: Tensor
    sigmas_inflex: Tensor

    def __init__(self, n_steps: int, curve: Curve = Curve.COSINE) -> None:
        super().__init__()
        betas = torch.cat([torch.zeros(1), betas_of(curve, n_steps)])
        alphas = 1 - betas
        alpha_bars = alphas.log().cumsum(0).exp()
        variances = torch.zeros_like(betas)
        variances[1:] = (1 - alpha_bars[:-1]) / (1 - alpha_bars[1:]) * betas[1:]
        self.register_buffer("betas", betas)
        self.register_buffer("alphas", alphas)
        self.register_buffer("alpha_bars", alpha_bars)
        self.register_buffer("sigmas_flex", betas.sqrt())
        self.register_buffer("sigmas_inflex", variances.sqrt())

    @property
    def n_steps(self) -> int:
        """Diffusion steps T."""
        return len(self.betas) - 1


def betas_of(curve: Curve, n_steps: int) -> Tensor:
    """Beta of t = 1..T: (T,) float32; cosine after arXiv:2102.09672, section 3.2."""
    if curve is Curve.COSINE:
        t = torch.linspace(0, n_steps, n_steps + 1) / n_steps
        alpha_bars = torch.cos((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (torch.pi / 2)) ** 2
        return (1 - alpha_bars[1:] / alpha_bars[:-1]).clamp(BETA_MIN, BETA_MAX)
    if curve is Curve.LINEAR:
        return torch.linspace(BETA_FIRST, BETA_LAST, n_steps)
    if curve is Curve.QUADRATIC:
        return torch.linspace(BETA_FIRST**0.5, BETA_LAST**0.5, n_steps) ** 2
    logistic = torch.sigmoid(torch.linspace(-SIGMOID_REACH, SIGMOID_REACH, n_steps))
    return logistic * (BETA_LAST - BETA_FIRST) + BETA_FIRST
