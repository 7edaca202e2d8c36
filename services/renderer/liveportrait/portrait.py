"""A portrait ready to be driven, and the key points that motion rows give it.

This arithmetic is small and stays on the host, in float32: rows of several portraits are one batch, what goes to the
device is 63 numbers per frame, and numbers that cannot be drawn are refused before anything is queued.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.renderer.liveportrait.fast.warping import SourceState
from services.renderer.liveportrait.keypoints import Motion, place_keypoints, rotation_matrix
from services.renderer.liveportrait.landmarks import LIPS_PARTED
from services.renderer.liveportrait.motion_transfer import Offset, Stitch, relative_target, transfer
from services.renderer.liveportrait.paste import PasteBack, mask_template
from services.renderer.liveportrait.retargeting import closing_delta
from services.renderer.liveportrait.source import LivePortraitAppearance
from services.renderer.liveportrait.stitching import StitchingNetwork
from shared.errors import NonFiniteOutput
from shared.motion import EXP, PYR, SCALE, T, check_rows, neutral_row

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """What of a portrait the motion acts on; CPU, float32, batch of one.

    Attributes:
        x_c: (1, 21, 3) canonical key points.
        motion: of the photo.
        x_s: (1, 21, 3) key points of the photo.
        closing: (1, 21, 3) what closes parted lips of the photo; zero where they are closed.
    """

    x_c: Tensor
    motion: Motion
    x_s: Tensor
    closing: Tensor


@dataclass(frozen=True)
class Portrait:
    """One portrait on its device.

    Attributes:
        source: what W makes of its features, one row.
        pose: what the motion acts on.
        paste: into the photo, or None for square output.
        frame_shape: (h, w, 3) of a drawn frame.
    """

    source: SourceState
    pose: Pose
    paste: PasteBack | None
    frame_shape: tuple[int, int, int]


def pose_of(appearance: LivePortraitAppearance, networks: StitchingNetwork) -> Pose:
    """Key points of a portrait, and the official lip normalisation, which depends on the portrait only.

    Args:
        appearance: of the portrait.
        networks: on the CPU.
    """
    x_c = _row(appearance.x_c)
    motion = Motion(_row(appearance.R), _row(appearance.delta), _row(appearance.t), _row(appearance.s))
    x_s = place_keypoints(x_c, motion)
    lip_ratio = torch.tensor([[appearance.lip_ratio]])
    return Pose(x_c, motion, x_s, closing_delta(networks.retarget_mouth, x_s, lip_ratio, LIPS_PARTED))


def paste_of(appearance: LivePortraitAppearance) -> PasteBack | None:
    """The portrait's way back into its photo, where it has one."""
    if appearance.photo is None:
        return None
    return PasteBack(appearance.photo, appearance.o2c, mask_template())


def driving_points(
    poses: Sequence[Pose], rows: Floats, references: Sequence[Floats | None], networks: StitchingNetwork
) -> Tensor:
    """Driving key points of a batch: relative motion, stitching, then closing of lips, as officially.

    x_d = stitch(x_s, s (x_c R + delta) + t) + closing, with R = R_i R_0^T R_s, delta = delta_s + delta_i - delta_0,
    s = s_s s_i / s_0, t = t_s + t_i - t_0; frame 0 is the reference row, or the neutral row where rows are relative to
    the portrait. A row equal to its reference gives the stitched points of the photo itself.

    Args:
        poses: N portraits, one per frame.
        rows: (N, 70) float32 motion.
        references: N rows (70,) that show the portrait itself, or None.
        networks: on the CPU.

    Returns:
        (N, 21, 3) float32 on the CPU.

    Raises:
        ShapeError: motion of another shape or dtype.
        NonFiniteOutput: key points that are NaN or infinite.
    """
    neutral = neutral_row()
    zero = check_rows(np.stack([neutral if reference is None else reference for reference in references]))
    source = Motion.cat([pose.motion for pose in poses])
    target = relative_target(source, motion_of(check_rows(rows)), motion_of(zero))
    closing = torch.cat([pose.closing for pose in poses])
    x_c = torch.cat([pose.x_c for pose in poses])
    x_d = transfer(x_c, source, target, (Stitch(networks.retarget_shoulder), Offset(closing)))
    if not bool(x_d.isfinite().all()):
        bad = [index for index, points in enumerate(x_d) if not bool(points.isfinite().all())]
        raise NonFiniteOutput(
            f"motion of frames {bad} of {len(rows)} gives key points that are NaN or infinite. Check the motion "
            "model's weights; a reference row needs a scale above zero."
        )
    return x_d


def motion_of(rows: Floats) -> Motion:
    """Motion rows (N, 70) as tensors."""
    values = torch.from_numpy(np.ascontiguousarray(rows))
    return Motion(
        R=rotation_matrix(*values[:, PYR].unbind(1)),
        delta=values[:, EXP].reshape(-1, 21, 3),
        t=values[:, T],
        s=values[:, SCALE : SCALE + 1],
    )


def _row(array: NDArray[np.float32]) -> Tensor:
    """A batch of one; copied, since decoded arrays are read-only."""
    return torch.from_numpy(array.copy())[None]
