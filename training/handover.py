"""How motion goes on from a context that is not quite the true one.

What the network generated at the end of a window differs from the training data there: the head is somewhere else, the
lips are a little off. The target of the next window then starts from where the context is and returns, as
``services/motion_dit/joint.py`` says.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.motion_dit.joint import return_from


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
