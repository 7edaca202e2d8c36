"""Implicit key points: angles, rotations, the transform of Eq. 2, and what stitching and retargeting add to them.

LivePortrait (arXiv:2407.03168). Everything is float32 arithmetic on batches, on the device of its arguments, and never
waits for it. Knows no network: what the stitching module computes is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.renderer.liveportrait.motion_extractor import RawMotion

N_KEYPOINTS = 21
N_BINS = 66
BIN_DEGREES = 3.0
FIRST_BIN_DEGREES = -97.5


@dataclass(frozen=True)
class Motion:
    """Where a head is and what its face does; the batch axes of all four broadcast.

    Attributes:
        R: (B, 3, 3) rotation, applied to row vectors from the right.
        delta: (B, 21, 3) expression deltas, model units.
        t: (B, 3) translation; its z is never used.
        s: (B, 1) scale.
    """

    R: Tensor
    delta: Tensor
    t: Tensor
    s: Tensor

    @classmethod
    def cat(cls, motions: Sequence["Motion"]) -> "Motion":
        """One batch of the rows of several."""
        return cls(*(torch.cat([getattr(motion, name) for motion in motions]) for name in ("R", "delta", "t", "s")))


def degrees_from_logits(angle: Tensor) -> Tensor:
    """Expected angle over 66 bins: 3 sum(i p_i) - 97.5 degrees, i from 0.

    Args:
        angle: (B, 66) logits; anything of another rank or width already is in degrees and comes back as it is.

    Returns:
        (B,) degrees in -97.5 .. 97.5, or ``angle`` itself.
    """
    if angle.ndim != 2 or angle.shape[1] != N_BINS:
        return angle
    bins = torch.arange(N_BINS, dtype=torch.float32, device=angle.device)
    return (torch.softmax(angle.float(), dim=1) * bins).sum(dim=1) * BIN_DEGREES + FIRST_BIN_DEGREES


def rotation_matrix(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """R = (Rz(roll) Ry(yaw) Rx(pitch)) transposed, for row vectors x R.

    The elementary rotations are right-handed about x (right), y (down) and z (away from the camera). A nose has
    negative z, so +pitch lowers it, +yaw moves it to image left, and +roll turns the head clockwise on the screen.

    Args:
        pitch: (B,) or (B, 1) degrees.
        yaw: the same.
        roll: the same.

    Returns:
        (B, 3, 3).
    """
    x, y, z = (torch.deg2rad(angle.reshape(-1)) for angle in (pitch, yaw, roll))
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    about_x = _matrix([one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos()])
    about_y = _matrix([y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos()])
    about_z = _matrix([z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one])
    return (about_z @ about_y @ about_x).transpose(1, 2)


def place_keypoints(x_c: Tensor, motion: Motion) -> Tensor:
    """Place canonical key points under a motion: x = s (x_c R + delta) + t, Eq. 2.

    Deviation of the released networks from the paper: t_z is dropped.

    Args:
        x_c: (B, 21, 3) canonical key points, model units.
        motion: B rows; batch axes broadcast.

    Returns:
        (B, 21, 3) key points, dtype and device of x_c.
    """
    x = motion.s[..., None] * (x_c @ motion.R + motion.delta)
    return torch.cat([x[..., :2] + motion.t[:, None, :2], x[..., 2:]], dim=-1)


def refine(raw: RawMotion) -> tuple[Tensor, Motion]:
    """Turn what the motion extractor gives into key points and their motion.

    Args:
        raw: pitch, yaw, roll (B, 66) logits or degrees; t (B, 3); exp (B, 63); scale (B, 1); kp (B, 63).

    Returns:
        x_c (B, 21, 3) canonical key points, and the motion; float32.
    """
    angles = [degrees_from_logits(angle.float()) for angle in (raw.pitch, raw.yaw, raw.roll)]
    motion = Motion(
        R=rotation_matrix(*angles),
        delta=raw.exp.float().reshape(-1, N_KEYPOINTS, 3),
        t=raw.t.float().reshape(-1, 3),
        s=raw.scale.float().reshape(-1, 1),
    )
    return raw.kp.float().reshape(-1, N_KEYPOINTS, 3), motion


def stitching_feature(x_s: Tensor, x_d: Tensor) -> Tensor:
    """Input of the stitching network: source, then driving key points, flat.

    Args:
        x_s: (B, 21, 3) or (1, 21, 3).
        x_d: (B, 21, 3).

    Returns:
        (B, 126).
    """
    return torch.cat([x_s.expand_as(x_d).flatten(1), x_d.flatten(1)], dim=1)


def apply_stitching(x_d: Tensor, delta: Tensor) -> Tensor:
    """Move driving key points by what the stitching network gives.

    Args:
        x_d: (B, 21, 3).
        delta: (B, 65): 63 offsets of the points, then one x and one y for all of them.

    Returns:
        (B, 21, 3).
    """
    n_point_values = 3 * N_KEYPOINTS
    moved = x_d + delta[:, :n_point_values].reshape(-1, N_KEYPOINTS, 3)
    together = delta[:, None, n_point_values : n_point_values + 2]
    return torch.cat([moved[..., :2] + together, moved[..., 2:]], dim=-1)


def retargeting_feature(x_s: Tensor, *ratios: Tensor) -> Tensor:
    """Input of the eye or lip network: source key points, flat, then the ratios.

    Eyes: source left, source right, then one ratio for both eyes of the driving frame. Lips: source, then driving.

    Args:
        x_s: (B, 21, 3) or (1, 21, 3).
        ratios: (B, k) each.

    Returns:
        (B, 63 + sum of k).
    """
    ratio = torch.cat(ratios, dim=1)
    return torch.cat([x_s.flatten(1).expand(len(ratio), -1), ratio], dim=1)


def retargeting_delta(flat: Tensor) -> Tensor:
    """(B, 63) output of the eye or lip network as offsets of the points: (B, 21, 3)."""
    return flat.reshape(-1, N_KEYPOINTS, 3)


def frames_u8(image: Tensor) -> Tensor:
    """Network image to pixels: clipped to 0 .. 1, times 255, truncated.

    Args:
        image: (B, 3, H, W).

    Returns:
        (B, H, W, 3) uint8 RGB.
    """
    return (image.clamp(0.0, 1.0) * 255.0).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _matrix(entries: list[Tensor]) -> Tensor:
    return torch.stack(entries, dim=1).reshape(-1, 3, 3)
