"""The inside of the mouth: cavity, tongue and teeth, painted once per portrait in the light and colours of the photo.

Everything is drawn in the coordinates of the photo at twice its resolution with analytic soft edges. Teeth are
plausible, not the person's own, unless the photo shows them: then its own pixels between the lips replace them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded import topology as at
from services.renderer.embedded.geometry import Bytes, Face, Floats, blur, smoothstep
from services.renderer.embedded.lip_line import LipLine

SCALE = 2
BOUNDARIES = (0.165, 0.29, 0.41, 0.50)
CROWNS = (0.075, 0.066, 0.070, 0.060, 0.055)
ARCH = 0.14
TONGUE = (0.36, 0.19)


@dataclass(frozen=True)
class Colours:
    """RGB 0..255 float of what is painted."""

    tooth: NDArray[np.float64]
    lower_tooth: NDArray[np.float64]
    cavity: NDArray[np.float64]
    tongue: NDArray[np.float64]
    ambient: NDArray[np.float64]


@dataclass(frozen=True)
class Interior:
    """Painted layers, (h, w, 4) uint8 RGB premultiplied with alpha, at `SCALE` times the photo.

    Attributes:
        left: x of the layers' left edge in the crop, pixels.
        top: y of their top edge.
        cavity: (3,) uint8 colour behind everything.
        ambient: (3,) uint8 colour of shadows: light in a mouth comes off lips and tongue.
        tongue: moves with 0.72 of the jaw.
        lower: lower teeth, move with 0.9 of the jaw.
        upper: upper teeth, stay with the skull.
        is_own: the upper layer shows the photo's own teeth, which have their light already.
    """

    left: float
    top: float
    cavity: Bytes
    ambient: Bytes
    tongue: Bytes
    lower: Bytes
    upper: Bytes
    is_own: bool


def paint_interior(texture: Bytes, face: Face, line: LipLine) -> Interior:
    """Paint all layers for one portrait.

    Args:
        texture: (512, 512, 3) uint8 RGB.
        face: its lengths.
        line: its lip line.
    """
    mw = face.mouth_width
    left = np.floor(face.mouth_x - 0.75 * mw)
    top = np.floor(float(line.upper.min()) - 0.35 * mw)
    width, height = int(1.5 * mw) * SCALE, int(1.25 * mw + float(np.ptp(line.lower))) * SCALE
    x = (left + (np.arange(width) + 0.5) / SCALE - 0.5).astype(np.float32)
    y = (top + (np.arange(height) + 0.5) / SCALE - 0.5).astype(np.float32)[:, None]
    own = None if line.is_closed else _own_teeth(texture, face, line, x, y)
    colours = _colours(texture, face, own)
    upper = _upper_teeth(face, line, colours, x, y) if own is None else own
    return Interior(
        left=float(left),
        top=float(top),
        cavity=np.rint(colours.cavity).astype(np.uint8),
        ambient=np.rint(colours.ambient).astype(np.uint8),
        tongue=_tongue(face, line, colours, x, y),
        lower=_lower_teeth(face, line, colours, x, y),
        upper=upper,
        is_own=own is not None,
    )


def _middle(face: Face) -> float:
    """Middle of the teeth: between the corners' middle and landmark 13, which helps turned heads."""
    return 0.5 * (face.mouth_x + float(face.points[13, 0]))


