"""Offsets of key points that open or close eyes and lips to a ratio.

LivePortrait (arXiv:2407.03168), section 3.3. Ratios are gap over width on the official scale, see ``landmarks``. Knows
no network: its function is an argument.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from services.renderer.liveportrait.keypoints import retargeting_delta, retargeting_feature

Mlp = Callable[[Tensor], Tensor]


def eye_delta(network: Mlp, x_s: Tensor, source_ratios: Tensor, driving_ratio: Tensor) -> Tensor:
    """Offset that opens the eyes to a ratio.

    Args:
        network: (B, 66) -> (B, 63).
        x_s: (1, 21, 3) or (B, 21, 3).
        source_ratios: (1, 2) or (B, 2), left and right.
        driving_ratio: (B, 1); official driving takes the left eye's for both.

    Returns:
        (B, 21, 3).
    """
    source_ratios = source_ratios.expand(len(driving_ratio), -1)
    return retargeting_delta(network(retargeting_feature(x_s, source_ratios, driving_ratio)))


def lip_delta(network: Mlp, x_s: Tensor, source_ratio: Tensor, driving_ratio: Tensor) -> Tensor:
    """Offset that opens the lips to a ratio.

    Args:
        network: (B, 65) -> (B, 63).
        x_s: (1, 21, 3) or (B, 21, 3).
        source_ratio: (1, 1) or (B, 1).
        driving_ratio: (B, 1).

    Returns:
        (B, 21, 3).
    """
    source_ratio = source_ratio.expand(len(driving_ratio), -1)
    return retargeting_delta(network(retargeting_feature(x_s, source_ratio, driving_ratio)))


def closing_delta(network: Mlp, x_s: Tensor, source_ratio: Tensor, threshold: float) -> Tensor:
    """Offset that closes the source's lips, zero where their ratio is below the threshold.

    Args:
        network: (B, 65) -> (B, 63).
        x_s: (B, 21, 3).
        source_ratio: (B, 1).
        threshold: lips closer than this are closed already; officially 0.03 on 203 landmarks.

    Returns:
        (B, 21, 3).
    """
    delta = lip_delta(network, x_s, source_ratio, torch.zeros_like(source_ratio))
    return torch.where((source_ratio >= threshold)[..., None], delta, torch.zeros_like(delta))
