"""Guided prediction of a clip: what the conditions say, doubled against what the network says without any.

Classifier-free guidance (arXiv:2207.12598) with Ditto's fixed weight. Both branches are one batch, and conditions are
encoded once per clip instead of twice per step.
"""

import torch
from torch import Tensor

from services.motion_dit.ditto.network import Lmdm
from shared.errors import ShapeError

WEIGHT = 2.0


def guided(with_condition: Tensor, without: Tensor) -> Tensor:
    """Guided prediction: without + 2 (with - without)."""
    return without + WEIGHT * (with_condition - without)


class GuidedClip:
    """A predictor of clean motion for given clips, to be handed to a sampler.

    Args:
        network: in evaluation mode.
        cond: (B, frames, condition_size) conditions per frame.
        cond_frame: (B, motion_size) motion of the frame before each clip.

    Raises:
        ShapeError: the arguments do not fit the network or each other.
    """

    def __init__(self, network: Lmdm, cond: Tensor, cond_frame: Tensor) -> None:
        config, batch = network.config, len(cond)
        _check("conditions", cond, (batch, config.frames, config.condition_size))
        _check("motion of the frame before", cond_frame, (batch, config.motion_size))
        self._network = network
        self._condition = network.encode(cond).and_also(network.no_condition(batch))
        self._cond_frame = cond_frame.repeat(2, 1)
        self._x_shape = (batch, config.frames, config.motion_size)

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """Predict x_0 (B, frames, motion_size) from x of the same shape at step t.

        Raises:
            ShapeError: x has another shape.
        """
        _check("noisy motion", x, self._x_shape)
        steps = torch.full((2 * len(x),), t, device=x.device)
        both = self._network(x.repeat(2, 1, 1), self._cond_frame, steps, self._condition)  # (2 B, N, D)
        return guided(*both.chunk(2))


def _check(what: str, found: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(found.shape) != expected:
        raise ShapeError(f"{what} of shape {tuple(found.shape)}; the network expects {expected}")
