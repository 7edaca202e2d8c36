"""Motion of a face from its landmarks: head and expression taken apart, jitter of both, steps at window joints.

Every measure is in face widths, so that near and far faces, and any resolution, compare. Knows no video and no sound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from shared.timeline import FPS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# What the skull carries: forehead, nose, corners of the eyes, sides of the face.
RIGID = (10, 151, 168, 6, 197, 195, 5, 4, 33, 133, 362, 263, 127, 356, 234, 454, 162, 389, 21, 251)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
SIDES = (234, 454)

JITTER_HZ, FILTER_ORDER = 6.0, 4
SHORTEST_S = 1.0  # of a stretch with a face that jitter is measured on
ALIGN_ROUNDS = 3


@dataclass(frozen=True)
class FaceMotion:
    """Landmarks taken apart; NaN rows where no face was found.

    Attributes:
        head: (N, K, 2) where the skull's points are when the expression is left out, face widths.
        lips: (N, 40, 2) where the lips' points are when the head is left out, face widths.
        pose: (N, 3) pitch, yaw, roll in degrees against the mean pose: pitch > 0 face down, yaw > 0 nose to image left,
            roll > 0 clockwise.
    """

    head: Floats
    lips: Floats
    pose: Floats


def take_apart(landmarks: NDArray[np.float32]) -> FaceMotion:
    """Split landmarks into head and expression by similarity transforms of the skull's points.

    A frame is x_k = s R y_k + t with y the mean skull of the clip (Umeyama 1991, eq. 40 to 42); the mean is made by
    repeated alignment (generalised Procrustes, Gower 1975). The lips are carried back by the inverse transform.

    Args:
        landmarks: (N, 478, 3) pixels, z on the scale of x; NaN rows where no face was found, at least one finite.
    """
    found = np.isfinite(landmarks[:, 0, 0])
    points = landmarks[found].astype(np.float64)
    width = np.median(np.linalg.norm(points[:, SIDES[0], :2] - points[:, SIDES[1], :2], axis=1))
    points /= width
    skull = points[:, RIGID]
    mean = skull[0] - skull[0].mean(axis=0)
    for _ in range(ALIGN_ROUNDS):
        scale, turn, shift = similarity(mean, skull)
        mean = _carried_back(skull, scale, turn, shift).mean(axis=0)
    scale, turn, shift = similarity(mean, skull)
    head = scale[:, None, None] * (mean @ turn.transpose(0, 2, 1)) + shift[:, None]
    lips = _carried_back(points[:, LIPS], scale, turn, shift)
    pose = _angles(turn @ _mean_rotation(turn).T)
    return FaceMotion(*(_with_gaps(part, found) for part in (head[..., :2], lips[..., :2], pose)))


def similarity(shape: Floats, frames: Floats) -> tuple[Floats, Floats, Floats]:
    """Least-squares s, R, t with frames ~ s R shape + t for each frame (Umeyama 1991).

    Args:
        shape: (K, 3).
        frames: (N, K, 3).

    Returns:
        s (N,), R (N, 3, 3) proper rotations for column vectors, t (N, 3).
    """
    centre, middles = shape.mean(axis=0), frames.mean(axis=1)
    centred = shape - centre
    covariance = np.einsum("nki,kj->nij", frames - middles[:, None], centred)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.ones_like(d)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    turn = (u * sign[:, None]) @ vt
    scale = (d * sign).sum(axis=1) / np.square(centred).sum()
    shift = middles - scale[:, None] * (turn @ centre)
    return scale, turn, shift


def jitter(curve: Floats) -> Floats:
    """Squared displacement faster than 6 Hz, of every frame: mean over k of |h_k(t)|^2.

    h is the curve high-passed by a Butterworth filter of order 4, forward and backward, in each stretch with a face.

    Args:
        curve: (N, K, 2) face widths at 25 fps; NaN rows where no face was found.

    Returns:
        (N,) in square thousandths of the face width; NaN outside stretches of a second.
    """
    sections = butter(FILTER_ORDER, JITTER_HZ, btype="highpass", fs=FPS, output="sos")
    out = np.full(len(curve), np.nan)
    for begin, end in stretches(np.isfinite(curve[:, 0, 0])):
        if end - begin >= SHORTEST_S * FPS:
            fast = sosfiltfilt(sections, curve[begin:end], axis=0, padlen=min(FPS, end - begin - 1))
            out[begin:end] = 1e6 * np.square(fast).sum(axis=2).mean(axis=1)
    return out


def steps(curve: Floats) -> Floats:
    """Mean distance that points move from each frame to the next: (N, K, 2) to (N - 1,), NaN beside gaps."""
    moved: Floats = np.linalg.norm(np.diff(curve, axis=0), axis=2).mean(axis=1)
    return moved


@dataclass(frozen=True)
class Seam:
    """Motion at window joints.

    Attributes:
        ratio: mean step over the joints by mean step elsewhere; 1 is seamless.
        chance: 95th percentile of the same ratio with the joints moved to every other place of the window.
        n_joints: joints that were seen.
    """

    ratio: float
    chance: float
    n_joints: int


def seam(moved: Floats, joints: NDArray[np.int64], hop: int) -> Seam:
    """Compare the steps at window joints with all others.

    Args:
        moved: (N - 1,) size of the step from frame i to i + 1; NaN where unknown.
        joints: frames with which a new window begins.
        hop: frames between joints.
    """
    places = np.union1d(joints, joints - hop)
    by_chance = [_step_ratio(moved, places + offset)[0] for offset in range(2, hop - 1)]
    known = [ratio for ratio in by_chance if np.isfinite(ratio)]
    ratio, n_joints = _step_ratio(moved, joints)
    return Seam(ratio, float(np.quantile(known, 0.95)) if known else float("nan"), n_joints)


def stretches(flags: Flags) -> list[tuple[int, int]]:
    """Runs [begin, end) of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _step_ratio(moved: Floats, joints: NDArray[np.int64]) -> tuple[float, int]:
    """Ratio at some joints, and how many of them have a known step."""
    at = joints[(joints >= 1) & (joints <= len(moved))] - 1
    is_joint = np.zeros(len(moved), bool)
    is_joint[at] = True
    known = np.isfinite(moved)
    here, elsewhere = moved[known & is_joint], moved[known & ~is_joint]
    if not len(here) or not len(elsewhere) or elsewhere.mean() <= 0:
        return float("nan"), len(here)
    return float(here.mean() / elsewhere.mean()), len(here)


def _carried_back(points: Floats, scale: Floats, turn: Floats, shift: Floats) -> Floats:
    """(N, K, 3) points in the frame of the mean skull: R^T (x - t) / s."""
    back: Floats = (points - shift[:, None]) @ turn / scale[:, None, None]
    return back


def _mean_rotation(turn: Floats) -> Floats:
    """Rotation nearest to the mean of (N, 3, 3) rotations (Moakher 2002, projected arithmetic mean): (3, 3)."""
    u, _, vt = np.linalg.svd(turn.mean(axis=0))
    mean: Floats = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return mean


def _angles(turn: Floats) -> Floats:
    """Pitch, yaw, roll in degrees of R = Rz Ry Rx: (N, 3, 3) to (N, 3)."""
    pitch = np.arctan2(turn[:, 2, 1], turn[:, 2, 2])
    yaw = -np.arcsin(np.clip(turn[:, 2, 0], -1.0, 1.0))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    degrees: Floats = np.rad2deg(np.stack([pitch, yaw, roll], axis=1))
    return degrees


def _with_gaps(values: Floats, found: Flags) -> Floats:
    out = np.full((len(found), *values.shape[1:]), np.nan)
    out[found] = values
    return out
