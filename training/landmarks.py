"""Talking videos to landmarks: frames with their times, MediaPipe in tracking mode, lips and lids measured on them.

One reader for everything that looks at videos: the evaluation of any system's, and training data from real ones. Knows
no metric and no data set.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray

from services.renderer.detect import N_LANDMARKS, faces_by, solutions
from shared.errors import UnsupportedMedia
from shared.media.audio import decode_speech
from shared.timeline import FPS, SAMPLE_RATE

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SAME_S = 1e-3
DETECTION_CONFIDENCE, TRACKING_CONFIDENCE = 0.3, 0.5
UPPER_LIP, LOWER_LIP = 13, 14
LEFT_SIDE, RIGHT_SIDE = 234, 454
# Outer corner, two of the upper lid, inner corner, two of the lower lid (image left, image right).
EYES = ((33, 160, 158, 133, 153, 144), (263, 387, 385, 362, 380, 373))


@dataclass(frozen=True)
class TimedFrame:
    """One picture of a video.

    Attributes:
        time_s: when it begins to be shown, from the first picture on.
        image: (H, W, 3) uint8 RGB.
    """

    time_s: float
    image: Bytes


@dataclass(frozen=True)
class TrackedVideo:
    """Landmarks of all pictures of a video.

    Attributes:
        times_s: (N,) float64, when each picture begins to be shown; the first at 0.
        landmarks: (N, 478, 3) float32 pixels; NaN rows where no face was found.
        size_px: width and height of the pictures.
    """

    times_s: NDArray[np.float64]
    landmarks: Floats
    size_px: tuple[int, int]

    @property
    def fps(self) -> float:
        """Pictures per second on average; 25 for a single picture."""
        steps = len(self.times_s) - 1
        return steps / float(self.times_s[-1] - self.times_s[0]) if steps else float(FPS)

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """(N,) pictures with a face."""
        found: NDArray[np.bool_] = np.isfinite(self.landmarks[:, 0, 0])
        return found


class FaceTracker:
    """MediaPipe Face Mesh in tracking mode: a face is looked for once, then followed from picture to picture."""

    _follows: bool
    _mesh: Any

    def __init__(self) -> None:
        self._open()

    def landmarks(self, image: Bytes) -> Floats | None:
        """Landmarks of the tracked face in the next picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (478, 3) float32 in pixels, z on the scale of x, or None where no face is found.
        """
        faces = faces_by(self._mesh, image)
        if faces and not self._follows:
            # The detector frames a face differently than its landmarks do: look again, or the first step is a jump.
            faces = faces_by(self._mesh, image)
        self._follows = bool(faces)
        return faces[0] if faces else None

    def restart(self) -> None:
        """Forget the face, as at a cut."""
        self.close()
        self._open()

    def close(self) -> None:
        """Free MediaPipe's graph."""
        self._mesh.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._follows = False
        self._mesh = solutions().face_mesh.FaceMesh(
            static_image_mode=False,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=DETECTION_CONFIDENCE,
            min_tracking_confidence=TRACKING_CONFIDENCE,
        )


def read_frames(path: Path) -> Iterator[TimedFrame]:
    """Decode the pictures of a video in the order in which they are shown.

    Raises:
        UnsupportedMedia: not there, no video, or damaged.
    """
    try:
        with av.open(str(path)) as file:
            first_s: float | None = None
            for frame in file.decode(_pictures(file, path)):
                if frame.time is None:
                    raise UnsupportedMedia(f"{path}: a picture without a time stamp; expected a file such as mp4.")
                first_s = frame.time if first_s is None else first_s
                yield TimedFrame(frame.time - first_s, _upright(frame))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnsupportedMedia(f"{path} cannot be read as a video ({error}); expected a file such as mp4.") from error


def track(images: Iterable[Bytes]) -> Floats:
    """Follow the face of one shot: (N, 478, 3) float32 pixels, NaN rows where there is none.

    Args:
        images: (H, W, 3) uint8 RGB each.
    """
    lost = np.full((N_LANDMARKS, 3), np.nan, np.float32)
    with FaceTracker() as tracker:
        rows = [lost if (points := tracker.landmarks(image)) is None else points for image in images]
    return np.stack(rows) if rows else np.empty((0, N_LANDMARKS, 3), np.float32)


def track_video(path: Path) -> TrackedVideo:
    """Read a video and follow its face; memory holds one picture at a time.

    Raises:
        UnsupportedMedia: as `read_frames`; or there is no picture in it.
    """
    times_s: list[float] = []
    sizes: set[tuple[int, int]] = set()

    def images() -> Iterator[Bytes]:
        for frame in read_frames(path):
            times_s.append(frame.time_s)
            sizes.add((frame.image.shape[1], frame.image.shape[0]))
            yield frame.image

    landmarks = track(images())
    if len(sizes) != 1:
        raise UnsupportedMedia(f"{path} holds pictures of {len(sizes)} sizes; expected one.")
    return TrackedVideo(np.array(times_s), landmarks, sizes.pop())


