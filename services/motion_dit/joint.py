"""How motion goes on where two windows meet: what is left of an offset, and the last bit of a jump.

Pose is a slow process with inertia: the difference of two runs of an autoregressive process with equal noise is its
free response, so a head that is a little off its target comes back along that. Expression follows the sound and comes
back within a few frames. Works in the coordinates of the network's `Normaliser`.
"""

import math

import torch
from torch import Tensor

from shared.timeline import FPS

POSE_TAUS_S = (0.6, 0.12)
EXPRESSION_TAU_FRAMES = 2.0


def return_from(offset: Tensor, n_frames: int, is_pose: Tensor) -> Tensor:
    """What is left of an offset after the context: (B, n_frames, L).

    Args:
        offset: (B, 2, L) of the last two frames of the context.
        n_frames: frames behind it.
        is_pose: (L,) bool, coordinates that return slowly and go on at the speed they have.
    """
    k = torch.arange(1, n_frames + 1, device=offset.device, dtype=torch.float32)[:, None]
    fast = offset[:, 1:] * torch.exp(-k / EXPRESSION_TAU_FRAMES)
    a, b = (math.exp(-1.0 / (FPS * tau)) for tau in POSE_TAUS_S)
    second = (offset[:, :1] - offset[:, 1:] / a) / (1 / b - 1 / a)
    slow = (offset[:, 1:] - second) * a**k + second * b**k
    return torch.where(is_pose, slow, fast)


def without_jump(past: Tensor, drawn: Tensor, is_pose: Tensor) -> Tensor:
    """Take the jump of the pose between context and new frames out of the new ones: (B, N, L).

    The step over the joint becomes the mean of the steps before and behind it; what that moves returns by itself.

    Args:
        past: (B, context, L), two frames at least.
        drawn: (B, N, L) new frames.
        is_pose: (L,) bool; other coordinates stay as they are.
    """
    if drawn.shape[1] < 2:
        return drawn
    step = 0.5 * (past[:, -1] - past[:, -2] + drawn[:, 1] - drawn[:, 0])
    jump = torch.where(is_pose, drawn[:, 0] - past[:, -1] - step, torch.zeros_like(step))[:, None]
    moved = return_from(jump.expand(-1, 2, -1), drawn.shape[1] - 1, is_pose)
    return drawn - torch.cat([jump, moved], dim=1)