def _upper_teeth(face: Face, line: LipLine, colours: Colours, x: Floats, y: Floats) -> Bytes:
    mw = face.mouth_width
    across = (x - _middle(face)) / mw
    size = np.abs(across)
    gum_line = float(line.upper_at(_middle(face))) - ARCH * mw * across**2
    tooth = np.searchsorted(BOUNDARIES, size)
    edges = np.array([0.0, *BOUNDARIES, 0.62])
    inside = (size - edges[tooth]) / (edges[tooth + 1] - edges[tooth])
    rounding = 0.012 * np.abs(2 * inside - 1) ** 2.5
    bottom = gum_line + mw * (np.array(CROWNS)[tooth] - rounding)
    gap = np.abs(size[:, None] - edges[None, :-1]).min(axis=1) * mw
    separator = 1.0 - 0.17 * np.exp(-((gap / (0.012 * mw)) ** 2))
    darker = 1.0 - 0.62 * smoothstep(0.08, 0.56, size)
    depth = (bottom - y) / mw  # 0 at the biting edge, growing upwards
    enamel = 0.94 + 0.08 * smoothstep(0.0, 0.035, depth) - 0.13 * smoothstep(0.05, 0.16, depth)
    alpha = _edge(bottom - y, 1.0) * (y > gum_line - 0.17 * mw) * (1.0 - smoothstep(0.50, 0.62, size))
    return _premultiply(colours.tooth, enamel * separator * darker, alpha, colours.ambient)


def _lower_teeth(face: Face, line: LipLine, colours: Colours, x: Floats, y: Floats) -> Bytes:
    mw = face.mouth_width
    across = (x - _middle(face)) / mw
    size = np.abs(across)
    centre = float(line.lower_at(_middle(face)))
    top = centre - 0.02 * mw - 0.10 * mw * across**2
    boundary = np.abs(size[:, None] - np.array([0.0, 0.10, 0.20, 0.31, 0.42])).min(axis=1) * mw
    separator = 1.0 - 0.16 * np.exp(-((boundary / (0.012 * mw)) ** 2))
    scallop = 0.008 * mw * np.exp(-((boundary / (0.02 * mw)) ** 2))
    depth = (y - top - scallop) / mw
    alpha = _edge(depth * mw, 1.0) * (1.0 - smoothstep(0.34, 0.46, size)) * (1.0 - smoothstep(0.10, 0.16, depth))
    shade = 0.62 * separator * (1.0 - 0.35 * smoothstep(0.05, 0.40, size)) * (0.9 + 0.1 * smoothstep(0, 0.03, depth))
    return _premultiply(colours.lower_tooth, shade, alpha, colours.ambient)


def _tongue(face: Face, line: LipLine, colours: Colours, x: Floats, y: Floats) -> Bytes:
    mw = face.mouth_width
    centre_x = _middle(face)
    centre_y = float(line.lower_at(centre_x)) + 0.06 * mw
    dx, dy = (x - centre_x) / (TONGUE[0] * mw), (y - centre_y) / (TONGUE[1] * mw)
    radius = np.sqrt(dx**2 + dy**2)
    alpha = 0.92 * (1.0 - smoothstep(0.50, 1.12, radius))
    light = 0.75 + 0.30 * np.exp(-(((dy + 0.35) / 0.5) ** 2)) - 0.12 * np.exp(-((dx / 0.10) ** 2))
    return _premultiply(colours.tongue, light, alpha, colours.ambient)


