"""Parity of W and G alone, and of the chain's last half: volume and key points to the frame."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.renderer.liveportrait.keypoints import frames_u8
from services.renderer.liveportrait.warping import WarpOutput
from tests.parity.draw import smooth
from tests.parity.extraction import Chain
from tests.parity.sampled import Bound, frame_ratio, ratio
from tests.parity.variants import Variant

Npz = Mapping[str, NDArray[Any]]

COORDINATES = Bound(5e-6)
WARPED = Bound(1e-4, rms=1e-5)
IMAGE = Bound(2e-5)
FAINT_IMAGE = Bound(2e-4)
CHAIN_IMAGE = Bound(1e-4, rms=1e-5)
GENERATED = Bound(1e-6)  # equal bits, but means and deviations are stored as float32
FRAME_STRIDE = 13


def warping_ratio(goldens: Npz, seed: int, variant: Variant) -> float:
    """W at full size."""
    f_s = torch.from_numpy(smooth("input/W/feature_3d", (1, 32, 16, 64, 64), seed))
    x_s, x_d = (torch.from_numpy(goldens[f"W/in/{name}"]) for name in ("kp_source", "kp_driving"))
    return max(
        ratio(goldens, "W/in/feature_3d", f_s, GENERATED), _warp_ratio(goldens, "W", variant.warp(f_s, x_s, x_d))
    )


def generator_ratio(goldens: Npz, seed: int, variant: Variant) -> float:
    """G at full size."""
    feature = torch.from_numpy(np.float32(0.5) * smooth("input/G/feature", (1, 256, 64, 64), seed))
    image = ratio(goldens, "G/out", variant.generate(feature), IMAGE)
    return max(ratio(goldens, "G/in/feature", feature, GENERATED), image)


def small_warping_ratio(fast: Npz, seed: int, variant: Variant) -> float:
    """W on a batch of two small volumes."""
    f_s = torch.from_numpy(smooth("input/fast/feat32", (2, 32, 16, 32, 32), seed))
    x_s, x_d = (torch.from_numpy(fast[f"in/{name}"]) for name in ("kp_source", "kp_driving"))
    return _warp_ratio(fast, "W/feat32", variant.warp(f_s, x_s, x_d))


def small_generator_ratio(fast: Npz, seed: int, variant: Variant) -> float:
    """G on two small maps, and on a faint one, where the constant of its normalisations shows."""
    feature = torch.from_numpy(np.float32(0.5) * smooth("input/fast/g16", (2, 256, 16, 16), seed))
    faint = torch.from_numpy(np.float32(0.001) * feature[:1].numpy())
    image = ratio(fast, "G/g16", variant.generate(feature), IMAGE)
    return max(image, ratio(fast, "G/g16tiny", variant.generate(faint), FAINT_IMAGE))


def chain_ratios(goldens: Npz, chain: Chain, variant: Variant) -> dict[str, float]:
    """Volume and key points of the chain to its frame, as floats and as bytes."""
    warped = variant.warp(chain.f_s, chain.x_s, chain.x_d)
    image = variant.generate(warped.out)
    return {
        "occlusion_map": ratio(goldens, "chain/occlusion_map", warped.occlusion_map, COORDINATES),
        "deformation": ratio(goldens, "chain/deformation", warped.deformation, COORDINATES),
        "image": ratio(goldens, "chain/out", image, CHAIN_IMAGE),
        "frame_u8": frame_ratio(goldens, "chain/out_u8", FRAME_STRIDE, frames_u8(image)[0].cpu().numpy()),
    }


def _warp_ratio(npz: Npz, at: str, ours: WarpOutput) -> float:
    return max(
        ratio(npz, f"{at}/occlusion_map", ours.occlusion_map, COORDINATES),
        ratio(npz, f"{at}/deformation", ours.deformation, COORDINATES),
        ratio(npz, f"{at}/out", ours.out, WARPED),
    )
