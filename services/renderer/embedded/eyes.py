"""Blinks and glances, drawn into a copy of the texture before it is warped, so pose and brows carry them along.

Blink, column by column: the lid's edge with its lashes travels down rigidly, the skin above it stretches. The stretched
skin is low-passed and pulled to the lid's own colour: otherwise lashes smear into a dark comb and deep-set eyes turn
black. Nothing moves under the lid: it is a layer over the eye. Negative blinks raise the lid instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from services.renderer.embedded import topology as at
from services.renderer.embedded.geometry import Bytes, Face, Floats, blur, smoothstep

LID_EDGE_PX = 1.4
STRIP_ABOVE, STRIP_BELOW = 0.07, 0.03  # of the eye width: liner and lashes, moving rigidly
STRIP_SHRINKS_TO = 0.6
LID_PULL = 0.4  # of the way to the median lid colour
LASH = 0.4
OPEN_REST = 0.02  # of the opening: a shut lid ends this far above the lower one
GAZE_X, GAZE_Y = 0.16, 0.10  # of the eye width per unit
RISE = 0.55  # of the opening per unit of negative blink
WIDER_FROM = -0.02  # blink below which the eye opens wider; smaller values are noise
CLOSED_ASPECT = 0.13  # below this the eye is shut in the photo already


@dataclass(frozen=True)
class Eye:
    """Tables of one eye inside its patch of the texture.

    Attributes:
        rows, columns: the patch.
        lid: (w,) y of the upper lid's edge per column, patch coordinates.
        travel: (w,) how far it goes down when shut, pixels.
        skin_top: (w,) y above which nothing stretches.
        smooth: (h, w, 3) uint8 patch with the lid's skin low-passed.
        lash: (3,) float32 colour of the lash line.
        opening: (h, w) float32 soft mask between the lids.
        look: (h, w) float32 window of the glance, 1 over the iris.
        width: eye width in pixels.
        blinks: False when the eye is shut in the photo.
    """

    rows: slice
    columns: slice
    lid: Floats
    travel: Floats
    skin_top: Floats
    smooth: Bytes
    lash: Floats
    opening: Floats
    look: Floats
    width: float
    blinks: bool
    x: Floats
    y: Floats


def build_eyes(texture: Bytes, face: Face) -> tuple[Eye, Eye]:
    """Tables of the image-left and image-right eye."""
    left = _build(texture, face, at.LEFT_UPPER_LID, at.LEFT_LOWER_LID, at.LEFT_IRIS, at.LEFT_BROW_LOWER)
    right = _build(texture, face, at.RIGHT_UPPER_LID, at.RIGHT_LOWER_LID, at.RIGHT_IRIS, at.RIGHT_BROW_LOWER)
    return left, right


def draw_eyes(texture: Bytes, eyes: tuple[Eye, Eye], blink: tuple[float, float], gaze: tuple[float, float]) -> Bytes:
    """The texture with eyes as commanded; the same array when nothing changes.

    Args:
        texture: (512, 512, 3) uint8, not modified.
        eyes: left, right.
        blink: left, right, 1 shut, 0 as in the photo, below that wider open.
        gaze: x to image right, y down.
    """
    looks = any(abs(value) > 1e-3 for value in gaze)
    if not looks and max(blink) <= 1e-3 and min(blink) >= WIDER_FROM:
        return texture
    drawn = texture.copy()
    for eye, shut in zip(eyes, blink, strict=True):
        patch = np.ascontiguousarray(drawn[eye.rows, eye.columns])
        if looks:
            patch = _glance(patch, eye, gaze)
        if shut < WIDER_FROM and eye.blinks:
            patch = _widen(patch, eye, WIDER_FROM - shut)
        if shut > 1e-3 and eye.blinks:
            patch = _blink(patch, np.ascontiguousarray(texture[eye.rows, eye.columns]), eye, shut)
        drawn[eye.rows, eye.columns] = patch
    return drawn


def _glance(patch: Bytes, eye: Eye, gaze: tuple[float, float]) -> Bytes:
    shift_x, shift_y = gaze[0] * GAZE_X * eye.width, gaze[1] * GAZE_Y * eye.width
    map_x = eye.x - shift_x * eye.look
    map_y = eye.y - shift_y * eye.look
    moved = cv2.remap(patch, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    glancing: Bytes = cv2.blendLinear(moved, patch, eye.opening, 1.0 - eye.opening)
    return glancing


def _widen(patch: Bytes, eye: Eye, wide: float) -> Bytes:
    """Raise the upper lid: skin above it gathers, what it uncovers is stretched from the uppermost part of the eye."""
    opening = np.maximum(eye.travel / (1.0 - OPEN_REST), 1e-3)
    floor, rise = eye.lid + opening, RISE * wide * eye.travel
    edge = eye.lid - rise
    skin = eye.skin_top + (eye.y - eye.skin_top) * (eye.lid - eye.skin_top) / np.maximum(edge - eye.skin_top, 0.5)
    # Slope 1 at the lower lid, so that most of the iris keeps its shape.
    up, k = np.clip((floor - eye.y) / (opening + rise), 0.0, 1.0), (opening + rise) / opening
    inside = floor - opening * (k * up + (1.0 - k) * up**2)
    outside = (eye.y < eye.skin_top) | (eye.y > floor)
    source_y = np.where(outside, eye.y, np.where(eye.y < edge, skin, inside)).astype(np.float32)
    widened: Bytes = cv2.remap(patch, eye.x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return widened


def _blink(patch: Bytes, skin: Bytes, eye: Eye, shut: float) -> Bytes:
    ew = eye.width
    edge = eye.lid + shut * eye.travel
    shrink = 1.0 - (1.0 - STRIP_SHRINKS_TO) * shut
    strip_top = edge - STRIP_ABOVE * ew * shrink
    room_from = np.maximum(eye.lid - STRIP_ABOVE * ew - eye.skin_top, 0.5)
    room_to = np.maximum(strip_top - eye.skin_top, 0.5)
    down = np.maximum(eye.y - eye.skin_top, 0.0)
    # Slope 1 where the stretch begins, monotone, and room_to maps onto room_from.
    stretched = eye.skin_top + down / (1.0 + (room_to / room_from - 1.0) * np.minimum(down / room_to, 1.0))
    rigid = eye.lid + (eye.y - edge) / shrink
    source_y = np.where(eye.y < eye.skin_top, eye.y, np.where(eye.y < strip_top, stretched, rigid))
    softened = cv2.addWeighted(eye.smooth, min(1.0, 2.5 * shut), skin, 1.0 - min(1.0, 2.5 * shut), 0.0)
    lid = cv2.remap(softened, eye.x, source_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    below = edge + STRIP_BELOW * ew * shrink * smoothstep(0.0, 0.05 * ew, eye.travel)
    cover = np.clip(0.5 + (below - eye.y) / LID_EDGE_PX, 0.0, 1.0).astype(np.float32)
    fades = smoothstep(0.0, 0.06 * ew, eye.travel)
    lash = LASH * shut * fades * np.exp(-(((eye.y - edge) / (0.035 * ew)) ** 2))
    drawn = cv2.blendLinear(lid, patch, cover, 1.0 - cover).astype(np.float32)
    drawn += lash[..., None].astype(np.float32) * (eye.lash - drawn)
    shut_eye: Bytes = np.rint(drawn).astype(np.uint8)
    return shut_eye


def _build(
    texture: Bytes,
    face: Face,
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    iris: tuple[int, ...],
    brow: tuple[int, ...],
) -> Eye:
    lids_up, lids_low = face.points[list(upper), :2], face.points[list(lower), :2]
    ew = max(float(np.ptp(lids_up[:, 0])), 6.0)
    rows, columns = _patch(lids_up, lids_low, ew, texture.shape[0])
    axis_x = np.arange(columns.start, columns.stop, dtype=np.float32)
    axis_y = np.arange(rows.start, rows.stop, dtype=np.float32)
    order_up, order_low = np.argsort(lids_up[:, 0]), np.argsort(lids_low[:, 0])
    lid = blur(np.interp(axis_x, lids_up[order_up, 0], lids_up[order_up, 1]).reshape(1, -1), 1.2).ravel()
    floor = blur(np.interp(axis_x, lids_low[order_low, 0], lids_low[order_low, 1]).reshape(1, -1), 1.2).ravel()
    start, end = float(lids_up[:, 0].min()), float(lids_up[:, 0].max())
    to_corner = np.minimum(axis_x - start, end - axis_x)
    corner = smoothstep(0.0, 0.10 * ew, to_corner)
    travel = _travel(np.where(to_corner > 0, np.maximum(floor - lid, 0.0), 0.0), ew)
    brow_points = face.points[list(brow), :2]
    brow_order = np.argsort(brow_points[:, 0])
    brow_y = np.interp(axis_x, brow_points[brow_order, 0], brow_points[brow_order, 1])
    skin = np.clip(0.8 * (lid - brow_y), 0.14 * ew, 0.38 * ew)
    skin_top = blur((lid - skin).reshape(1, -1), 2.0).ravel()
    patch = np.ascontiguousarray(texture[rows, columns])
    y = np.broadcast_to(axis_y[:, None], patch.shape[:2])
    opening = np.clip(np.minimum(y - lid, floor - y) / 1.6 + 0.3, 0.0, 1.0) * (corner > 0).astype(np.float32)
    aspect = float((floor - lid).max()) / ew
    return Eye(
        rows=rows,
        columns=columns,
        lid=(lid - rows.start).astype(np.float32),
        travel=travel.astype(np.float32),
        skin_top=(skin_top - rows.start).astype(np.float32),
        smooth=_smooth_lid(patch, y, lid, skin_top, smoothstep(-0.04 * ew, 0.22 * ew, to_corner), ew),
        lash=_lash_colour(patch, y, lid, floor, corner),
        opening=blur(opening, 0.6),
        look=_look(face.points[list(iris), :2], axis_x, axis_y, ew),
        width=ew,
        blinks=aspect > CLOSED_ASPECT,
        x=np.ascontiguousarray(np.broadcast_to(axis_x - columns.start, patch.shape[:2])).astype(np.float32),
        y=np.ascontiguousarray(np.broadcast_to((axis_y - rows.start)[:, None], patch.shape[:2])).astype(np.float32),
    )


def _patch(lids_up: Floats, lids_low: Floats, ew: float, size: int) -> tuple[slice, slice]:
    both = np.concatenate([lids_up, lids_low])
    low, high = both.min(axis=0), both.max(axis=0)
    left, top = int(low[0] - 0.12 * ew), int(low[1] - 0.50 * ew)
    right, bottom = int(high[0] + 0.12 * ew) + 1, int(high[1] + 0.15 * ew) + 1
    left, top = min(max(left, 0), size - 8), min(max(top, 0), size - 8)
    return slice(top, max(min(bottom, size), top + 8)), slice(left, max(min(right, size), left + 8))


def _travel(opening: Floats, ew: float) -> Floats:
    """How far the lid's edge goes: the opening, with a tail beyond the corners that takes the lashes there along."""
    row = (opening * (1.0 - OPEN_REST)).astype(np.float32).reshape(1, -1)
    with_tail = np.maximum(row, blur(row, 0.075 * ew))
    return blur(with_tail, max(0.025 * ew, 0.6)).ravel()


