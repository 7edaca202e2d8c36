"""Parity of F, M and S alone, and of the chain from images to driving key points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.renderer.liveportrait.keypoints import (
    Motion,
    degrees_from_logits,
    place_keypoints,
    refine,
)
from services.renderer.liveportrait.motion_extractor import MotionExtractor, RawMotion
from services.renderer.liveportrait.motion_transfer import Stitch, relative_target, transfer
from services.renderer.liveportrait.stitching import StitchingNetwork
from tests.parity.draw import smooth
from tests.parity.sampled import Bound, ratio

Npz = Mapping[str, NDArray[Any]]

APPEARANCE = Bound(1e-5)
LOGITS = Bound(2e-5)
RAW_KEYPOINTS = Bound(5e-6)
MLP = Bound(2e-6)
DEGREES = Bound(1e-4)
KEYPOINTS = Bound(5e-6)
ANGLES = ("pitch", "yaw", "roll")
PEOPLE = ("source", "driving0", "driving1")
SUBNETS = ("retarget_shoulder", "retarget_mouth", "retarget_eye")


@dataclass(frozen=True)
class Chain:
    """What the chain hands to W: F's volume (1, 32, 16, 64, 64), source and driving key points (1, 21, 3)."""

    f_s: Tensor
    x_s: Tensor
    x_d: Tensor


def appearance_ratio(goldens: Npz, appearance: Callable[[Tensor], Tensor]) -> float:
    """F at full size."""
    return ratio(goldens, "F/out", appearance(stored_image(goldens, "source")), APPEARANCE)


def motion_ratio(goldens: Npz, motion: MotionExtractor) -> float:
    """M at full size on three images."""
    return max(_raw_ratio(goldens, f"M/{who}", motion(stored_image(goldens, who))) for who in PEOPLE)


def stitching_ratio(goldens: Npz, stitching: StitchingNetwork) -> float:
    """The three networks of S."""
    worst = 0.0
    for name in SUBNETS:
        output = stitching.get_submodule(name)(torch.from_numpy(goldens[f"S/{name}/in"]))
        worst = max(worst, ratio(goldens, f"S/{name}/out", output, MLP))
    return worst


def small_appearance_ratio(fast: Npz, seed: int, appearance: Callable[[Tensor], Tensor]) -> float:
    """F on a batch of two small images."""
    return ratio(fast, "F/img64", appearance(_small_images(seed)), APPEARANCE)


def small_motion_ratio(fast: Npz, seed: int, motion: MotionExtractor) -> float:
    """M on two small images, and on black, where the constants of its normalisations show."""
    black = motion(torch.zeros(1, 3, 64, 64))
    return max(_raw_ratio(fast, "M/img64", motion(_small_images(seed))), _raw_ratio(fast, "M/black64", black))


def chain_keypoints(
    goldens: Npz, appearance: Callable[[Tensor], Tensor], motion: MotionExtractor, stitching: StitchingNetwork
) -> tuple[float, Chain]:
    """Three images to the driving key points of one frame, every step compared."""
    raws = {who: motion(stored_image(goldens, who)) for who in PEOPLE}
    worst = max(_refined_ratio(goldens, f"chain/{who}", raw) for who, raw in raws.items())
    (x_c, source), (_, reference), (_, driving) = (refine(raws[who]) for who in PEOPLE)
    x_s = place_keypoints(x_c, source)
    target = relative_target(source, driving, reference)
    x_d = transfer(x_c, source, target, [Stitch(stitching.retarget_shoulder)])
    points = {"x_s": x_s, "x_d_before_stitching": transfer(x_c, source, target), "x_d": x_d}
    worst = max(worst, *(ratio(goldens, f"chain/{name}", ours, KEYPOINTS) for name, ours in points.items()))
    return worst, Chain(appearance(stored_image(goldens, "source")), x_s, x_d)


def stored_image(goldens: Npz, who: str) -> Tensor:
    """A stored photo as the networks take it: (1, 3, 256, 256) in 0..1."""
    pixels = np.ascontiguousarray(goldens[f"in/{who}_u8"].transpose(2, 0, 1))
    return torch.from_numpy(pixels)[None].float() / 255


def _small_images(seed: int) -> Tensor:
    noise = smooth("input/fast/img64", (2, 3, 64, 64), seed)
    return torch.from_numpy(np.float32(0.5) + np.float32(0.2) * noise)


def _raw_ratio(npz: Npz, at: str, raw: RawMotion) -> float:
    angles = [ratio(npz, f"{at}/{name}", getattr(raw, name), LOGITS) for name in ANGLES]
    others = [ratio(npz, f"{at}/{name}", getattr(raw, name), RAW_KEYPOINTS) for name in ("t", "exp", "scale", "kp")]
    return max(angles + others)


def _refined_ratio(goldens: Npz, at: str, raw: RawMotion) -> float:
    x_c, motion = refine(raw)
    degrees = [
        ratio(goldens, f"{at}/{name}", degrees_from_logits(getattr(raw, name))[:, None], DEGREES) for name in ANGLES
    ]
    return max(*degrees, ratio(goldens, f"{at}/kp", x_c, RAW_KEYPOINTS), _motion_ratio(goldens, at, motion))


def _motion_ratio(goldens: Npz, at: str, motion: Motion) -> float:
    parts = {"R": motion.R, "exp": motion.delta, "t": motion.t, "scale": motion.s}
    return max(ratio(goldens, f"{at}/{name}", ours, KEYPOINTS) for name, ours in parts.items())
