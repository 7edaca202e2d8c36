"""Motion rows to what the warp understands: field weights, eyes, head pose.

The jaw follows the commanded lip opening through one function, jaw = 1.15 (1 - exp(-c_lip / 0.45)) <= 0.9, whose slope
at zero draws a gap of c_lip mouth widths; zero is contact. The head pose is limited softly to what the warp can draw.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.geometry import Floats, smoothstep
from shared.errors import NonFiniteOutput
from shared.motion import EXP, PYR, SCALE, SLIDER_INDEX, T, check_rows, lip_opening, sliders_from_exp

FIELDS = (
    "jaw",
    "pucker",
    "flare",
    "wide",
    "press",
    "upper_lip",
    "smile",
    "mouth_x",
    "brow_raise",
    "brow_frown",
    "brow_oblique",
    "close",
)
FIELD_INDEX = {name: index for index, name in enumerate(FIELDS)}

PX_PER_T = 256.0
# Linear up to the knee, then tanh up to the limit: degrees for pitch, yaw, roll; pixels for t.
PYR_KNEE, PYR_LIMIT = np.array([6.0, 7.0, 4.0]), np.array([10.0, 12.0, 6.0])
T_KNEE, T_LIMIT = np.array([8.0, 6.0]), np.array([14.0, 10.0])
SCALE_KNEE, SCALE_LIMIT = 0.03, 0.06
LIP_KNEE, LIP_LIMIT = 0.9, 1.25
GAZE_KNEE, GAZE_LIMIT = 0.5, 0.9
WIDEST_EYES = -0.4
LIDS_FOLLOW, LIDS_REST = 0.35, 0.15  # lids follow a gaze up or down, but not small glances


@dataclass(frozen=True)
class Controls:
    """What one frame shows.

    Attributes:
        fields: (12,) weights in the order of `FIELDS`.
        blink: (left, right), -0.4 wide open, 0 as in the photo, 1 shut.
        gaze: (x, y): image right, image down.
        pose: (2, 3) float64, rows x and y of s R - 1.
        shift: (2,) float64 translation in pixels of the crop.
    """

    fields: Floats
    blink: tuple[float, float]
    gaze: tuple[float, float]
    pose: NDArray[np.float64]
    shift: NDArray[np.float64]

    @property
    def is_still(self) -> bool:
        """The head does not move."""
        return not self.pose.any() and not self.shift.any()


def jaw_from_opening(c_lip: NDArray[Any]) -> Floats:
    """Jaw field of a commanded lip opening: 1.15 (1 - exp(-c_lip / 0.45)), 0 .. 0.9."""
    jaw: Floats = np.clip(1.15 * (1.0 - np.exp(-np.asarray(c_lip) / 0.45)), 0.0, 0.9).astype(np.float32)
    return jaw


def controls_of(motion: Floats, reference: Floats | None = None) -> list[Controls]:
    """Translate motion rows.

    Args:
        motion: (N, 70) float32.
        reference: (70,) row of absolute motion that shows the portrait itself; None when rows are relative.

    Raises:
        ShapeError: wrong shape or dtype.
        NonFiniteOutput: NaN or infinity in a row.
    """
    motion = check_rows(motion)
    if not np.isfinite(motion).all():
        bad = int(np.flatnonzero(~np.isfinite(motion).all(axis=1))[0])
        raise NonFiniteOutput(f"motion row {bad} of {len(motion)} holds NaN or infinity; nothing can be drawn from it")
    if reference is not None:
        check_rows(reference.reshape(1, -1))
    # Row by row: a matrix product over many rows may differ in its last bit from one over few.
    return [_controls(row[None], reference) for row in motion]


def _controls(row: Floats, reference: Floats | None) -> Controls:
    exp = row[:, EXP]
    scale = row[:, SCALE].astype(np.float64)
    t = row[:, T].astype(np.float64)[:, :2]
    turn = rotations(row[:, PYR])
    if reference is not None:
        exp = exp - reference[EXP]
        scale = scale / max(float(reference[SCALE]), 1e-3)
        t = t - reference[T][:2]
        turn = turn @ rotations(reference[None, PYR])[0].T
    turn = rotations(soft_limit(angles(turn), PYR_KNEE, PYR_LIMIT))[0]
    scale = 1.0 + soft_limit(scale - 1.0, SCALE_KNEE, SCALE_LIMIT)
    sliders = sliders_from_exp(exp)
    look = sliders[0, [SLIDER_INDEX["gaze_x"], SLIDER_INDEX["gaze_y"]]] * [1.0, -1.0]
    look = soft_limit(look, GAZE_KNEE, GAZE_LIMIT)
    lids = sliders[0, [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]]
    blink = np.clip(lids + LIDS_FOLLOW * beyond(float(look[1]), LIDS_REST), WIDEST_EYES, 1.0)
    return Controls(
        fields=_field_weights(sliders, lip_opening(exp))[0],
        blink=(float(blink[0]), float(blink[1])),
        gaze=(float(look[0]), float(look[1])),
        pose=(scale[0] * turn - np.eye(3))[:2],
        shift=soft_limit(t * PX_PER_T, T_KNEE, T_LIMIT)[0],
    )


def rotations(pyr: NDArray[Any]) -> NDArray[np.float64]:
    """Rz(roll) Ry(yaw) Rx(pitch) for column vectors; axes x right, y down, z away: (N, 3) degrees -> (N, 3, 3)."""
    pitch, yaw, roll = np.deg2rad(np.asarray(pyr, np.float64)).T
    cx, sx, cy, sy, cz, sz = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    matrices: NDArray[np.float64] = np.array(rows).transpose(2, 0, 1)
    return matrices


def angles(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pitch, yaw, roll of rotations: (N, 3, 3) -> (N, 3) degrees."""
    pitch = np.arctan2(turn[:, 2, 1], turn[:, 2, 2])
    yaw = -np.arcsin(np.clip(turn[:, 2, 0], -1.0, 1.0))
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    pyr: NDArray[np.float64] = np.rad2deg(np.stack([pitch, yaw, roll], axis=1))
    return pyr