def _smooth_lid(patch: Bytes, y: Floats, lid: Floats, skin_top: Floats, beside: Floats, ew: float) -> Bytes:
    """The patch with the skin between ``skin_top`` and the lashes low-passed and pulled to its median colour."""
    image = patch.astype(np.float32)
    skin = (y > skin_top) & (y < lid - 0.5 * STRIP_ABOVE * ew)
    if int(skin.sum()) < 12:
        return patch
    bright = image[skin]
    grey = bright.mean(axis=1)
    median = np.median(bright[grey >= np.percentile(grey, 55)], axis=0)
    weight = skin.astype(np.float32)[..., None]
    sigma = max(0.06 * ew, 0.6)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    soft = cv2.GaussianBlur(image * weight, (0, 0), sigma) / np.maximum(total, 1e-3)
    pulled = (1.0 - LID_PULL) * soft + LID_PULL * median
    t = np.clip((y - skin_top) / np.maximum(lid - STRIP_ABOVE * ew - skin_top, 1.0), 0.0, 1.0)
    keep_lashes = np.clip((y - (lid - STRIP_ABOVE * ew)) / (0.05 * ew), 0.0, 1.0)
    # A shut lid is round: a little lighter along its middle.
    pulled = pulled * (0.97 + 0.08 * np.exp(-(((t - 0.6) / 0.3) ** 2)))[..., None]
    k = (smoothstep(0.0, 0.75, t) * (1.0 - keep_lashes) * beside)[..., None]
    smooth: Bytes = np.clip(np.rint(image + k * (pulled - image)), 0, 255).astype(np.uint8)
    return smooth


def _lash_colour(patch: Bytes, y: Floats, lid: Floats, floor: Floats, corner: Floats) -> Floats:
    inside = (y > lid - 2) & (y < floor + 1) & (corner > 0)
    pixels = patch[inside].astype(np.float32)
    if len(pixels) < 8:
        return np.zeros(3, np.float32)
    grey = pixels.mean(axis=1)
    colour: Floats = pixels[grey <= np.percentile(grey, 6)].mean(axis=0).astype(np.float32)
    return colour


def _look(iris: Floats, axis_x: Floats, axis_y: Floats, ew: float) -> Floats:
    centre = iris[0]
    radius = float(np.linalg.norm(iris[1:] - centre, axis=1).mean())
    distance = np.hypot(axis_x[None, :] - centre[0], axis_y[:, None] - centre[1])
    window: Floats = np.exp(-((np.maximum(distance - 0.9 * radius, 0.0) / (0.22 * ew)) ** 2) / 2).astype(np.float32)
    return window
