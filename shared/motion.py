"""The (N, 70) motion row: its layout, the expression sliders, and the lip opening they command.

A row describes one frame of a head in LivePortrait's motion space (arXiv:2407.03168): 21 implicit key points
x = s (x_c R + delta) + t. Columns: [0:63] expression delta ("exp", index 3 * key point + axis), [63] scale,
[64:67] translation, [67:70] pitch, yaw, roll in degrees. Axes: x right, y down, z away from the camera;
+pitch face down, +yaw nose to image left, +roll clockwise on screen. The neutral row is zeros with scale 1.

The slider basis is data (``shared/data/expression_basis.json``), read once on first use. Knows no model.
"""

import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ShapeError

FloatArray = NDArray[np.float32]

ROW = 70
N_KEYPOINTS = 21
EXP = slice(0, 63)
SCALE = 63
T = slice(64, 67)
PYR = slice(67, 70)
PITCH, YAW, ROLL = 67, 68, 69

SLIDERS = (
    "jaw_open",
    "lip_pucker",
    "lip_flare",
    "lip_wide",
    "lip_press",
    "upper_lip_raise",
    "smile",
    "mouth_x",
    "brow_raise",
    "brow_frown",
    "blink_left",
    "blink_right",
    "gaze_x",
    "gaze_y",
)
SLIDER_INDEX = {name: index for index, name in enumerate(SLIDERS)}

RIDGE_RELATIVE = 1e-3


def neutral_row() -> FloatArray:
    """The row that shows the portrait as it is: (70,) float32."""
    row = np.zeros(ROW, np.float32)
    row[SCALE] = 1.0
    return row


def neutral_rows(n_rows: int) -> FloatArray:
    """``n_rows`` neutral rows: (N, 70) float32."""
    return np.tile(neutral_row(), (n_rows, 1))


def check_rows(rows: NDArray[Any]) -> FloatArray:
    """Return ``rows`` if they are (N, 70) float32.

    Raises:
        ShapeError: another shape or dtype.
    """
    if rows.ndim != 2 or rows.shape[1] != ROW or rows.dtype != np.float32:
        raise ShapeError(f"motion of shape {rows.shape} and dtype {rows.dtype}; expected (N, {ROW}) float32")
    return rows


@cache
def basis() -> FloatArray:
    """Expression basis: (14, 63) float32, one exp delta per slider at value 1."""
    sliders = _document()["sliders"]
    return np.array([sliders[name]["vector"] for name in SLIDERS], np.float32)


@cache
def slider_ranges() -> FloatArray:
    """Lowest and highest meaningful value of each slider: (14, 2) float32."""
    sliders = _document()["sliders"]
    return np.array([sliders[name]["range"] for name in SLIDERS], np.float32)


def exp_from_sliders(sliders: NDArray[Any]) -> FloatArray:
    """Expression deltas of slider values: exp = sliders B.

    Args:
        sliders: (N, 14) in the order of `SLIDERS`.

    Returns:
        (N, 63) float32.
    """
    return (np.asarray(sliders, np.float32) @ basis()).astype(np.float32)


def sliders_from_exp(exp: NDArray[Any]) -> FloatArray:
    """Slider values of expression deltas by ridge least squares over all 14 columns, clamped to their ranges.

    sliders = exp B' (B B' + lambda 1)^-1, lambda = 1e-3 of the mean squared column norm. Meant for motion made from
    the basis (the embedded generator); motion of other generators needs the bounded fit over 12 sliders.

    Args:
        exp: (N, 63) expression deltas relative to a neutral with closed lips and open eyes.

    Returns:
        (N, 14) float32 in the order of `SLIDERS`.
    """
    ranges = slider_ranges()
    raw = np.asarray(exp, np.float32) @ _inversion()
    return np.clip(raw, ranges[:, 0], ranges[:, 1]).astype(np.float32)


def lip_opening(exp: NDArray[Any]) -> FloatArray:
    """Commanded lip opening c_lip: max(0, a d19y + b d20y + c d19z + d); gap over mouth width.

    The readout has a dead zone: small jaw values do not part the lips.

    Args:
        exp: (N, 63) expression deltas relative to a neutral with closed lips.

    Returns:
        (N,) float32, >= 0.
    """
    readout = _document()["c_lip_readout"]
    exp = np.asarray(exp, np.float32)
    lower_y, upper_y, lower_z = exp[:, 3 * 19 + 1], exp[:, 3 * 20 + 1], exp[:, 3 * 19 + 2]
    opening = readout["a"] * lower_y + readout["b"] * upper_y + readout["c"] * lower_z + readout["d"]
    opened: FloatArray = np.maximum(opening, 0.0).astype(np.float32)
    return opened


@cache
def _inversion() -> FloatArray:
    columns = basis().astype(np.float64)
    ridge = RIDGE_RELATIVE * float(np.mean(np.sum(columns**2, axis=1)))
    gram = columns @ columns.T + ridge * np.eye(len(SLIDERS))
    return np.linalg.solve(gram, columns).T.astype(np.float32)


@cache
def _document() -> dict[str, Any]:
    text = resources.files("shared").joinpath("data/expression_basis.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    if tuple(document["slider_order"]) != SLIDERS:
        raise ShapeError(f"expression basis lists sliders {document['slider_order']}; expected {list(SLIDERS)}")
    return document
