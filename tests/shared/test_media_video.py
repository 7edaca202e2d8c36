"""Segments keep colours and repeat byte for byte; joined they are frame-exact and as long as their sound."""

import hashlib
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import BadMessage, ShapeError
from shared.media.video import EncoderOptions, assemble, encode_segment, limited_range_frame
from tests.shared.test_media_audio import tone, write_sound

FAST = EncoderOptions(preset="ultrafast")
SIDE = 128


def jpeg(index: int, width: int = SIDE, height: int = SIDE) -> bytes:
    """A smooth picture with ``index`` written into its brightness pattern."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.stack([x * 255 / width, y * 255 / height, 128 + 100 * np.sin(x / 20 + index)], axis=-1)
    picture[:16, :16] = (index * 37) % 256
    found, data = cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert found
    return data.tobytes()


def rgb_of(data: bytes) -> NDArray[np.uint8]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(container.streams.video[0]))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def segments_of(tmp_path: Path, lengths: list[int]) -> list[Path]:
    paths, first = [], 0
    for index, n_frames in enumerate(lengths):
        path = tmp_path / f"{index:05d}.mp4"
        encode_segment([jpeg(i) for i in range(first, first + n_frames)], path, FAST)
        paths.append(path)
        first += n_frames
    return paths


def test_colours_survive_the_change_of_range(tmp_path: Path) -> None:
    encode_segment([jpeg(0)], tmp_path / "s.mp4", EncoderOptions(preset="veryfast", crf="1"))
    frame = decoded(tmp_path / "s.mp4")[0]
    assert frame.color_range == 1
    assert frame.colorspace in (5, 6)
    seen, wanted = frame.reformat(format="rgb24").to_ndarray(), rgb_of(jpeg(0))
    assert psnr(seen, wanted) > 36
    assert np.all(np.abs((seen.astype(float) - wanted).mean(axis=(0, 1))) < 2.0)


def test_black_and_white_use_the_limited_range() -> None:
    for level, luma in ((0, 16), (255, 235)):
        data = cv2.imencode(".jpg", np.full((64, 64, 3), level, np.uint8))[1].tobytes()
        planes = limited_range_frame(data).to_ndarray()
        assert planes[:64].min() == planes[:64].max() == luma
        assert planes[64:].min() == planes[64:].max() == 128


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    frames = [jpeg(i) for i in range(20)]
    digests = set()
    for name in ("a.mp4", "b.mp4"):
        encode_segment(frames, tmp_path / name, FAST)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_segment_is_one_closed_group(tmp_path: Path) -> None:
    encode_segment([jpeg(i * 50) for i in range(65)], tmp_path / "s.mp4", FAST)
    with av.open(str(tmp_path / "s.mp4")) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    assert [p.is_keyframe for p in packets] == [True] + [False] * 64
    assert all(p.pts == p.dts for p in packets)


@pytest.mark.parametrize("lengths", [[1], [65], [65, 1], [65, 65, 30]])
def test_joined_segments_are_frame_exact(tmp_path: Path, lengths: list[int]) -> None:
    n_frames = sum(lengths)
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(n_frames / 25))
    parts = segments_of(tmp_path, lengths)
    assemble(parts, sound, n_frames, tmp_path / "result.mp4")
    joined = decoded(tmp_path / "result.mp4")
    assert [round(float(f.time) * 25) for f in joined] == list(range(n_frames))
    expected = [f.to_ndarray() for part in parts for f in decoded(part)]
    for seen, wanted in zip(joined, expected, strict=True):
        np.testing.assert_array_equal(seen.to_ndarray(), wanted)


@pytest.mark.parametrize("sound_s", [0.01, 1.2, 2.0, 3.5])
def test_sound_is_as_long_as_the_video(tmp_path: Path, sound_s: float) -> None:
    n_frames = 50
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(sound_s))
    assemble(segments_of(tmp_path, [n_frames]), sound, n_frames, tmp_path / "result.mp4")
    with av.open(str(tmp_path / "result.mp4")) as container:
        video: Any = container.streams.video[0]
        audio: Any = container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert audio.codec_context.sample_rate == 48_000
        assert video.average_rate == 25
        video_s = float(video.duration * video.time_base)
        audio_s = float(audio.duration * audio.time_base)
        assert video_s == pytest.approx(2.0)
        assert abs(audio_s - video_s) <= 0.04
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio)])
    assert abs(len(heard) / 48_000 - 2.0) <= 0.04
    if sound_s < 1.9:
        assert np.abs(heard[round((sound_s + 0.1) * 48_000) :]).max() < 0.01


def test_sound_stays_in_time(tmp_path: Path) -> None:
    samples = np.zeros(48_000 * 2)
    samples[48_000:48_480] = 0.8
    sound = write_sound(tmp_path / "a.flac", "flac", "flac", "s16", samples)
    assemble(segments_of(tmp_path, [50]), sound, 50, tmp_path / "result.mp4")
    with av.open(str(tmp_path / "result.mp4")) as container:
        frames: list[Any] = list(container.decode(container.streams.audio[0]))
    heard = np.concatenate([f.to_ndarray()[0] for f in frames])
    start_s = float(frames[0].time) + np.argmax(np.abs(heard) > 0.4) / 48_000
    assert start_s == pytest.approx(1.0, abs=0.01)


def test_the_index_stands_at_the_front(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(1.0))
    assemble(segments_of(tmp_path, [25]), sound, 25, tmp_path / "result.mp4")
    data = (tmp_path / "result.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(1.0))
    assemble(segments_of(tmp_path, [25]), sound, 25, tmp_path / "result.mp4")
    with av.open(str(tmp_path / "result.mp4")) as container:
        assert container.streams.audio[0].codec_context.channels == 2


def test_missing_frames_are_noticed(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(1.0))
    with pytest.raises(ShapeError, match="hold 25 frames; expected 26"):
        assemble(segments_of(tmp_path, [25]), sound, 26, tmp_path / "result.mp4")


def test_other_options_are_noticed(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(1.0))
    encode_segment([jpeg(0)], tmp_path / "a.mp4", FAST)
    encode_segment([jpeg(1)], tmp_path / "b.mp4", EncoderOptions(preset="veryfast"))
    with pytest.raises(ShapeError, match="other options"):
        assemble([tmp_path / "a.mp4", tmp_path / "b.mp4"], sound, 2, tmp_path / "result.mp4")


def test_odd_sides_become_even(tmp_path: Path) -> None:
    encode_segment([jpeg(0, 129, 97)], tmp_path / "s.mp4", FAST)
    frame = decoded(tmp_path / "s.mp4")[0]
    assert (frame.width, frame.height) == (128, 96)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 broken"])
def test_a_frame_that_is_no_jpeg_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadMessage):
        encode_segment([data], tmp_path / "s.mp4", FAST)


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError):
        encode_segment([jpeg(0), jpeg(1, 64, 64)], tmp_path / "s.mp4", FAST)
    with pytest.raises(ShapeError):
        encode_segment([], tmp_path / "s.mp4", FAST)
