"""Where the lips meet: the curve that decides the quality of everything around the mouth.

Landmarks are a pixel or two off the dark seam between closed lips, which shows as doubled or bright rims once the lips
part. So for a closed mouth the seam itself is found in the photo by dynamic programming.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from services.renderer.embedded import topology as at
from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.geometry import Bytes, Face, Floats, blur

CLOSED_GAP = 0.055  # of the mouth width, landmarks 13-14
SEARCH = 0.05  # of the mouth width, up and down
STEP_PX = 0.5


@dataclass(frozen=True)
class LipLine:
    """Lower edge of the upper lip and upper edge of the lower lip.

    Attributes:
        upper: (512,) y per column.
        lower: (512,) y per column, >= upper; equal where the mouth is closed.
        left: x of the inner left corner.
        right: x of the inner right corner.
        is_closed: the lips touch in the photo.
    """

    upper: Floats
    lower: Floats
    left: float
    right: float
    is_closed: bool

    def upper_at(self, x: Floats | float) -> Floats:
        """Upper curve at any x."""
        return np.interp(x, np.arange(CROP_PX), self.upper).astype(np.float32)

    def lower_at(self, x: Floats | float) -> Floats:
        """Lower curve at any x."""
        return np.interp(x, np.arange(CROP_PX), self.lower).astype(np.float32)

    def beyond(self, x: Floats) -> Floats:
        """Pixels outside the corners, 0 between them."""
        outside: Floats = np.maximum(np.maximum(self.left - x, x - self.right), 0.0).astype(np.float32)
        return outside


def find_lip_line(texture: Bytes, face: Face) -> LipLine:
    """Find the two curves.

    Args:
        texture: (512, 512, 3) uint8 RGB.
        face: its landmarks.
    """
    upper = _curve(face.points[list(at.INNER_UPPER), :2])
    lower = _curve(face.points[list(at.INNER_LOWER), :2])
    left, right = sorted((float(face.points[78, 0]), float(face.points[308, 0])))
    gap = float(face.points[14, 1] - face.points[13, 1])
    if abs(gap) >= CLOSED_GAP * face.mouth_width:
        return LipLine(upper, np.maximum(lower, upper), left, right, is_closed=False)
    seam = _follow_seam(texture, (upper + lower) / 2, left, right, face.mouth_width)
    return LipLine(seam, seam, left, right, is_closed=True)


def _curve(points: Floats) -> Floats:
    """Monotone piecewise cubic through points of rising x, constant outside: (512,)."""
    order = np.argsort(points[:, 0], kind="stable")
    x, y = points[order, 0].astype(np.float64), points[order, 1].astype(np.float64)
    keep = np.concatenate([[True], np.diff(x) > 0.05])
    x, y = x[keep], y[keep]
    columns = np.clip(np.arange(CROP_PX), x[0], x[-1])
    curve: Floats = PchipInterpolator(x, y)(columns).astype(np.float32)
    return curve


def _follow_seam(texture: Bytes, start: Floats, left: float, right: float, mouth_width: float) -> Floats:
    """Darkest smooth path near ``start`` between the corners."""
    grey = cv2.cvtColor(texture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), sigmaX=2.0, sigmaY=0.9, borderType=cv2.BORDER_REPLICATE)
    columns = np.arange(max(int(np.ceil(left)), 0), min(int(right), CROP_PX - 1) + 1)
    reach = max(round(SEARCH * mouth_width / STEP_PX), 1)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32) * STEP_PX
    if len(columns) < 3:
        return start
    map_x = np.repeat(columns[:, None].astype(np.float32), len(offsets), axis=1)
    map_y = start[columns][:, None] + offsets[None, :]
    cost = cv2.remap(grey, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    to_corner = np.minimum(columns - left, right - columns)
    stiffness = 0.6 + 4.0 * (to_corner < 0.12 * mouth_width)
    cost += stiffness[:, None].astype(np.float32) * offsets[None, :] ** 2
    path = offsets[_cheapest_path(cost, transition=3.0)]
    path = blur(path.reshape(1, -1), 2.5).ravel()
    seam = start.copy()
    seam[columns] += path
    seam[: columns[0]] = seam[columns[0]]
    seam[columns[-1] :] = seam[columns[-1]]
    return seam


def _cheapest_path(cost: Floats, transition: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Viterbi over columns: steps of one offset at most, each at a price."""
    n_columns, n_offsets = cost.shape
    total = cost[0].copy()
    came_from = np.zeros((n_columns, n_offsets), np.int64)
    padded = np.full(n_offsets + 2, np.inf, np.float32)
    for column in range(1, n_columns):
        padded[1:-1] = total
        choices = np.stack([padded[:-2] + transition, padded[1:-1], padded[2:] + transition])
        best = choices.argmin(axis=0)
        came_from[column] = best + np.arange(n_offsets) - 1
        total = choices[best, np.arange(n_offsets)] + cost[column]
    path = np.empty(n_columns, np.int64)
    path[-1] = int(total.argmin())
    for column in range(n_columns - 1, 0, -1):
        path[column - 1] = came_from[column, path[column]]
    return path
