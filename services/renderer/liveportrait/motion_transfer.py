"""Motion of a driving head onto a source portrait, as the official pipeline does it, in pieces that compose.

LivePortrait (arXiv:2407.03168), section 3.3, and its released inference code. A transfer is a *target* (how driving
motion and source motion make one: `relative_target`, `absolute_target`) and an ordered sequence of *steps* on the
placed key points (`Stitch`, `Offset`, `Instead`, `Amplify`, `expression_friendly`).
The official options are such sequences:

    relative                       relative_target, Stitch
    relative, lips normalised      relative_target, Stitch, Offset(lip delta of ratio 0)
    relative, eyes/lips retargeted relative_target, Instead(eye delta + lip delta), Stitch
    absolute, eyes/lips retargeted absolute_target, Offset(eye delta + lip delta), Stitch
    expression-friendly            relative_target, expression_friendly, ...
    driving multiplier             ..., Amplify(k)

without stitching the Stitch is left out. Knows no network (their functions are arguments) and no image.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from services.renderer.liveportrait.keypoints import (
    N_KEYPOINTS,
    Motion,
    apply_stitching,
    place_keypoints,
    stitching_feature,
)

Step = Callable[[Tensor, Tensor], Tensor]  # (x_s, x_d) -> x_d
Mlp = Callable[[Tensor], Tensor]

LIP_POINTS = (6, 12, 14, 17, 19, 20)
EYE_POINTS = (11, 13, 15, 16, 18)
X, Y, Z = 0, 1, 2

Entries = tuple[tuple[int, int], ...]  # (key point, axis) pairs


def _whole(points: Sequence[int]) -> Entries:
    return tuple((point, axis) for point in points for axis in (X, Y, Z))


ALL_ENTRIES = _whole(range(N_KEYPOINTS))
# What absolute motion copies of the expression; the rest carries identity or pose and stays the source's.
EXPRESSION_ENTRIES = (*_whole((1, 2, 6, *range(11, 21))), (3, Y), (4, Y), (5, Z), (8, Z), (9, Y), (9, Z))


@dataclass(frozen=True)
class Region:
    """Which part of the motion the driving frames decide; the rest stays the source's.

    Attributes:
        moves_head: rotation and translation.
        scales_head: scale, in relative motion.
        relative_entries: (key point, axis) pairs of the expression, in relative motion.
        absolute_entries: the same in absolute motion.
    """

    moves_head: bool
    scales_head: bool
    relative_entries: Entries
    absolute_entries: Entries


REGIONS = {
    "all": Region(True, True, ALL_ENTRIES, EXPRESSION_ENTRIES),
    "exp": Region(False, False, ALL_ENTRIES, EXPRESSION_ENTRIES),
    "pose": Region(True, False, (), ()),
    "lip": Region(False, False, _whole(LIP_POINTS), _whole(LIP_POINTS)),
    "eyes": Region(False, False, _whole(EYE_POINTS), _whole(EYE_POINTS)),
}


def relative_target(source: Motion, driving: Motion, reference: Motion, region: Region = REGIONS["all"]) -> Motion:
    """Add to the source what the driving head did since its reference frame.

    R = R_i R_0^T R_s, delta = delta_s + delta_i - delta_0, s = s_s s_i / s_0, t = t_s + t_i - t_0.

    Args:
        source: B or 1 rows.
        driving: B rows.
        reference: B or 1 rows: the driving frame in which the driving head looks like the source.
        region: what of it is used.

    Returns:
        B rows.
    """
    R, t, s = source.R.expand_as(driving.R), source.t.expand_as(driving.t), source.s.expand_as(driving.s)
    if region.moves_head:
        R = driving.R @ reference.R.transpose(1, 2) @ source.R
        t = source.t + (driving.t - reference.t)
    if region.scales_head:
        s = source.s * (driving.s / reference.s)
    delta = source.delta + (driving.delta - reference.delta)
    return Motion(R=R, delta=_choose(region.relative_entries, delta, source.delta), t=t, s=s)


def absolute_target(source: Motion, driving: Motion, region: Region = REGIONS["all"]) -> Motion:
    """Replace what the source does by what the driving head does; the scale stays the source's.

    Args:
        source: B or 1 rows.
        driving: B rows.
        region: what of it is used.

    Returns:
        B rows.
    """
    return Motion(
        R=driving.R if region.moves_head else source.R.expand_as(driving.R),
        delta=_choose(region.absolute_entries, driving.delta, source.delta),
        t=driving.t if region.moves_head else source.t.expand_as(driving.t),
        s=source.s.expand_as(driving.s),
    )


def image_reference(driving: Motion, delta: Tensor) -> Motion:
    """Reference of a single driving image: its own pose, so that pose cancels, and a given expression.

    Args:
        driving: one row.
        delta: (1, 21, 3): `closed_lips` for every region but the eyes, zeros for the eyes.
    """
    return Motion(R=driving.R, delta=delta, t=driving.t, s=driving.s)


@cache
def closed_lips() -> Tensor:
    """Expression of a face at rest with closed lips: (1, 21, 3) float32, the official constant ``lip_array``."""
    text = resources.files(__package__).joinpath("lip_array.json").read_text(encoding="utf-8")
    return torch.tensor(json.loads(text)["lip_array"], dtype=torch.float32)[None]


def transfer(x_c: Tensor, source: Motion, target: Motion, steps: Sequence[Step] = ()) -> Tensor:
    """Driving key points: the source's canonical points under the target motion, then step after step.

    Args:
        x_c: (B, 21, 3) or (1, 21, 3) canonical key points of the source.
        source: motion of the source image; B or 1 rows.
        target: B rows.
        steps: what follows, in order.

    Returns:
        (B, 21, 3).
    """
    x_s = place_keypoints(x_c, source)
    x_d = place_keypoints(x_c, target)
    for step in steps:
        x_d = step(x_s, x_d)
    return x_d


@dataclass(frozen=True)
class Stitch:
    """Fit the driving points to the source's shoulders: (B, 126) -> (B, 65) network."""

    network: Mlp

    def __call__(self, x_s: Tensor, x_d: Tensor) -> Tensor:
        """Move x_d by what the network says."""
        return apply_stitching(x_d, self.network(stitching_feature(x_s, x_d)))