def soft_limit(
    value: NDArray[Any], knee: NDArray[np.float64] | float, limit: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """The value itself up to the knee, then a tanh that never passes the limit; odd and smooth."""
    size = np.abs(np.asarray(value, np.float64))
    room = np.asarray(limit) - knee
    limited = np.where(size <= knee, size, knee + room * np.tanh((size - knee) / room))
    signed: NDArray[np.float64] = np.copysign(limited, value)
    return signed


def beyond(value: float, rest: float) -> float:
    """How far a value is outside of -rest .. rest."""
    return value - min(max(value, -rest), rest)


def _field_weights(sliders: Floats, c_lip: Floats) -> Floats:
    def slider(name: str) -> NDArray[np.float64]:
        return soft_limit(sliders[:, SLIDER_INDEX[name]], LIP_KNEE, LIP_LIMIT)

    jaw = jaw_from_opening(c_lip)
    # Lips that are commanded shut stay shut: what lifts the lip of a flare fades in with the opening.
    opened = smoothstep(0.0, 0.12, jaw)
    flare = slider("lip_flare")
    # Raised and drawn together at once, brows slant: their inner ends rise.
    brow_raise, brow_frown = slider("brow_raise"), slider("brow_frown")
    slant = np.clip(np.minimum(brow_raise, brow_frown), 0.0, None)
    weights = {
        "jaw": jaw,
        "pucker": soft_limit(slider("lip_pucker") + 0.6 * flare, LIP_KNEE, LIP_LIMIT),
        "flare": flare * opened,
        "wide": slider("lip_wide"),
        "press": slider("lip_press") * (1.0 - np.minimum(1.0, 3.0 * jaw)),
        "upper_lip": slider("upper_lip_raise"),
        "smile": slider("smile"),
        "mouth_x": slider("mouth_x"),
        "brow_raise": brow_raise - slant,
        "brow_frown": brow_frown - slant,
        "brow_oblique": slant,
        "close": np.ones(len(jaw)),
    }
    return np.stack([np.asarray(weights[name], np.float64) for name in FIELDS], axis=1).astype(np.float32)
