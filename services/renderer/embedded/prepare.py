"""Portrait to appearance: find the face, cut the crop, measure it again there."""

import numpy as np
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded import crop as cropping
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.geometry import Bytes, Floats
from shared.protocol import Output

FULL_PX = 1280


def prepare(portrait: NDArray[np.uint8], output: Output = "square") -> Appearance:
    """Make everything a portrait yields once.

    Args:
        portrait: (H, W, 3) uint8 RGB, upright.
        output: "square" for the crop, "full" for frames pasted back into the photo (longer side <= 1280, even).

    Raises:
        NoFaceFound: there is no face in it.
        ShapeError: not an (H, W, 3) uint8 image.
    """
    face, warnings = detect.find_speaker(portrait)
    height, width = portrait.shape[:2]
    box = cropping.place(face)
    if output == "square":
        box = cropping.move_inside(box, width, height)
    texture = cropping.sample(portrait, box.matrix)
    if output == "square":
        texture = cropping.fill_outside(texture, box.matrix, width, height)
    landmarks = detect.landmarks_of_crop(texture)
    if landmarks is None:
        landmarks = _into_crop(face, box.matrix)
    photo, matrix = (None, box.matrix) if output == "square" else _reduced(portrait, box.matrix)
    return Appearance(
        texture=texture,
        crop=matrix,
        landmarks=landmarks,
        person=detect.person_mask(texture),
        photo=photo,
        warnings=warnings,
    )


def _into_crop(points: Floats, matrix: NDArray[np.float64]) -> Floats:
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved[:, 2] *= scale
    return moved


def _reduced(photo: Bytes, matrix: NDArray[np.float64]) -> tuple[Bytes, NDArray[np.float64]]:
    """The photo at its output size (even, longer side <= 1280) and the crop's matrix from there."""
    height, width = photo.shape[:2]
    scale = min(1.0, FULL_PX / max(height, width))
    new_w, new_h = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    if scale == 1.0:
        return np.ascontiguousarray(photo[:new_h, :new_w]), matrix
    return cropping.resized(photo, matrix, new_w, new_h)
