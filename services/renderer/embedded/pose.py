"""Head pose with a dense depth map: what a mesh would give, without its edges.

Forward displacement of a grid node: D = E_xy + W ((s R - 1)(X + E - pivot) + t)_xy, with X = (x, y, depth), E the sum
of the slider fields and W the head's weight. The pivot lies at the depth of the ears: the silhouette hardly moves with
yaw and pitch, only the inside shows parallax, so hair and background behave.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from services.renderer.embedded import topology as at
from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.controls import Controls
from services.renderer.embedded.geometry import (
    GRID,
    STRIDE,
    Bytes,
    Face,
    Floats,
    blur,
    node_grid,
    nodes,
    smoothstep,
    to_grid,
)
from services.renderer.embedded.rbf import fit_and_evaluate

DEPTH_STEP = 2  # the depth map is blurred, so every other node will do
BORDER_PX = 56.0
FALL_OFF = 0.42  # of the face width


@dataclass(frozen=True)
class Pose:
    """How a head turns.

    Attributes:
        offsets: (3, GRID, GRID) float32, node position minus pivot: x, y, depth.
        weight: (GRID, GRID) float32 0..1, how much a node belongs to the head; 0 on the border.
        pivot: (3,) float64 point that rotation leaves in place.
    """

    offsets: Floats
    weight: Floats
    pivot: np.ndarray[tuple[int], np.dtype[np.float64]]

    def displacement(self, expression: Floats, controls: Controls) -> Floats:
        """Forward displacement of every node: (2, GRID, GRID) pixels.

        Args:
            expression: (3, GRID, GRID) sum of slider fields.
            controls: the frame.
        """
        if controls.is_still:
            return expression[:2]
        moved = (self.offsets + expression).reshape(3, -1)
        turned = controls.pose.astype(np.float32) @ moved
        turned += controls.shift.astype(np.float32)[:, None]
        turned = turned.reshape(2, GRID, GRID)
        turned *= self.weight
        turned += expression[:2]
        return turned


def build_pose(face: Face, person: Bytes) -> Pose:
    """Depth, pivot and weight of one face."""
    pivot = np.array(
        [face.oval_centre[0], face.chin_y + 0.05 * face.face_height, face.hinge_z + 0.05 * face.face_width], np.float64
    )
    position = np.concatenate([node_grid(), _depth(face)[None]])
    offsets = (position - pivot[:, None, None]).astype(np.float32)
    return Pose(offsets, _weight(face, person), pivot)


def _depth(face: Face) -> Floats:
    """Depth of every node; behind the face it runs to a plane a little behind the ears."""
    mesh = face.points[: at.N_MESH]
    centre, oval = face.oval_centre, face.points[list(at.FACE_OVAL)]
    points, values = [mesh[:, :2]], [mesh[:, 2]]
    for push, back in ((1.25, 0.10), (1.6, 0.16)):
        points.append(centre + push * (oval[:, :2] - centre))
        values.append(np.minimum(oval[:, 2], face.hinge_z) + back * face.face_width)
    axis = nodes().reshape(-1, DEPTH_STEP).mean(axis=1)
    sites, depths = np.concatenate(points), np.concatenate(values)[:, None]
    coarse = fit_and_evaluate(sites, depths, axis, axis, smoothing=1.0)[0]
    depth = cv2.resize(coarse, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    return blur(np.minimum(depth, face.hinge_z + 0.22 * face.face_width), 2.0)


def _weight(face: Face, person: Bytes) -> Floats:
    centre = face.oval_centre
    stretch = np.where(face.oval[:, 1:] < centre[1], 1.38, 1.04)
    outline = to_grid((centre + stretch * (face.oval - centre)).astype(np.float32))
    head = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(head, [np.rint(outline).astype(np.int32)], 255)
    axis = nodes()
    people = (cv2.resize(person, (GRID, GRID), interpolation=cv2.INTER_AREA) > 127).astype(np.uint8) * 255
    people[axis > face.chin_y + 0.05 * face.face_height, :] = 0
    people[:, np.abs(axis - centre[0]) > 1.05 * face.face_width] = 0
    head |= people
    distance = cv2.distanceTransform(255 - head, cv2.DIST_L2, 5) * STRIDE
    weight = 1.0 - smoothstep(0.0, FALL_OFF * face.face_width, distance)
    to_border = np.minimum(axis + 0.5, CROP_PX - 0.5 - axis)
    fade = smoothstep(0.0, BORDER_PX, to_border)
    weight = blur(weight * np.minimum.outer(fade, fade), 2.0)
    weight[[0, -1], :] = 0.0
    weight[:, [0, -1]] = 0.0
    return weight
