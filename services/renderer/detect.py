"""Faces in a photo: MediaPipe Face Mesh and selfie segmentation, whose models come with the wheel.

Imported on first use, and only where a portrait is prepared: drawing frames never needs MediaPipe.
"""

import os
import warnings
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import NoFaceFound, ShapeError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x, y, width, height in pixels

N_LANDMARKS = 478
PERSON_PX = 128
WORKING_PX = 1280
CONFIDENCE = 0.3
MAX_FACES = 5
FACE_MARGIN = 1.0  # of the detected box, each side, around a face that only the detector finds
TILE_PX = 640
TILE_SCALES = (2, 4)  # the photo is searched in tiles of 1/2 and 1/4 of its size


def find_speaker(portrait: Bytes) -> tuple[Floats, tuple[str, ...]]:
    """Landmarks of the face that will speak, the largest, and what the user should know about the choice.

    Args:
        portrait: (H, W, 3) uint8 RGB, upright.

    Returns:
        (478, 3) float32 as of `find_faces`, and warnings in words.

    Raises:
        NoFaceFound: there is no face in it.
        ShapeError: not an (H, W, 3) uint8 image.
    """
    if portrait.ndim != 3 or portrait.shape[2] != 3 or portrait.dtype != np.uint8:
        raise ShapeError(f"portrait of shape {portrait.shape} and dtype {portrait.dtype}; expected (H, W, 3) uint8 RGB")
    faces = find_faces(portrait)
    if not faces:
        height, width = portrait.shape[:2]
        raise NoFaceFound(
            f"no face found in the {width}x{height} portrait; expected one face, seen from the front, "
            "not covered, at least 64 pixels wide. Try a closer or brighter photo."
        )
    notes = (f"{len(faces)} faces found; the largest one speaks",) if len(faces) > 1 else ()
    return faces[0], notes


def find_faces(photo: Bytes) -> list[Floats]:
    """Landmarks of every face of a photo, largest first.

    The mesh's own detector sees faces down to about a fifth of the photo; smaller ones are looked for with the
    full-range detector, then in overlapping tiles.

    Args:
        photo: (H, W, 3) uint8 RGB.

    Returns:
        Arrays (478, 3) float32 in pixels of the photo; z on the scale of x.
    """
    scale = min(1.0, WORKING_PX / max(photo.shape[:2]))
    small = photo if scale == 1.0 else cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = [mesh / scale for mesh in _mesh(small)]
    boxes = [(x / scale, y / scale, w / scale, h / scale) for x, y, w, h in _detect(small)]
    if not faces and not boxes:
        boxes = _search_tiles(photo)
    for box in _distinct(boxes):
        if not any(_holds(face, box) for face in faces):
            faces += _mesh_in(photo, box)
    return sorted(faces, key=_extent, reverse=True)


def landmarks_of_crop(crop: Bytes) -> Floats | None:
    """Landmarks of the one large face of an upright crop, or None."""
    faces = _mesh(crop)
    return max(faces, key=_extent) if faces else None


def person_mask(crop: Bytes) -> Bytes:
    """Where a person is: (128, 128) uint8, 255 inside."""
    with quiet():
        result = _segmenter().process(np.ascontiguousarray(crop))
    mask = cv2.resize(result.segmentation_mask, (PERSON_PX, PERSON_PX), interpolation=cv2.INTER_AREA)
    person: Bytes = np.clip(np.rint(mask * 255.0), 0, 255).astype(np.uint8)
    return person


def faces_by(face_mesh: Any, image: Bytes) -> list[Floats]:
    """Landmarks of every face that a MediaPipe Face Mesh finds in a picture.

    Args:
        face_mesh: a `FaceMesh` with refined landmarks.
        image: (H, W, 3) uint8 RGB.

    Returns:
        Arrays (478, 3) float32 in pixels; z on the scale of x.
    """
    height, width = image.shape[:2]
    with quiet():
        result = face_mesh.process(np.ascontiguousarray(image))
    size = np.array([width, height, width], np.float32)
    faces: list[Floats] = []
    for face in result.multi_face_landmarks or ():
        points = np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * size
        # Normalised landmarks are at pixel edges, our pixels are at their centres.
        points[:, :2] -= 0.5
        if points.shape == (N_LANDMARKS, 3) and bool(np.isfinite(points).all()):
            faces.append(points)
    return faces


def quiet() -> "warnings.catch_warnings[None]":
    """MediaPipe uses calls that protobuf has deprecated."""
    return warnings.catch_warnings(action="ignore")


@cache
def solutions() -> Any:
    """MediaPipe's solutions, imported on first use."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    with quiet():
        from mediapipe.python import solutions

    return solutions


def _mesh(image: Bytes) -> list[Floats]:
    return faces_by(_face_mesh(), image)


def _mesh_in(photo: Bytes, box: Box) -> list[Floats]:
    """Mesh of the part of the photo around a detected box (x, y, width, height, pixels)."""
    x, y, width, height = box
    margin = FACE_MARGIN * max(width, height)
    left, top = max(0, int(x - margin)), max(0, int(y - margin))
    part = photo[top : int(y + height + margin), left : int(x + width + margin)]
    if min(part.shape[:2]) < 8:
        return []
    scale = min(1.0, WORKING_PX / max(part.shape[:2]))
    small = part if scale == 1.0 else cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    offset = np.array([left, top, 0.0], np.float32)
    return [mesh / scale + offset for mesh in _mesh(small)[:1]]


def _search_tiles(photo: Bytes) -> list[Box]:
    """Boxes of faces too small for the detector, found in overlapping tiles."""
    height, width = photo.shape[:2]
    for parts in TILE_SCALES:
        boxes: list[Box] = []
        tile_h, tile_w = -(-height // parts), -(-width // parts)
        for top in range(0, height - tile_h + 1, max(1, tile_h // 2)):
            for left in range(0, width - tile_w + 1, max(1, tile_w // 2)):
                tile = photo[top : top + tile_h, left : left + tile_w]
                k = min(1.0, TILE_PX / max(tile.shape[:2]))
                tile = tile if k == 1.0 else cv2.resize(tile, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
                boxes += [(x / k + left, y / k + top, w / k, h / k) for x, y, w, h in _detect(tile)]
        if boxes:
            return boxes
    return []


def _holds(face: Floats, box: Box) -> bool:
    """The middle of the box lies within the face."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    (left, top), (right, bottom) = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return bool(left < x < right and top < y < bottom)


def _distinct(boxes: list[Box]) -> list[Box]:
    """Boxes whose middle lies in no larger box kept before."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b[2] * b[3]):
        x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
        if not any(k[0] < x < k[0] + k[2] and k[1] < y < k[1] + k[3] for k in kept):
            kept.append(box)
    return kept[:MAX_FACES]


def _detect(image: Bytes) -> list[Box]:
    height, width = image.shape[:2]
    with quiet():
        result = _detector().process(np.ascontiguousarray(image))
    boxes = []
    for detection in result.detections or ():
        box = detection.location_data.relative_bounding_box
        boxes.append((box.xmin * width, box.ymin * height, box.width * width, box.height * height))
    return boxes


def _extent(points: Floats) -> float:
    return float(np.ptp(points[:, 0]) * np.ptp(points[:, 1]))


@cache
def _face_mesh() -> Any:
    return solutions().face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=MAX_FACES, refine_landmarks=True, min_detection_confidence=CONFIDENCE
    )


@cache
def _detector() -> Any:
    return solutions().face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)


@cache
def _segmenter() -> Any:
    return solutions().selfie_segmentation.SelfieSegmentation(model_selection=0)
