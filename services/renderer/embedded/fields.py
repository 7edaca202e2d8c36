"""Dense displacement fields of the sliders, in two layers that are torn apart along the lips.

Layer "low" knows nothing of the upper lip and continues the lower lip's motion upwards; layer "up" mirrors that. Each
is smooth and does not fold across the lip line, both agree beyond the corners; the tear happens at compositing.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded import topology as at
from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.expression import MouthPlaces, landmark_fields, mouth_places
from services.renderer.embedded.geometry import GRID, Face, Floats, nodes
from services.renderer.embedded.lip_line import LipLine
from services.renderer.embedded.rbf import fit_and_evaluate

SMOOTHING = 0.5
CONTINUED = (0.12, 0.28, 0.50)  # of the mouth width: where a lip's motion is repeated across the line
BORDER_PINS = 13
BLUR_CELLS = 0.8


class Layers:
    """Both layers of all sliders on the coarse grid, and the landmarks' own displacements.

    Attributes:
        low: (12, 3 * GRID * GRID) float32; reshape a weighted sum to (3, GRID, GRID).
        up: the same for the upper layer.
        landmarks: (12, 468, 3) float32.
    """

    def __init__(self, face: Face, line: LipLine) -> None:
        places = mouth_places(face, line)
        self.landmarks = landmark_fields(face, line)
        self.low = _dense(face, self.landmarks, ~_above(places), at.INNER_LOWER, -1.0)
        self.up = _dense(face, self.landmarks, ~_below(places), at.INNER_UPPER, 1.0)


def _above(places: MouthPlaces) -> NDArray[np.bool_]:
    over = (places.v < 0) & (np.abs(places.u) < 1.0) & ~places.is_corner & ~places.is_lower
    return places.is_upper | over


def _below(places: MouthPlaces) -> NDArray[np.bool_]:
    under = (places.v > 0) & (np.abs(places.u) < 1.0) & ~places.is_corner & ~places.is_upper
    return places.is_lower | under


def _dense(face: Face, fields: Floats, keep: NDArray[np.bool_], edge: tuple[int, ...], direction: float) -> Floats:
    """One layer: fit the kept landmarks, the edge repeated across the line and the pins."""
    moved = fields.transpose(1, 0, 2).reshape(at.N_MESH, -1)
    lip = list(edge[1:-1])
    copies = [
        face.points[lip, :2] + np.array([0.0, direction * step * face.mouth_width], np.float32) for step in CONTINUED
    ]
    pins = _pins(face)
    points = np.concatenate([face.points[: at.N_MESH, :2][keep], *copies, pins])
    still = np.zeros((len(pins), moved.shape[1]), np.float32)
    values = np.concatenate([moved[keep], *(moved[lip] for _ in CONTINUED), still])
    active = np.flatnonzero(np.abs(values).max(axis=0) > 0)
    dense = np.zeros((moved.shape[1], GRID, GRID), np.float32)
    axis = nodes()
    fitted = fit_and_evaluate(points.astype(np.float32), values[:, active], axis, axis, SMOOTHING)
    for channel, plane in zip(active, fitted, strict=True):
        dense[channel] = cv2.GaussianBlur(plane, (0, 0), BLUR_CELLS, borderType=cv2.BORDER_REPLICATE)
    dense[:, [0, -1], :] = 0.0
    dense[:, :, [0, -1]] = 0.0
    return dense.reshape(len(fields), -1)


def _pins(face: Face) -> Floats:
    """Places that no slider moves: the border, below the chin, around the upper half of the face."""
    edge = np.linspace(0, CROP_PX - 1, BORDER_PINS)
    zero, end = np.zeros(BORDER_PINS), np.full(BORDER_PINS, CROP_PX - 1.0)
    border = np.concatenate([np.stack(pair, axis=1) for pair in ((edge, zero), (edge, end))])
    sides = np.concatenate([np.stack(pair, axis=1)[1:-1] for pair in ((zero, edge), (end, edge))])
    chin = face.points[at.CHIN, :2]
    throat = [
        chin + np.array([k * 0.22 * face.face_width, 0.42 * face.face_height]) for k in (-2.0, -1.0, 0.0, 1.0, 2.0)
    ]
    centre = face.oval_centre
    pushed = centre + 1.25 * (face.oval - centre)
    upper = pushed[face.oval[:, 1] < centre[1]]
    pins: Floats = np.concatenate([border, sides, np.array(throat), upper]).astype(np.float32)
    return pins
