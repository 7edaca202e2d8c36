"""One window's prediction with classifier-free guidance (arXiv:2207.12598): the network, the window's past and sound.

JoyVASA guides by one condition, the sound; its modes "incremental" and "independent" are then the same:
null + scale (heard - null). Knows no sampler.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.motion_dit.joyvasa.network import JoyVasaNetwork
from services.motion_dit.joyvasa.samplers import Predict

DEFAULT_SCALE = 2.8


@dataclass(frozen=True)
class DynamicThreshold:
    """Clamp predictions to a quantile of their own magnitudes (arXiv:2205.11487, section 2.3), itself clamped.

    Attributes:
        quantile: 0..1, over all numbers of the new frames.
        low, high: limits of the quantile's value.
    """

    quantile: float
    low: float
    high: float


@dataclass(frozen=True)
class Guidance:
    """Attributes: ``scale`` of the sound's effect, None for no null branch at all; ``threshold`` of predictions."""

    scale: float | None = DEFAULT_SCALE
    threshold: DynamicThreshold | None = None


@dataclass(frozen=True)
class Past:
    """What came before a window: ``motion`` (B, P, D) and projected ``sound`` (B, P, F)."""

    motion: Tensor
    sound: Tensor


def project(network: JoyVasaNetwork, hidden: Tensor) -> Tensor:
    """The encoder's 50 Hz output to sound at 25 Hz: mean of each pair, then the checkpoint's map.

    Args:
        network: whose map to use.
        hidden: (B, 2 N, 768).

    Returns:
        (B, N, F).
    """
    return project_frames(network, hidden.view(len(hidden), -1, 2, hidden.shape[-1]).mean(dim=2))


def project_frames(network: JoyVasaNetwork, frames: Tensor) -> Tensor:
    """Like `project`, for pairs that have been averaged already: (B, N, 768) to (B, N, F)."""
    projected: Tensor = network.audio_feature_map(frames)
    return projected


def start_of(network: JoyVasaNetwork, n_batch: int) -> Past:
    """What stands before the first window: the learned tokens."""
    return Past(
        network.start_motion_feat.expand(n_batch, -1, -1),
        network.start_audio_feat.expand(n_batch, -1, -1),
    )


def predictor(network: JoyVasaNetwork, past: Past, sound: Tensor, guidance: Guidance) -> Predict:
    """The guided prediction of x_0 of a window's new frames; both branches share a batch.

    Args:
        network: of the checkpoint.
        past: before the window.
        sound: (B, N, F) of the new frames.
        guidance: how much the sound matters.

    Returns:
        A function of (x_t (B, N, D), t).
    """
    branches = [sound]
    if guidance.scale is not None:
        branches.insert(0, network.null_audio_feat.expand_as(sound))
    n_branches, n_new = len(branches), sound.shape[1]
    heard = network.denoising_net.hear(torch.cat([torch.cat([past.sound, branch], dim=1) for branch in branches]))

    def predict(x: Tensor, t: int) -> Tensor:
        motion = torch.cat([past.motion, x], dim=1).repeat(n_branches, 1, 1)  # (n B, P + N, D)
        step = torch.full((len(motion),), t, dtype=torch.int64, device=x.device)
        predicted: Tensor = network.denoising_net(motion, heard, step)[:, -n_new:]  # (n B, N, D)
        if guidance.threshold is not None:
            predicted = _clamped(predicted, guidance.threshold)
        if guidance.scale is None:
            return predicted
        null, with_sound = predicted.chunk(2)
        return null + guidance.scale * (with_sound - null)

    return predict


def _clamped(predicted: Tensor, threshold: DynamicThreshold) -> Tensor:
    magnitude = torch.quantile(predicted.flatten(1).abs(), threshold.quantile, dim=1)  # (n B,)
    limit = magnitude.clamp(threshold.low, threshold.high)[:, None, None]
    return torch.minimum(torch.maximum(predicted, -limit), limit)
