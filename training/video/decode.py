"""Any video file -> pictures and sound on one exact clock.

Time 0 is the moment the first picture is shown. Times are fractions taken from the container's time stamps, never from
a nominal frame rate, so variable rates, 24000/1001, edit lists and streams that begin at different moments all come out
right. Sound is resampled to 16 kHz mono and laid on the same clock: sample n is heard at n / 16000 s. Its own time
stamps decide where it lies only where they jump (`JUMP_S`); between jumps samples are counted, so nothing drifts.
Knows no faces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import UnsupportedMedia
from shared.timeline import SAMPLE_RATE

Bytes = NDArray[np.uint8]

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv")
JUMP_S = Fraction(1, 50)
CLOSEST_S = Fraction(1, 32)  # pictures nearer to the one before are skipped: 50 and 60 fps are halved
LONGEST_SIDE_PX = 1280
MAX_SOUND_S = 4 * 3600


@dataclass(frozen=True)
class Picture:
    """One picture of a video.

    Attributes:
        time: seconds after the first picture, exact.
        image: (H, W, 3) uint8 RGB, upright, square pixels, longer side at most 1280.
    """

    time: Fraction
    image: Bytes


@dataclass(frozen=True)
class VideoFacts:
    """What a file says about itself.

    Attributes:
        origin: time stamp of the first picture shown, seconds on the container's clock.
        width: pixels as stored.
        height: pixels as stored.
        rate: pictures per second as the container guesses, only for the record.
        has_sound: there is a sound track.
    """

    origin: Fraction
    width: int
    height: int
    rate: float
    has_sound: bool


def find_videos(folder: Path) -> list[Path]:
    """Video files of a folder and all below it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def probe(path: Path) -> VideoFacts:
    """Open a file and decode its first picture.

    Raises:
        UnsupportedMedia: no video, damaged, or without time stamps.
    """
    with _opened(path) as container:
        track = _pictures_of(container, path)
        first = next(_decoded(container, track, path), None)
        if first is None:
            raise UnsupportedMedia(f"{path.name} holds no picture that can be decoded; expected a video.")
        return VideoFacts(
            origin=_time(first, path),
            width=first.width,
            height=first.height,
            rate=float(track.average_rate or 0),
            has_sound=bool(container.streams.audio),
        )


def read_pictures(path: Path, origin: Fraction) -> Iterator[Picture]:
    """Pictures in the order of showing; of more than 32 per second, only some.

    Args:
        path: the file.
        origin: `VideoFacts.origin`.

    Raises:
        UnsupportedMedia: damaged, or time stamps that do not rise.
    """
    with _opened(path) as container:
        last: Fraction | None = None
        track = _pictures_of(container, path)
        stretch = float(track.sample_aspect_ratio or 1)
        for frame in _decoded(container, track, path):
            time = _time(frame, path) - origin
            if last is not None and time <= last:
                raise UnsupportedMedia(f"{path.name} has a picture at {float(time):.3f} s after a later one.")
            if last is None or time - last >= CLOSEST_S:
                last = time
                yield Picture(time, _upright(frame, stretch))


def read_sound(path: Path, origin: Fraction) -> NDArray[np.int16]:
    """Sound on the clock of the pictures, from time 0 on; silence where the file has none.

    Args:
        path: the file.
        origin: `VideoFacts.origin`.

    Returns:
        (n,) int16, 16 kHz mono; empty when there is no sound track.

    Raises:
        UnsupportedMedia: damaged, or longer than four hours.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            return np.zeros(0, np.int16)
        runs = list(_runs(_decoded(container, container.streams.audio[0], path), path))
    if not runs:
        return np.zeros(0, np.int16)
    ends = [round((start - origin) * SAMPLE_RATE) + len(samples) for start, samples in runs]
    if max(ends) > MAX_SOUND_S * SAMPLE_RATE:
        raise UnsupportedMedia(f"{path.name} has more than {MAX_SOUND_S} s of sound; cut it into pieces.")
    sound = np.zeros(max(*ends, 0), np.int16)
    for (_, samples), end in zip(runs, ends, strict=True):
        begin = end - len(samples)
        kept = samples[max(0, -begin) :]
        if end > 0:
            sound[end - len(kept) : end] = kept
    return sound


def _runs(frames: Iterator[Any], path: Path) -> Iterator[tuple[Fraction, NDArray[np.int16]]]:
    """Stretches of sound without a jump of the time stamps: start in seconds and samples at 16 kHz."""
    start, at, resampler, kind = Fraction(0), Fraction(0), None, None
    pieces: list[NDArray[Any]] = []
    for frame in frames:
        time = _time(frame, path)
        frame_kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if resampler is None or kind != frame_kind or abs(time - at) > JUMP_S:
            if resampler is not None:
                yield start, _joined(pieces, resampler)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            start, at, pieces, kind = time, time, [], frame_kind
        at += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        pieces += [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]
    if resampler is not None:
        yield start, _joined(pieces, resampler)


def _joined(pieces: list[NDArray[Any]], resampler: Any) -> NDArray[np.int16]:
    rest = [out.to_ndarray().reshape(-1) for out in resampler.resample(None)]
    joined: NDArray[np.int16] = np.concatenate([np.zeros(0, np.int16), *pieces, *rest]).astype(np.int16)
    return joined


def _opened(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnsupportedMedia(
            f"{path.name} cannot be opened as a video ({error}); expected mp4, mov, mkv ..."
        ) from error


def _pictures_of(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise UnsupportedMedia(f"{path.name} holds no pictures; expected a video.")
    return container.streams.video[0]


def _decoded(container: Any, track: Any, path: Path) -> Iterator[Any]:
    track.thread_count = 1
    try:
        yield from container.decode(track)
    except (av.error.FFmpegError, ValueError) as error:
        raise UnsupportedMedia(f"{path.name} breaks off or is damaged: {error}. Copy it again.") from error


def _time(frame: Any, path: Path) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        raise UnsupportedMedia(f"{path.name} has frames without time stamps; remux it, for example to mp4.")
    return Fraction(frame.pts * frame.time_base.numerator, frame.time_base.denominator)


def _upright(frame: Any, stretch: float) -> Bytes:
    """Pixels made square, not too many, turned as the file says."""
    width = round(frame.width * stretch)
    shrink = min(1.0, LONGEST_SIDE_PX / max(width, frame.height))
    image = frame.to_ndarray(format="rgb24")
    if shrink < 1.0 or width != frame.width:
        size = (max(1, round(width * shrink)), max(1, round(frame.height * shrink)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    upright: Bytes = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
    return upright
