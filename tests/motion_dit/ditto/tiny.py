"""A small network of the same shape as Ditto's, with synthetic weights, and clips for it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.motion_dit.ditto.network import Lmdm, LmdmConfig
from tests.parity.ditto import synthetic_lmdm, synthetic_weights

TINY = LmdmConfig(
    motion_size=5,
    condition_size=7,
    frames=6,
    hidden=16,
    feed_forward=24,
    layers=2,
    encoder_layers=1,
    heads=2,
)


@dataclass(frozen=True)
class Clips:
    """Inputs of a batch: noisy motion, motion of the frame before, conditions."""

    x: Tensor
    cond_frame: Tensor
    cond: Tensor


def tiny_lmdm(seed: int = 0) -> Lmdm:
    """A network with drawn weights."""
    return synthetic_lmdm(synthetic_weights(seed, TINY), TINY)


def drawn_clips(batch: int, seed: int = 0) -> Clips:
    """Standard normal clips for the small network."""
    source = torch.Generator().manual_seed(seed)
    return Clips(
        x=torch.randn(batch, TINY.frames, TINY.motion_size, generator=source),
        cond_frame=torch.randn(batch, TINY.motion_size, generator=source),
        cond=torch.randn(batch, TINY.frames, TINY.condition_size, generator=source),
    )
