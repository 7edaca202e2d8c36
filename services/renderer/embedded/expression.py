"""What each slider does to each landmark, drawn up by hand from anatomy and looks.

Coordinates around the mouth: u = (x - mouth centre) / half mouth width; v = (y - lip line) / mouth width, down
positive, 0 between the lip curves. Displacements are pixels of the crop at slider value 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded import topology as at
from services.renderer.embedded.controls import FIELD_INDEX, FIELDS
from services.renderer.embedded.geometry import Face, Floats, smoothstep
from services.renderer.embedded.lip_line import LipLine

JAW_DROP = 0.40  # of min(mouth width, WIDE_MOUTH face widths)
WIDE_MOUTH = 0.37
BROADEST_GAP = 0.60  # of the mouth width: photos with a wider gap are not closed


@dataclass(frozen=True)
class MouthPlaces:
    """Mouth coordinates of every landmark.

    Attributes:
        u: (468,) sideways.
        v: (468,) down from the lip line.
        is_upper: (468,) bool, red of the upper lip.
        is_lower: (468,) bool, red of the lower lip.
        is_corner: (468,) bool.
        gap: (468,) pixels between the lip curves at that x.
    """

    u: Floats
    v: Floats
    is_upper: NDArray[np.bool_]
    is_lower: NDArray[np.bool_]
    is_corner: NDArray[np.bool_]
    gap: Floats


def mouth_places(face: Face, line: LipLine) -> MouthPlaces:
    """Locate all landmarks relative to the mouth."""
    x, y = face.points[: at.N_MESH, 0], face.points[: at.N_MESH, 1]
    upper, lower = line.upper_at(x), line.lower_at(x)
    is_upper, is_lower, is_corner = (np.zeros(at.N_MESH, bool) for _ in range(3))
    is_corner[list(at.LIP_CORNERS)] = True
    is_upper[list(at.UPPER_LIP)] = True
    is_lower[list(at.LOWER_LIP)] = True
    is_upper &= ~is_corner
    is_lower &= ~is_corner
    v = np.where(y < upper, y - upper, np.where(y > lower, y - lower, 0.0)) / face.mouth_width
    v = np.where(is_upper, np.minimum(v, 0.0), np.where(is_lower, np.maximum(v, 0.0), v))
    u = (x - face.mouth_x) / (face.mouth_width / 2)
    return MouthPlaces(u.astype(np.float32), v.astype(np.float32), is_upper, is_lower, is_corner, lower - upper)


def landmark_fields(face: Face, line: LipLine) -> Floats:
    """Displacement of each landmark under each slider: (12, 468, 3) float32, order of `FIELDS`."""
    places = mouth_places(face, line)
    fields = np.zeros((len(FIELDS), at.N_MESH, 3), np.float32)
    _jaw(fields[FIELD_INDEX["jaw"]], face, places)
    _pucker(fields[FIELD_INDEX["pucker"]], face, places)
    _wide(fields[FIELD_INDEX["wide"]], face, places)
    _press(fields[FIELD_INDEX["press"]], face, places)
    _upper_lip(fields[FIELD_INDEX["upper_lip"]], face, places)
    _flare(fields[FIELD_INDEX["flare"]], fields[FIELD_INDEX["upper_lip"]], face, places)
    _smile(fields[FIELD_INDEX["smile"]], face, places)
    _mouth_x(fields[FIELD_INDEX["mouth_x"]], face, places)
    raised, frowning, oblique = (fields[FIELD_INDEX[name]] for name in ("brow_raise", "brow_frown", "brow_oblique"))
    _brows(raised, frowning, oblique, face)
    if not line.is_closed and float(places.gap.max()) < BROADEST_GAP * face.mouth_width:
        _close(fields[FIELD_INDEX["close"]], face, places)
    return fields


def _window(places: MouthPlaces) -> Floats:
    """1 on the lips, falling to 0 around the mouth."""
    down = np.maximum(np.abs(places.v) - 0.12, 0.0) / 0.28
    side = np.maximum(np.abs(places.u) - 1.0, 0.0) / 0.55
    window: Floats = np.exp(-(down**2)) * np.exp(-(side**2))
    return window


def _clipped(places: MouthPlaces) -> Floats:
    return np.clip(places.u, -1.0, 1.0)


def _towards_line(places: MouthPlaces) -> Floats:
    """-1 above the line, +1 below, 0 elsewhere: on the lips only."""
    return np.where(places.is_lower, 1.0, np.where(places.is_upper, -1.0, 0.0)).astype(np.float32)


def _jaw(field: Floats, face: Face, places: MouthPlaces) -> None:
    """A hinge: displacement proportional to the distance in front of the jaw joint; the lower lip follows most."""
    drop = JAW_DROP * min(face.mouth_width, WIDE_MOUTH * face.face_width)
    skin = _hinged_skin(face, places)
    aside = np.abs(_clipped(places)) ** 3
    lip = 0.16 + 0.84 * (1.0 - aside)
    under_lip = (np.abs(places.u) < 1.0) & (places.v > 0)
    skin = np.where(under_lip, lip + (skin - lip) * smoothstep(0.20, 0.60, places.v), skin)
    weight = np.where(places.is_lower, lip, np.where(places.is_upper, 0.015 + 0.145 * aside, skin))
    weight = np.where(places.is_corner, 0.16, weight)
    field[:, 0] = -0.045 * face.mouth_width * _window(places) * _clipped(places)
    field[:, 1] = drop * weight
    field[:, 2] = drop * weight / 4


def _hinged_skin(face: Face, places: MouthPlaces) -> Floats:
    """How far skin follows the jaw: 0 at the joint and above the mouth, 0.9 at the chin."""
    z = face.points[: at.N_MESH, 2]
    front = min(float(z[17]), float(z[at.CHIN]))
    hinge = np.clip((face.hinge_z - z) / max(face.hinge_z - front, 1.0), 0.0, 1.05)
    skin: Floats = 0.9 * hinge * smoothstep(-0.12, 0.30, places.v)
    return skin


def _pucker(field: Floats, face: Face, places: MouthPlaces) -> None:
    u, window = _clipped(places), _window(places)
    mw = face.mouth_width
    field[:, 0] = -0.19 * mw * window * u * (0.55 + 0.45 * np.abs(u))
    # Lips grow fuller, away from the line; at the line itself nothing parts.
    field[:, 1] = 0.035 * mw * _towards_line(places) * np.clip(np.abs(places.v) / 0.14, 0.0, 1.0)
    field[:, 2] = -0.12 * mw * window


def _flare(field: Floats, upper_lip: Floats, face: Face, places: MouthPlaces) -> None:
    """Lips turned outward, teeth visible: half the lift of the upper lip and a little of the lower lip, which rolls."""
    field += 0.4 * upper_lip
    roll = np.exp(-((np.abs(places.u) / 0.8) ** 4)) * places.is_lower
    field[:, 1] += 0.035 * face.mouth_width * roll
    field[:, 2] -= 0.05 * face.mouth_width * _window(places)


def _wide(field: Floats, face: Face, places: MouthPlaces) -> None:
    field[:, 0] = 0.12 * face.mouth_width * _window(places) * _clipped(places)
    thinner = np.clip(np.abs(places.v) / 0.14, 0.0, 1.0)
    field[:, 1] = -0.018 * face.mouth_width * _towards_line(places) * thinner


def _press(field: Floats, face: Face, places: MouthPlaces) -> None:
    thinner = np.clip(np.abs(places.v) / 0.14, 0.0, 1.0)
    field[:, 1] = -0.055 * face.mouth_width * _towards_line(places) * thinner


def _upper_lip(field: Floats, face: Face, places: MouthPlaces) -> None:
    across = np.exp(-((np.abs(places.u) / 0.85) ** 4))
    above = np.where(places.v < 0, np.exp(-((np.maximum(-places.v - 0.15, 0.0) / 0.2) ** 2)), 0.0)
    weight = np.where(places.is_upper, 1.0, np.where(places.is_lower | places.is_corner, 0.0, above))
    field[:, 1] = -0.11 * face.mouth_width * across * weight


def _smile(field: Floats, face: Face, places: MouthPlaces) -> None:
    mw, u, window = face.mouth_width, _clipped(places), _window(places)
    field[:, 0] = 0.10 * mw * window * u
    cheek = np.exp(-(((np.abs(places.u) - 1.25) / 0.45) ** 2)) * np.exp(-(((places.v + 0.38) / 0.30) ** 2))
    field[:, 1] = -0.105 * mw * window * np.abs(u) ** 1.7 - 0.045 * mw * cheek


def _mouth_x(field: Floats, face: Face, places: MouthPlaces) -> None:
    """The whole mouth sideways, the chin a little after it."""
    chin = np.exp(-(((places.v - 0.55) / 0.35) ** 2)) * np.exp(-((places.u / 1.1) ** 2))
    field[:, 0] = face.mouth_width * (0.15 * _window(places) + 0.05 * chin)


def _close(field: Floats, face: Face, places: MouthPlaces) -> None:
    """Bring the parted lips of a photo together, where they meet in front of the teeth.

    Lips parted in a smile meet half way; a dropped jaw comes up to the upper lip and takes the chin along.
    """
    gap = np.where(np.abs(places.u) <= 1.05, places.gap, 0.0)
    widest = float(gap.max())
    dropped = float(smoothstep(0.10, 0.28, widest / face.mouth_width))
    from_above = 0.42 - 0.38 * dropped
    decay = np.exp(-((np.maximum(np.abs(places.v) - 0.10, 0.0) / 0.25) ** 2))
    above = places.is_upper | (~places.is_lower & ~places.is_corner & (places.v < 0))
    below = ~places.is_upper & ~places.is_lower & ~places.is_corner & (places.v >= 0)
    near_lip = gap * decay
    chin = near_lip + dropped * smoothstep(0.05, 0.35, places.v) * (widest * _hinged_skin(face, places) - near_lip)
    field[:, 1] = np.where(above, from_above * near_lip, 0.0)
    field[:, 1] += np.where(places.is_lower, (from_above - 1.0) * gap, 0.0)
    field[:, 1] += np.where(below, (from_above - 1.0) * chin, 0.0)


def _brows(raise_field: Floats, frown_field: Floats, oblique_field: Floats, face: Face) -> None:
    points = face.points[: at.N_MESH]
    ew, fh = face.eye_width, face.face_height
    for lower, upper, inwards in (
        (at.LEFT_BROW_LOWER, at.LEFT_BROW_UPPER, 1.0),
        (at.RIGHT_BROW_LOWER, at.RIGHT_BROW_UPPER, -1.0),
    ):
        brow = (points[list(lower), :2] + points[list(upper), :2]) / 2
        order = np.argsort(brow[:, 0])
        at_x = np.interp(points[:, 0], brow[order, 0], brow[order, 1])
        above = at_x - points[:, 1]
        dy = np.where(above > 0, above / ew, above / (0.28 * ew))
        middle = float(brow[:, 0].mean())
        dx = np.abs(points[:, 0] - middle) / (0.95 * ew)
        on_brow = np.exp(-(dx**3)) * np.exp(-(dy**2))
        raise_field[:, 1] -= 0.047 * fh * on_brow
        inner = float(brow[order[-1] if inwards > 0 else order[0], 0])
        near = np.exp(-(((points[:, 0] - inner) / (0.6 * ew)) ** 2)) * np.exp(-(dy**2))
        frown_field[:, 0] += inwards * 0.11 * ew * near
        frown_field[:, 1] += 0.17 * ew * near
        inwardness = np.clip(inwards * (points[:, 0] - middle) / (0.9 * ew), -1.0, 1.0)
        oblique_field[:, 0] += inwards * 0.07 * ew * near
        oblique_field[:, 1] -= fh * (0.03 + 0.05 * inwardness) * on_brow