def sound_of_video(path: Path, max_duration_s: float) -> NDArray[np.int16]:
    """Sound of a video on the clock of its pictures: sample 0 belongs to the moment the first picture is shown.

    Returns:
        (n,) int16 mono 16 kHz.

    Raises:
        UnsupportedMedia: not there, no sound, or it cannot be decoded.
        AudioTooLong: it lasts longer.
    """
    if not path.is_file():
        raise UnsupportedMedia(f"{path} is not there; expected a video with sound.")
    pcm = decode_speech(path, max_duration_s)
    with av.open(str(path)) as file:
        picture_s = _first_time_s(file, _pictures(file, path))
    with av.open(str(path)) as file:
        sound_s = _first_time_s(file, file.streams.audio[0])
    late = round((sound_s - picture_s) * SAMPLE_RATE)
    return np.pad(pcm, (max(late, 0), 0))[max(-late, 0) :]


def lip_aperture(landmarks: Floats) -> Floats:
    """Gap between the inner lips (13, 14) over the width of the face (234, 454).

    Args:
        landmarks: (N, 478, 3) pixels.

    Returns:
        (N,) float32, 0 for closed lips, about 0.1 for open ones; NaN where no face was found.
    """
    return _distance(landmarks, UPPER_LIP, LOWER_LIP) / _distance(landmarks, LEFT_SIDE, RIGHT_SIDE)


def eye_opening(landmarks: Floats) -> Floats:
    """Eye aspect ratio, (|p2 p6| + |p3 p5|) / (2 |p1 p4|), Soukupová and Čech 2016, eq. 1.

    Args:
        landmarks: (N, 478, 3) pixels.

    Returns:
        (N, 2) float32, eye on image left and on image right; about 0.3 open, below 0.15 shut; NaN where no face is.
    """
    ratios = [
        (_distance(landmarks, p2, p6) + _distance(landmarks, p3, p5)) / (2 * _distance(landmarks, p1, p4))
        for p1, p2, p3, p4, p5, p6 in EYES
    ]
    return np.stack(ratios, axis=1)


def on_frame_clock(times_s: NDArray[np.float64], values: Floats, n_frames: int) -> Floats:
    """Measures of pictures at any rate, as they stand in the middle of each frame of 1/25 s; linear in between.

    Args:
        times_s: (N,) when each picture begins to be shown.
        values: (N, ...) measures; NaN where there is none.
        n_frames: frames wanted.

    Returns:
        (n_frames, ...) float32; NaN beyond the pictures, and where a neighbour of two is NaN.
    """
    half = 0.5 * float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.5 / FPS
    wanted = (np.arange(n_frames) + 0.5) / FPS
    place = np.interp(wanted, times_s + half, np.arange(len(times_s)), left=-1.0, right=-1.0)
    # Times are rounded to the ticks of the file: what is nearly a picture's own middle is that picture.
    for index in (0, len(times_s) - 1):
        place[np.abs(wanted - times_s[index] - half) < SAME_S] = index
    place = np.where(np.abs(place - np.rint(place)) < SAME_S * FPS, np.rint(place), place)
    before = np.floor(place).astype(np.int64)
    share = (place - before).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    earlier = values[np.maximum(before, 0)].astype(np.float32)
    later = values[np.minimum(before + 1, len(values) - 1)]
    out: Floats = np.where(share > 0, (1 - share) * earlier + share * later, earlier)
    out[place < 0] = np.nan
    return out


def _pictures(file: Any, path: Path) -> Any:
    if not file.streams.video:
        raise UnsupportedMedia(f"{path} holds no video track; expected a video.")
    return file.streams.video[0]


def _first_time_s(file: Any, stream: Any) -> float:
    """When the first frame of a stream begins, on the clock of the file."""
    first = next(file.decode(stream), None)
    return float(first.time) if first is not None and first.time is not None else 0.0


def _upright(frame: Any) -> Bytes:
    """Pixels (H, W, 3) RGB, turned as the file says: phones store how they were held."""
    image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return np.ascontiguousarray(image)


def _distance(landmarks: Floats, one: int, other: int) -> Floats:
    """Distance of two landmarks in the picture: (N,)."""
    gap: Floats = np.linalg.norm(landmarks[:, one, :2] - landmarks[:, other, :2], axis=1)
    return gap
