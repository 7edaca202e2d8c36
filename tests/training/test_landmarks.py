"""Videos to landmarks: times, orientation, sound on the clock of the pictures, faces followed, lips and lids."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from shared.errors import UnsupportedMedia
from training.landmarks import (
    EYES,
    eye_opening,
    lip_aperture,
    on_frame_clock,
    read_frames,
    sound_of_video,
    track,
)

Bytes = NDArray[np.uint8]


def write_video(
    path: Path, images: list[Bytes], rate: int = 25, sound: tuple[NDArray[np.int16], float] | None = None
) -> Path:
    """Encode pictures, and 16 kHz sound that begins at some second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        track_ = out.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound and track_:
            block = av.AudioFrame.from_ndarray(sound[0][None], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16_000, round(16_000 * sound[1]), Fraction(1, 16_000)
            out.mux(track_.encode(block))
            out.mux(track_.encode(None))
    return path


def halves(left: int, right: int) -> Bytes:
    """A picture of 64 x 48 that is one grey on the left and another on the right."""
    image = np.full((48, 64, 3), left, np.uint8)
    image[:, 32:] = right
    return image


def test_frames_come_with_their_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [halves(20, 20 * i) for i in range(8)], rate=30)
    frames = list(read_frames(path))
    assert np.allclose([frame.time_s for frame in frames], np.arange(8) / 30, atol=1e-4)
    assert [round(int(frame.image[24, 48, 0]) / 20) for frame in frames] == list(range(8))


def test_pictures_are_turned_as_the_file_says(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [halves(0, 200)] * 3)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # the matrix of a version 0 header
    quarter = [0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30]  # a quarter clockwise
    path.write_bytes(data[:at] + b"".join(v.to_bytes(4, "big", signed=True) for v in quarter) + data[at + 36 :])
    image = next(read_frames(path)).image
    assert image.shape == (64, 48, 3)
    assert image[:24].mean() < 20, "what was on the left is on top"
    assert image[40:].mean() > 180


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UnsupportedMedia, match=r"clip\.mp4"):
        list(read_frames(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia, match="missing"):
        next(read_frames(tmp_path / "missing.mp4"))


@pytest.mark.parametrize("begins_s", [0.0, 0.5])
def test_sound_lies_on_the_clock_of_the_pictures(tmp_path: Path, begins_s: float) -> None:
    pcm = np.full(8_000, 12_000, np.int16)
    path = write_video(tmp_path / "clip.mkv", [halves(0, 200)] * 25, sound=(pcm, begins_s))
    heard = sound_of_video(path, 60.0)
    assert abs(int(np.argmax(heard > 6_000)) - round(begins_s * 16_000)) <= 16
    assert abs(len(heard) - round(begins_s * 16_000) - 8_000) <= 16


def test_a_face_is_followed_and_its_absence_seen() -> None:
    face = draw_face()
    nothing = np.full_like(face, 128)
    moved = [np.ascontiguousarray(np.roll(face, 4 * step, axis=1)) for step in range(4)]
    landmarks = track([*moved, nothing, nothing])
    assert landmarks.shape == (6, 478, 3)
    assert np.isfinite(landmarks[:4]).all()
    assert np.isnan(landmarks[4:]).all()
    steps = np.diff(landmarks[:4, 1, 0])
    assert np.all(np.abs(steps - 4.0) < 1.5), "the tip of the nose moves as the picture does"


def test_lips_are_measured_against_the_face() -> None:
    points = np.zeros((2, 478, 3), np.float32)
    points[:, 454, 0] = 200.0
    points[0, 14, 1] = 20.0
    points[1] = np.nan
    assert lip_aperture(points)[0] == pytest.approx(0.1)
    assert np.isnan(lip_aperture(points)[1])


def test_eyes_are_measured_by_their_aspect() -> None:
    points = np.zeros((1, 478, 3), np.float32)
    for height, (outer, up_a, up_b, inner, low_b, low_a) in zip((12.0, 4.0), EYES, strict=True):
        points[0, inner, 0] = 40.0
        points[0, [up_a, low_a], 0], points[0, [up_b, low_b], 0] = 10.0, 30.0
        points[0, [up_a, up_b], 1] = -height / 2
        points[0, [low_a, low_b], 1] = height / 2
        assert points[0, outer, 0] == 0.0
    assert eye_opening(points)[0] == pytest.approx([0.3, 0.1])


def test_the_frame_clock_keeps_what_is_on_it() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    values[7] = np.nan
    times = np.round(np.arange(50) / 25 * 12_800) / 12_800
    assert np.array_equal(on_frame_clock(times, values, 50), values, equal_nan=True)


def test_the_frame_clock_interpolates_other_rates() -> None:
    times = np.arange(60) / 30
    values = (2.0 * (times + 1 / 60)).astype(np.float32)  # a ramp, as it stands in the middle of each picture
    wanted = 2.0 * (np.arange(52) + 0.5) / 25
    out = on_frame_clock(times, values, 52)
    assert np.allclose(out[1:49], wanted[1:49], atol=1e-5)
    assert np.isnan(out[50:]).all(), "nothing is invented beyond the last picture"
