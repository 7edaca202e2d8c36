"""How motion goes on from a context that is not quite the true one.

What the network generated at the end of a window differs from the training data there: the head is somewhere else, the
lips are a little off. The target of the next window then starts from where the context is and returns: pose as the
process it was drawn from would (the difference of two runs of an autoregressive process with equal noise is its free
response), expression within a few frames, since sound decides it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.timeline import FPS

POSE_TAUS_S = (0.6, 0.15)
EXPRESSION_TAU_FRAMES = 2.0


@dataclass(frozen=True)
class ContextNoise:
    """How the true context is spoilt in training, so that an imperfect one is nothing new to the network.

    Attributes:
        p_noise: share of windows whose context is moved.
        white: largest standard deviation of noise per frame, in whitened coordinates; the target does not follow it.
        offset: largest standard deviation of a constant offset.
    """

    p_noise: float = 0.5
    white: float = 0.03
    offset: float = 0.4


def return_from(offset: Tensor, n_frames: int, is_pose: Tensor) -> Tensor:
    """What is left of an offset after the context: (B, n_frames, L).

    Args:
        offset: (B, 2, L) of the last two frames of the context.
        n_frames: frames behind it.
        is_pose: (L,) bool, coordinates that return slowly and go on at the speed they have.
    """
    k = torch.arange(1, n_frames + 1, device=offset.device, dtype=torch.float32)[:, None]
    fast = offset[:, 1:] * torch.exp(-k / EXPRESSION_TAU_FRAMES)
    a, b = (float(torch.exp(torch.tensor(-1.0 / (FPS * tau)))) for tau in POSE_TAUS_S)
    second = (offset[:, :1] - offset[:, 1:] / a) / (1 / b - 1 / a)
    slow = (offset[:, 1:] - second) * a**k + second * b**k
    return torch.where(is_pose, slow, fast)


def spoil_context(
    latent: Tensor, context: int, noise: ContextNoise, is_pose: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make the context of whitened motion imperfect and bend the target accordingly.

    Args:
        latent: (B, N, L) clean motion.
        context: frames at the beginning that are context.
        noise: how to spoil them.
        is_pose: (L,) bool, see `return_from`.
        rng: generator, on the CPU.

    Returns:
        (B, context, L) spoilt context and (B, N - context, L) target.
    """
    n_batch, n_frames, size = latent.shape

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(latent.device)

    def share() -> Tensor:
        return torch.rand(n_batch, 1, 1, generator=rng).to(latent.device)

    chosen = (share() < noise.p_noise).float()
    white = chosen * noise.white * share() * draw(n_batch, context, size)
    offset = chosen * noise.offset * share() * draw(n_batch, 1, size)
    past = latent[:, :context] + white + offset
    target = latent[:, context:] + return_from(offset.expand(-1, 2, -1), n_frames - context, is_pose)
    return past, target
