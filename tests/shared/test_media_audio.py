"""Every sound format decodes to the same speech; bad files are refused with a reason."""

import io
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import AudioTooLong, UnsupportedMedia
from shared.media.audio import decode_speech, measure_level, probe_sound, recognise_sound

RATE = 48_000
TONE_HZ = 440.0
# (file name, container, codec, sample format)
FORMATS = [
    ("a.wav", "wav", "pcm_s16le", "s16"),
    ("a.mp3", "mp3", "libmp3lame", "s16p"),
    ("a.m4a", "mp4", "aac", "fltp"),
    ("a.aac", "adts", "aac", "fltp"),
    ("a.ogg", "ogg", "libopus", "s16"),
    ("a.webm", "webm", "libopus", "s16"),
    ("a.flac", "flac", "flac", "s16"),
]


def tone(seconds: float, rate: int = RATE, amplitude: float = 0.3) -> NDArray[np.float64]:
    return np.asarray(amplitude * np.sin(2 * np.pi * TONE_HZ * np.arange(round(seconds * rate)) / rate))


def write_sound(
    path: Path, container: str, codec: str, sample_format: str, samples: NDArray[np.float64], with_picture: bool = False
) -> Path:
    """Write mono ``samples`` at 48 kHz as stereo; optionally a video track beside it."""
    with av.open(str(path), "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=RATE, layout="stereo")
        picture: Any = out.add_stream("libx264", rate=25) if with_picture else None
        if picture is not None:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for index in range(5):
                drawn = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * index, np.uint8), format="rgb24")
                drawn.pts, drawn.time_base = index, Fraction(1, 25)
                out.mux(picture.encode(drawn))
            out.mux(picture.encode(None))
        pcm = np.rint(np.repeat(samples[:, None], 2, axis=1) * 32_767).astype(np.int16).reshape(1, -1)
        block = 960 * 2
        resampler = av.AudioResampler(format=sample_format, layout="stereo", rate=RATE)
        for start in range(0, pcm.shape[1], block):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(pcm[:, start : start + block]), format="s16", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, start // 2, Fraction(1, RATE)
            for converted in resampler.resample(frame):
                out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return path


def dominant_hz(speech: NDArray[np.int16]) -> float:
    spectrum = np.abs(np.fft.rfft(speech.astype(float)))
    return float(np.argmax(spectrum) * 16_000 / len(speech))


@pytest.mark.parametrize(("name", "container", "codec", "sample_format"), FORMATS)
def test_every_format_gives_the_same_speech(
    tmp_path: Path, name: str, container: str, codec: str, sample_format: str
) -> None:
    path = write_sound(tmp_path / name, container, codec, sample_format, tone(2.0))
    with path.open("rb") as file:
        found = probe_sound(file)
    speech = decode_speech(path, 600.0)
    assert speech.dtype == np.int16
    assert speech.ndim == 1
    # Lossy codecs may add their frame padding (two frames of 1024 at 48 kHz at most).
    assert abs(len(speech) - 32_000) <= 1400
    assert dominant_hz(speech) == pytest.approx(TONE_HZ, abs=2.0)
    middle = speech[8_000:24_000].astype(float) / 32_768
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    assert found.extension in name or found.extension in ("m4a", "webm")


def test_lossless_formats_keep_every_sample(tmp_path: Path) -> None:
    wav = write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(1.0))
    flac = write_sound(tmp_path / "a.flac", "flac", "flac", "s16", tone(1.0))
    assert len(decode_speech(wav, 10.0)) == 16_000
    np.testing.assert_array_equal(decode_speech(wav, 10.0), decode_speech(flac, 10.0))


@pytest.mark.parametrize(
    ("container", "codec", "sample_format"), [("mp4", "aac", "fltp"), ("matroska", "libopus", "s16")]
)
def test_the_sound_track_of_a_video_is_taken(tmp_path: Path, container: str, codec: str, sample_format: str) -> None:
    path = write_sound(tmp_path / "video", container, codec, sample_format, tone(1.0), with_picture=True)
    assert dominant_hz(decode_speech(path, 10.0)) == pytest.approx(TONE_HZ, abs=3.0)


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    with path.open("rb") as file, pytest.raises(UnsupportedMedia, match="no sound track"):
        probe_sound(file)


def test_sound_shorter_than_a_frame_is_accepted(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "short.wav", "wav", "pcm_s16le", "s16", tone(0.01))
    assert len(decode_speech(path, 10.0)) == 160


def test_an_empty_wav_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(UnsupportedMedia, match="no sample"):
        decode_speech(path, 10.0)