def _own_teeth(texture: Bytes, face: Face, line: LipLine, x: Floats, y: Floats) -> Bytes:
    """Pixels between the lip curves of the photo; the first clean row continues upwards for when the lip rises."""
    mw = face.mouth_width
    upper, lower = line.upper_at(x), line.lower_at(x)
    clean = np.minimum(upper + 0.028 * mw, (upper + lower) / 2)
    below = np.maximum(lower - 0.024 * mw - 1.0, clean)
    map_y = np.clip(np.broadcast_to(y, (len(y), len(x))), clean, below)
    map_x = np.broadcast_to(x, map_y.shape)
    pixels = cv2.remap(
        texture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    above = (clean - y) / mw
    shade = 1.0 - 0.25 * smoothstep(0.0, 0.16, above)
    gap = lower - upper
    # Only the upper teeth: what lies deeper would stay behind when the jaw drops further.
    depth = (y - upper) / mw
    alpha = _edge(lower - 0.02 * mw - 1.0 - y, 2.0) * (1.0 - smoothstep(0.16, 0.22, above)) * smoothstep(0.5, 2.0, gap)
    alpha *= 1.0 - smoothstep(0.10, 0.15, depth)
    return _premultiply(pixels.astype(np.float64), shade, alpha, np.zeros(3))


def _colours(texture: Bytes, face: Face, own: Bytes | None) -> Colours:
    lab = cv2.cvtColor(texture.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    soft = cv2.GaussianBlur(lab, (0, 0), 1.5)
    skin, lip = _patches(soft, face, at.CHEEKS), _patches(soft, face, at.LIP_COLOUR)
    light = 0.5 * float(np.median(skin[:, 0]) + np.percentile(skin[:, 0], 75)) + 4.0
    skin_a, skin_b = np.median(skin[:, 1:], axis=0)
    lip_l, lip_a, lip_b = np.median(lip, axis=0)
    is_grey = float(np.abs(lab[..., 1:]).max()) < 2.0
    # Beyond this much yellow, teeth in shadow turn green.
    yellow = min(0.62 * skin_b, 14.0) + (0.0 if is_grey else 1.5)
    tooth = np.array([min(0.92 * light + 14.0, 90.0), 0.28 * skin_a, yellow])
    lower = tooth.copy()
    if own is not None:
        lower = _own_tooth_colour(own, lower)
    cavity = np.array([min(0.15 * lip_l + 2.0, 11.0), 0.42 * lip_a, 0.28 * lip_b])
    red, warm = (0.0, 0.0) if is_grey else (16.0, 8.0)
    tongue = np.array([0.62 * lip_l + 3.0, max(0.80 * lip_a, red), max(0.55 * lip_b, warm)])
    ambient = np.array([0.30 * lip_l, 0.75 * lip_a, 0.60 * lip_b])
    return Colours(*(_to_rgb(colour) for colour in (tooth, lower, cavity, tongue, ambient)))


def _own_tooth_colour(own: Bytes, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the brightest quarter of the photo's own mouth interior, if that can be teeth."""
    shown = own[own[..., 3] > 250][:, :3]
    if len(shown) < 40:
        return otherwise
    lab = cv2.cvtColor(shown[None].astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)[0]
    bright = np.median(lab[lab[:, 0] >= np.percentile(lab[:, 0], 75)], axis=0)
    return bright.astype(np.float64) if bright[0] > 45 and abs(bright[1]) < 22 else otherwise


def _patches(lab: Floats, face: Face, numbers: tuple[int, ...]) -> Floats:
    places = np.clip(np.rint(face.points[list(numbers), :2]).astype(int), 3, lab.shape[0] - 4)
    return np.concatenate([lab[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3) for x, y in places])


def _to_rgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    rgb = cv2.cvtColor(lab.astype(np.float32).reshape(1, 1, 3), cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(rgb.reshape(3) * 255.0, 0, 255), np.float64)


def _edge(inside: Floats, softness_px: float) -> Floats:
    """Coverage of a shape from the signed distance to its edge, positive inside."""
    coverage: Floats = np.clip(0.5 + inside / softness_px, 0.0, 1.0)
    return coverage


def _premultiply(colour: NDArray[np.float64], light: Floats, alpha: Floats, shadow: NDArray[np.float64]) -> Bytes:
    """RGBA layer: ``colour`` where light is 1, ``shadow`` where it is 0."""
    alpha = blur(np.broadcast_to(alpha, np.broadcast_shapes(alpha.shape, light.shape)), 0.6)
    lit = np.broadcast_to(light, alpha.shape)[..., None]
    rgb = np.clip(shadow + (np.asarray(colour) - shadow) * lit, 0, 255) * alpha[..., None]
    layer: Bytes = np.rint(np.concatenate([rgb, 255.0 * alpha[..., None]], axis=2)).astype(np.uint8)
    return layer
