"""The mouth of one frame: interior, then the lower layer, then the upper layer, in a box around the lips."""

from dataclasses import dataclass

import cv2
import numpy as np

from services.renderer.embedded.appearance import CROP_PX
from services.renderer.embedded.controls import FIELD_INDEX, Controls
from services.renderer.embedded.geometry import GRID, STRIDE, Bytes, Face, Floats, smoothstep
from services.renderer.embedded.lip_line import LipLine
from services.renderer.embedded.mouth_paint import SCALE, Interior, paint_interior
from services.renderer.embedded.pose import Pose

BESIDE, ABOVE, BELOW = 0.35, 0.34, 0.78  # of the mouth width, around the lips
EDGE_PX = 1.3
REACH_PX = 0.9  # each lip's mask crosses the line this far, so that nothing leaks through a closed mouth
FEATHER_PX = 8
TONGUE_FOLLOWS, TEETH_FOLLOW = 0.72, 0.90


@dataclass(frozen=True)
class Box:
    """A rectangle of grid cells: columns [left, right), rows [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        return slice(self.top * STRIDE, self.bottom * STRIDE), slice(self.left * STRIDE, self.right * STRIDE)


class Mouth:
    """Everything about one portrait's mouth that does not change from frame to frame."""

    def __init__(self, texture: Bytes, face: Face, line: LipLine, landmark_fields: Floats, pose: Pose) -> None:
        self.line = line
        self.interior: Interior = paint_interior(texture, face, line)
        self.up_mask, self.low_mask = _masks(line)
        self._face = face
        self._pose = pose
        self._gap_fields = landmark_fields[:, 14, 1] - landmark_fields[:, 13, 1]
        self._jaw_drop = float(landmark_fields[FIELD_INDEX["jaw"], 14, 1])
        self._close_lift = float(landmark_fields[FIELD_INDEX["close"], 14, 1])
        self._rest_gap = 0.0 if line.is_closed else float(face.points[14, 1] - face.points[13, 1])
        self._centre = np.array([face.mouth_x, float(line.lower_at(face.mouth_x))])
        self._depth = float(face.points[[13, 14], 2].mean()) + 0.08 * face.mouth_width

    def box(self, controls: Controls) -> Box:
        """Grid cells that hold the whole mouth under a pose."""
        mw = self._face.mouth_width
        x, y = self._place(controls, self._centre[None])[0]
        half = (0.5 + BESIDE) * mw + 6
        curve = float(np.ptp(self.line.lower))
        cells = np.array([x - half, y - ABOVE * mw - curve, x + half, y + BELOW * mw]) / STRIDE
        left, top = (int(v) for v in np.clip(np.floor(cells[:2]), 1, GRID - 2))
        right, bottom = (int(v) for v in np.clip(np.ceil(cells[2:]), 2, GRID - 1))
        return Box(left, top, max(right, left + 1), max(bottom, top + 1))

    def draw(self, frame: Bytes, texture: Bytes, up_map: Floats, low_map: Floats, box: Box, controls: Controls) -> None:
        """Composite the mouth into a frame, in place.

        Args:
            frame: (512, 512, 3) uint8, already warped.
            texture: (512, 512, 3) uint8 to sample from.
            up_map: (h, w, 2) sampling map of the upper layer inside the box.
            low_map: the same for the lower layer.
            box: where.
            controls: the frame's sliders and pose.
        """
        up_alpha = cv2.remap(self.up_mask, up_map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        low_alpha = cv2.remap(self.low_mask, low_map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        upper = cv2.remap(texture, up_map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mouth = cv2.remap(texture, low_map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        hidden = cv2.max(up_alpha, low_alpha)
        if float(hidden.min()) < 1.0:
            inside = self._inside(up_alpha, low_alpha, box, controls)
            mouth = cv2.blendLinear(mouth, inside, low_alpha, 1.0 - low_alpha)
        mouth = cv2.blendLinear(upper, mouth, up_alpha, 1.0 - up_alpha)
        here = frame[box.pixels]
        feather = _feather(mouth.shape[0], mouth.shape[1])
        frame[box.pixels] = cv2.blendLinear(mouth, np.ascontiguousarray(here), feather, 1.0 - feather)

    def _inside(self, up_alpha: Floats, low_alpha: Floats, box: Box, controls: Controls) -> Bytes:
        """Painted layers under this frame's pose and jaw, shaded by the lips around them."""
        jaw = float(controls.fields[FIELD_INDEX["jaw"]])
        drop = jaw * self._jaw_drop
        lift = float(controls.fields[FIELD_INDEX["close"]]) * self._close_lift
        size = (up_alpha.shape[1], up_alpha.shape[0])
        paint = self.interior
        picture = np.empty((size[1], size[0], 3), np.uint8)
        picture[:] = paint.cavity
        tongue = float(smoothstep(0.15, 0.55, jaw))
        if tongue > 0.0:
            layer = self._placed(paint.tongue, controls, box, size, TONGUE_FOLLOWS * drop + lift)
            picture = _over(cv2.convertScaleAbs(layer, alpha=tongue) if tongue < 1.0 else layer, picture)
        picture = _over(self._placed(paint.lower, controls, box, size, TEETH_FOLLOW * drop + lift), picture)
        shade = self._shade(up_alpha, low_alpha, controls)
        upper = self._placed(paint.upper, controls, box, size, 0.0)
        if paint.is_own:
            return _over(upper, _darken(picture, shade, paint.ambient))
        return _darken(_over(upper, picture), shade, paint.ambient)

    def _shade(self, up_alpha: Floats, low_alpha: Floats, controls: Controls) -> Floats:
        mw = self._face.mouth_width
        kernel = max(3, round(0.07 * mw) | 1)
        shift = max(1, round(0.03 * mw))
        above = np.empty_like(up_alpha)
        above[:shift] = up_alpha[:1]
        above[shift:] = up_alpha[:-shift]
        above = cv2.blur(above, (kernel, kernel))
        below = cv2.blur(low_alpha, (kernel, kernel))
        gap = self._rest_gap + float(controls.fields @ self._gap_fields)
        light = 0.76 + 0.24 * float(smoothstep(0.02, 0.20, gap / mw))
        above *= -0.40
        above += 1.0
        below *= -0.26 * light
        below += light
        above *= below
        shade: Floats = above
        return shade

    def _placed(self, layer: Bytes, controls: Controls, box: Box, size: tuple[int, int], down: float) -> Bytes:
        """A painted layer moved with the skull, ``down`` pixels lower, cut to the box."""
        paint = self.interior
        linear = np.eye(2) + controls.pose[:, :2]
        origin = np.array([paint.left, paint.top + down]) - (1 - 1 / SCALE) / 2
        start = self._place(controls, origin[None])[0]
        matrix = np.empty((2, 3))
        matrix[:, :2] = linear / SCALE
        matrix[:, 2] = start - [box.left * STRIDE, box.top * STRIDE]
        placed: Bytes = cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return placed

    def _place(self, controls: Controls, points: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> Floats:
        """Where points at the depth of the mouth go under the pose: (n, 2) -> (n, 2)."""
        depth = np.full((len(points), 1), self._depth)
        offsets = np.concatenate([points, depth], axis=1) - self._pose.pivot
        placed: Floats = points + offsets @ controls.pose.T + controls.shift
        return placed


def _masks(line: LipLine) -> tuple[Floats, Floats]:
    """What belongs to the upper and to the lower layer, in the photo: two (512, 512) float32, 0..1."""
    x = np.arange(CROP_PX, dtype=np.float32)
    y = x[:, None]
    beyond = line.beyond(x)
    softness = EDGE_PX + np.minimum(0.9 * beyond, 30.0)
    up = np.clip(0.5 - (y - line.upper - REACH_PX) / softness, 0.0, 1.0)
    low = np.clip(0.5 - (line.lower - y - REACH_PX) / EDGE_PX, 0.0, 1.0)
    low = np.maximum(low, np.clip(beyond / 3.0, 0.0, 1.0))
    return up.astype(np.float32), low.astype(np.float32)


def _over(layer: Bytes, picture: Bytes) -> Bytes:
    """A premultiplied (h, w, 4) layer over an opaque (h, w, 3) picture."""
    rest = cv2.cvtColor(cv2.bitwise_not(layer[..., 3]), cv2.COLOR_GRAY2RGB)
    covered = cv2.multiply(picture, rest, scale=1.0 / 255.0)
    composed: Bytes = cv2.add(covered, cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB))
    return composed


def _darken(picture: Bytes, shade: Floats, ambient: Bytes) -> Bytes:
    """Towards the ambient colour where that is darker: grey shadows would turn teeth blue."""
    shadow = cv2.min(picture, np.broadcast_to(ambient, picture.shape).copy())
    darkened: Bytes = cv2.blendLinear(picture, shadow, shade, 1.0 - shade)
    return darkened


def _feather(height: int, width: int) -> Floats:
    """1 inside the box, falling to 0 at its border over `FEATHER_PX`."""
    rows = np.minimum(np.arange(height) + 0.5, height - 0.5 - np.arange(height)) / FEATHER_PX
    columns = np.minimum(np.arange(width) + 0.5, width - 0.5 - np.arange(width)) / FEATHER_PX
    edge: Floats = np.minimum.outer(np.clip(rows, 0, 1), np.clip(columns, 0, 1)).astype(np.float32)
    return edge