def test_too_long_is_refused_by_what_was_decoded(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "long.flac", "flac", "flac", "s16", tone(2.0))
    with pytest.raises(AudioTooLong, match=r"longer than 1\.5 s"):
        decode_speech(path, 1.5)
    assert len(decode_speech(path, 2.0)) == 32_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, this is text",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"fLaC\x00\x00",
        b"OggS" + bytes(40),
        b"\x1aE\xdf\xa3" + bytes(60),
        b"\x00\x00\x00\x18ftypM4A " + bytes(100),
        b"ID3\x04" + bytes(200),
        b"\xff\xd8\xff\xe0" + bytes(200),
    ],
)
def test_a_corrupt_header_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        probe_sound(io.BytesIO(data))


def test_a_damaged_body_is_refused_or_decoded_but_never_crashes(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "a.flac", "flac", "flac", "s16", tone(2.0)).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(whole) - 200, dtype=np.uint8).tobytes()
    path = tmp_path / "damaged.flac"
    path.write_bytes(whole[:200] + noise)
    with pytest.raises(UnsupportedMedia):
        decode_speech(path, 10.0)


def test_a_cut_file_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "a.mp3", "mp3", "libmp3lame", "s16p", tone(2.0)).read_bytes()
    path = tmp_path / "cut.mp3"
    path.write_bytes(whole[: len(whole) // 2])
    assert 10_000 < len(decode_speech(path, 10.0)) < 20_000


def test_the_file_name_does_not_matter() -> None:
    assert recognise_sound(b"ID3\x03").demuxer == "mp3"
    assert recognise_sound(b"\xff\xfb\x90\x00").demuxer == "mp3"
    assert recognise_sound(b"\xff\xf1\x50\x80").demuxer == "aac"


def test_gain_brings_speech_to_one_level() -> None:
    for amplitude in (0.01, 0.1, 0.5):
        speech = np.rint(tone(2.0, 16_000, amplitude) * 32_768).astype(np.int16)
        level = measure_level(speech)
        assert level.gain * amplitude / np.sqrt(2) == pytest.approx(0.2, rel=0.02)
        assert not level.is_silent


def test_long_pauses_do_not_raise_the_gain() -> None:
    speech = np.rint(tone(1.0, 16_000, 0.3) * 32_768).astype(np.int16)
    noise = np.random.default_rng(1).integers(-3, 4, 16_000 * 60).astype(np.int16)
    assert measure_level(np.concatenate([noise, speech])).gain == pytest.approx(measure_level(speech).gain, rel=0.05)


def test_gain_is_limited_and_silence_keeps_one() -> None:
    assert measure_level(np.zeros(16_000, np.int16)).gain == 1.0
    assert measure_level(np.zeros(16_000, np.int16)).is_silent
    assert measure_level(np.full(16_000, 10, np.int16)).gain == 100.0
    assert measure_level(np.full(100, 10_000, np.int16)).gain > 0


def test_clipping_is_noticed() -> None:
    loud = np.clip(tone(1.0, 16_000, 3.0), -1, 1)
    assert measure_level((loud * 32_767).astype(np.int16)).is_clipped
    assert not measure_level((tone(1.0, 16_000, 0.9) * 32_767).astype(np.int16)).is_clipped


def test_sound_that_changes_its_rate_on_the_way_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "joined.aac"
    data = b""
    for rate in (48_000, 24_000):
        with av.open(str(tmp_path / "part.aac"), "w", format="adts") as out:
            stream: Any = out.add_stream("aac", rate=rate, layout="mono")
            samples = tone(1.0, rate).astype(np.float32)
            for start in range(0, rate - 1024, 1024):
                block = np.ascontiguousarray(samples[None, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        data += (tmp_path / "part.aac").read_bytes()
    path.write_bytes(data)
    speech = decode_speech(path, 10.0)
    assert len(speech) == pytest.approx(32_000, abs=3_000)
    assert dominant_hz(speech[2_000:14_000]) == pytest.approx(TONE_HZ, abs=3.0)
    assert dominant_hz(speech[18_000:28_000]) == pytest.approx(TONE_HZ, abs=3.0)


def test_an_impossible_rate_is_refused(tmp_path: Path) -> None:
    data = bytearray(write_sound(tmp_path / "a.wav", "wav", "pcm_s16le", "s16", tone(0.1)).read_bytes())
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    path = tmp_path / "fast.wav"
    path.write_bytes(bytes(data))
    with pytest.raises(UnsupportedMedia):
        decode_speech(path, 10.0)