@dataclass(frozen=True)
class Offset:
    """Add an offset (B, 21, 3) or (1, 21, 3) to the driving points."""

    delta: Tensor

    def __call__(self, x_s: Tensor, x_d: Tensor) -> Tensor:
        """x_d + delta."""
        return x_d + self.delta


@dataclass(frozen=True)
class Instead:
    """Forget the driving motion and move the source points by an offset (B, 21, 3)."""

    delta: Tensor

    def __call__(self, x_s: Tensor, x_d: Tensor) -> Tensor:
        """x_s + delta."""
        return (x_s + self.delta).expand_as(x_d)


@dataclass(frozen=True)
class Amplify:
    """Exaggerate (factor above 1) or soften the way from the source points."""

    factor: float

    def __call__(self, x_s: Tensor, x_d: Tensor) -> Tensor:
        """x_s + factor (x_d - x_s)."""
        return x_s + (x_d - x_s) * self.factor


def expression_friendly(x_s: Tensor, x_d: Tensor) -> Tensor:
    """Start at the source points and scale the clip's motion by the size of the heads.

    x_d := x_s + m (x_d - x_d,0), m = `motion_multiplier`. Frame 0 is the first row of x_d. Waits for the device.
    """
    return x_s + (x_d - x_d[:1]) * motion_multiplier(x_s[:1], x_d[:1])


def motion_multiplier(x_s: Tensor, x_d0: Tensor) -> float:
    """sqrt(hull volume of x_s) / sqrt(hull volume of x_d0), 3-D convex hulls of (1, 21, 3) points."""
    volumes = [ConvexHull(points[0].detach().cpu().numpy()).volume for points in (x_s, x_d0)]
    return float(volumes[0] ** 0.5 / volumes[1] ** 0.5)


def _choose(entries: Entries, new: Tensor, old: Tensor) -> Tensor:
    """New values at the given (key point, axis) entries, old ones elsewhere: (B, 21, 3)."""
    if entries == ALL_ENTRIES:
        return new
    chosen = torch.zeros(N_KEYPOINTS, 3, dtype=torch.bool, device=new.device)
    for point, axis in entries:
        chosen[point, axis] = True
    return torch.where(chosen, new, old)
