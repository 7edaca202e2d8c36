"""Portrait to appearance: find the face, cut the crop, measure it again there."""

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded import crop as cropping
from services.renderer.embedded import detect
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.geometry import Bytes, Floats
from shared.errors import NoFaceFound, ShapeError
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
    if portrait.ndim != 3 or portrait.shape[2] != 3 or portrait.dtype != np.uint8:
        raise ShapeError(f"portrait of shape {portrait.shape} and dtype {portrait.dtype}; expected (H, W, 3) uint8 RGB")
    height, width = portrait.shape[:2]
    faces = detect.find_faces(portrait)
    if not faces:
        raise NoFaceFound(
            f"no face found in the {width}x{height} portrait; expected one face, seen from the front, "
            "not covered, at least 64 pixels wide. Try a closer or brighter photo."
        )
    box = cropping.place(faces[0])
    if output == "square":
        box = cropping.move_inside(box, width, height)
    texture = cropping.sample(portrait, box.matrix)
    if output == "square":
        texture = cropping.fill_outside(texture, box.matrix, width, height)
    landmarks = detect.landmarks_of_crop(texture)
    if landmarks is None:
        landmarks = _into_crop(faces[0], box.matrix)
    photo, matrix = (None, box.matrix) if output == "square" else _reduced(portrait, box.matrix)
    return Appearance(
        texture=texture,
        crop=matrix,
        landmarks=landmarks,
        person=detect.person_mask(texture),
        photo=photo,
        warnings=_warnings(faces),
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


def _warnings(faces: list[Floats]) -> tuple[str, ...]:
    if len(faces) > 1:
        return (f"{len(faces)} faces found; the largest one speaks",)
    return ()
