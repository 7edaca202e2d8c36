"""Landmarks of a track -> head pose, and landmarks as they would stand without it.

Weak perspective: a picture shows the head's points X as s R X + T with depth on the scale of x, which is how MediaPipe
gives it. The rotation between two frames is a least-squares fit over points that expressions hardly move. Axes and
signs are the contract's: x right, y down, z away; R = Rz(roll) Ry(yaw) Rx(pitch) for column vectors; +pitch face down,
+yaw nose to image left, +roll clockwise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.controls import angles, rotations

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Hairline, temples, sides, bridge of the nose, corners of the eyes: brows, lips and jaw hardly move them.
STABLE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 109, 67, 103, 54, 21, 162, 127, 234, 454),
    *(6, 197, 195, 5, 4, 33, 133, 263, 362, 130, 359, 243, 463, 226, 446, 227, 447, 116, 345),
)
MIRRORED = ((33, 263), (133, 362), (127, 356), (234, 454), (61, 291), (54, 284))
FOREHEAD, CHIN, LEFT_SIDE, RIGHT_SIDE = 10, 152, 234, 454
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
CROP_OVER_FACE = 2.3  # side of the renderers' crop over the longer side of the face's box
N_MESH = 468


@dataclass(frozen=True)
class HeadPath:
    """How a head moved against its resting pose.

    Attributes:
        pyr: (N, 3) float64 degrees: pitch, yaw, roll.
        t: (N, 2) float64 way of the head's pivot, in units of the renderers' crop (which spans -1..1).
        scale: (N,) float64, 1 at rest.
        still: (N, 478, 3) float64 landmarks in the resting pose, in face widths; the origin is
            the middle of the points that do not move.
    """

    pyr: Doubles
    t: Doubles
    scale: Doubles
    still: Doubles


def coarse_pose(points: Floats) -> Doubles:
    """Pitch, yaw, roll of faces by the lie of their axes, within about 5 degrees: (N, 3).

    The x axis runs through mirrored pairs of points, the y axis from the forehead to the chin. Pitch has the bias of
    that line.

    Args:
        points: (N, 478, 3) pixels.
    """
    left, right = (points[:, list(side)].astype(np.float64) for side in zip(*MIRRORED, strict=True))
    across = _unit((right - left).mean(axis=1))
    down = (points[:, CHIN] - points[:, FOREHEAD]).astype(np.float64)
    down = _unit(down - np.sum(down * across, axis=1, keepdims=True) * across)
    return angles(np.stack([across, down, np.cross(across, down)], axis=2))


def head_path(points: Floats) -> HeadPath:
    """Split a track into the way of the head and the face without it.

    The reference is the frame whose coarse pose is nearest to the track's median, averaged with all others once they
    are turned to it; resting pose, place and size are medians.

    Args:
        points: (N, 478, 3) pixels, no NaN.
    """
    pose = coarse_pose(points)
    start = points[np.argmin(np.linalg.norm(pose - np.median(pose, axis=0), axis=1))].astype(np.float64)
    for _ in range(2):
        fits = [fit(start[list(STABLE)], frame[list(STABLE)]) for frame in points.astype(np.float64)]
        start = np.mean([((p - t) @ R) / s for p, (s, R, t) in zip(points, fits, strict=True)], axis=0)
    fits = [fit(start[list(STABLE)], frame[list(STABLE)]) for frame in points.astype(np.float64)]
    s = np.array([f[0] for f in fits])
    R = np.stack([f[1] for f in fits])
    T = np.stack([f[2] for f in fits])
    rest = rotations(np.median(angles(R), axis=0)[None])[0]
    rest_s = float(np.median(s))
    # From here on the reference stands in the resting pose, at the resting size.
    start = rest_s * start @ rest.T
    turn, scale = R @ rest.T, s / rest_s
    pivot = _pivot(start)
    way = scale[:, None] * (turn @ pivot) + T - pivot
    way -= np.median(way, axis=0)
    half_crop = 0.5 * CROP_OVER_FACE * float(np.ptp(start[:N_MESH, :2], axis=0).max())
    width = float(np.linalg.norm(start[RIGHT_SIDE] - start[LEFT_SIDE]))
    still = np.einsum("nij,nkj->nki", turn.transpose(0, 2, 1), points - T[:, None]) / scale[:, None, None]
    still = (still - start[list(STABLE)].mean(axis=0)) / width
    return HeadPath(angles(turn), way[:, :2] / half_crop, scale, still)


def fit(source: Doubles, target: Doubles) -> tuple[float, Doubles, Doubles]:
    """Similarity that takes (K, 3) points onto others with the least squared error: target = s R source + T.

    Umeyama, IEEE PAMI 13(4), 1991, eqs. 40-42.

    Returns:
        s, R (3, 3), T (3,).
    """
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean_source, target - mean_target
    U, D, Vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = U @ np.diag(sign) @ Vt
    s = float((D * sign).sum() / np.mean(np.sum(a**2, axis=1)))
    return s, R, mean_target - s * R @ mean_source


def _pivot(face: Doubles) -> Doubles:
    """The point that the embedded renderer turns heads about: below the chin, at the depth of the ears."""
    chin_y = face[CHIN, 1]
    height = float(np.linalg.norm(face[CHIN, :2] - face[FOREHEAD, :2]))
    width = float(np.linalg.norm(face[LEFT_SIDE, :2] - face[RIGHT_SIDE, :2]))
    depth = face[[LEFT_SIDE, RIGHT_SIDE], 2].mean() + 0.05 * width
    return np.array([face[list(OVAL), 0].mean(), chin_y + 0.05 * height, depth])


def _unit(vectors: NDArray[Any]) -> Doubles:
    unit: Doubles = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit
