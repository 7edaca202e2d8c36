"""Pictures -> face tracks: one person from cut to cut, landmarks at 25 fps on the exact clock.

MediaPipe Face Mesh follows up to three faces in tracking mode. Faces of neighbouring pictures are the same track when
their middles lie within `NEAR` face widths and their sizes agree; a face that jumps further begins a new track, which
also finds jump cuts. Of the tracks of a shot the one with the largest sum of face areas is kept. Frame i of the track
is the linear mean of the two pictures around the time i / 25 s; pictures of a 25 fps video are taken as they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.detect import faces_by, solutions
from shared.timeline import FPS
from training.video.decode import Picture
from training.video.shots import CutDetector

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MAX_FACES = 3
DETECTION_CONFIDENCE, TRACKING_CONFIDENCE = 0.5, 0.5
NEAR = 0.35
SIZE_CHANGE = 1.4
MAX_GAP_S = 0.13  # a face lost for longer ends the track
MAX_TRACK_S = 60
SHARPNESS_PX = 128
LEFT_SIDE, RIGHT_SIDE = 234, 454


@dataclass(frozen=True)
class Track:
    """One person in one shot.

    Attributes:
        first_frame: absolute frame of the first row, at 25 fps.
        points: (N, 478, 3) float32 pixels, z on the scale of x.
        sharpness: (N,) float32, see `sharpness`.
        n_others: most other faces seen at a time.
    """

    first_frame: int
    points: Floats
    sharpness: Floats
    n_others: int


@dataclass
class _Sighting:
    """A growing track: times of the pictures, landmarks, sharpness."""

    times: list[Fraction] = field(default_factory=list)
    points: list[Floats] = field(default_factory=list)
    sharp: list[float] = field(default_factory=list)
    n_others: int = 0

    @property
    def weight(self) -> float:
        """Sum of the areas of the face."""
        return float(sum(_width(p) ** 2 for p in self.points))


def face_tracks(pictures: Iterable[Picture]) -> Iterator[Track]:
    """Tracks of a video, shot after shot; memory holds one shot's landmarks, at most a minute of them.

    Args:
        pictures: in order.
    """
    cuts, mesh = CutDetector(), _open()
    sightings: list[_Sighting] = []
    begun = Fraction(0)
    try:
        for picture in pictures:
            is_cut = cuts.is_cut(picture.image)
            if is_cut or picture.time - begun >= MAX_TRACK_S:
                yield from _main_track(sightings)
                sightings, begun = [], picture.time
            if is_cut:
                mesh.close()
                mesh = _open()
            _follow(sightings, picture, faces_by(mesh, picture.image))
        yield from _main_track(sightings)
    finally:
        mesh.close()


def sharpness(image: Bytes, points: Floats) -> float:
    """Variance of the Laplacian of the face at 128 pixels over the variance of its grey values.

    After Pech-Pacheco et al., ICPR 2000; the division makes it independent of contrast. About 0.02 to 0.3 for sharp
    faces.
    """
    low = np.maximum(points[:, :2].min(axis=0).astype(int), 0)
    high = points[:, :2].max(axis=0).astype(int) + 1
    part = image[low[1] : high[1], low[0] : high[0]]
    if min(part.shape[:2]) < 8:
        return 0.0
    grey = cv2.cvtColor(
        cv2.resize(part, (SHARPNESS_PX, SHARPNESS_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    contrast = float(grey.astype(np.float32).var())
    return float(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F).var()) / max(contrast, 1.0) if contrast else 0.0


def on_clock(times: list[Fraction], values: Floats) -> tuple[int, Floats]:
    """Values at the times of pictures -> values at i / 25 s, linear in between, nothing beyond the ends.

    Args:
        times: (M,) rising, seconds.
        values: (M, ...).

    Returns:
        The first frame and (N, ...) float32; N may be 0.
    """
    first, last = -(-times[0] * FPS // 1), times[-1] * FPS // 1
    frames = np.arange(int(first), int(last) + 1)
    at = np.array([float(time * FPS) for time in times])
    place = np.interp(frames, at, np.arange(len(at)))
    before = np.minimum(place.astype(np.int64), len(at) - 1)
    after = np.minimum(before + 1, len(at) - 1)
    share = (place - before).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    mixed: Floats = ((1 - share) * values[before] + share * values[after]).astype(np.float32)
    return int(first), mixed


def _follow(sightings: list[_Sighting], picture: Picture, faces: list[Floats]) -> None:
    """Give every face to the track it continues, or begin one."""
    free = [s for s in sightings if picture.time - s.times[-1] <= MAX_GAP_S]
    for face in faces:
        nearest = min(free, key=lambda s: _distance(s.points[-1], face), default=None)
        if nearest is None or not _is_same(nearest.points[-1], face):
            nearest = _Sighting()
            sightings.append(nearest)
        else:
            free.remove(nearest)
        nearest.times.append(picture.time)
        nearest.points.append(face)
        nearest.sharp.append(sharpness(picture.image, face))
        nearest.n_others = max(nearest.n_others, len(faces) - 1)


def _main_track(sightings: list[_Sighting]) -> Iterator[Track]:
    """The most visible person; all pieces of it that do not overlap in time with a more visible one."""
    taken: list[_Sighting] = []
    for sighting in sorted(sightings, key=lambda s: -s.weight):
        overlaps = any(s.times[0] <= sighting.times[-1] and sighting.times[0] <= s.times[-1] for s in taken)
        if not overlaps and len(sighting.times) > 1:
            taken.append(sighting)
    for sighting in sorted(taken, key=lambda s: s.times[0]):
        first, points = on_clock(sighting.times, np.stack(sighting.points))
        sharp = on_clock(sighting.times, np.array(sighting.sharp, np.float32))[1]
        if len(points):
            yield Track(first, points, sharp, sighting.n_others)


def _is_same(before: Floats, now: Floats) -> bool:
    ratio = _width(now) / max(_width(before), 1.0)
    return _distance(before, now) < NEAR * _width(before) and 1 / SIZE_CHANGE < ratio < SIZE_CHANGE


def _distance(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a[:, :2].mean(axis=0) - b[:, :2].mean(axis=0)))


def _width(points: Floats) -> float:
    return float(np.linalg.norm(points[LEFT_SIDE, :2] - points[RIGHT_SIDE, :2]))


def _open() -> Any:
    return solutions().face_mesh.FaceMesh(
        static_image_mode=False,
        max_num_faces=MAX_FACES,
        refine_landmarks=True,
        min_detection_confidence=DETECTION_CONFIDENCE,
        min_tracking_confidence=TRACKING_CONFIDENCE,
    )
