"""A whole video measured: landmarks made by hand, sounds with known lags, errors, one clip that our renderer drew."""

import argparse
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from services.renderer.jpeg import encode_jpeg
from shared.errors import InputError, NoFaceFound, UnsupportedMedia
from shared.media.portrait import decode_portrait
from shared.media.video import EncoderOptions, assemble, blank_jpeg, encode_segment
from shared.motion import EXP, SLIDER_INDEX, exp_from_sliders, neutral_rows
from shared.timeline import SAMPLES_PER_FRAME
from tests.training.evaluate.drawn_landmarks import landmarks
from training.evaluate.__main__ import main
from training.evaluate.face_motion import take_apart
from training.evaluate.video import (
    Recording,
    add_arguments,
    far_from_speech,
    lips_and_sound,
    measure,
    on_clock,
    run,
    shaking,
    silence,
)
from training.landmarks import TrackedVideo

Floats = NDArray[np.float64]
PORTRAIT = Path(__file__).parents[2] / "data" / "portrait.jpg"
N = 500


def opening(n_frames: int = N, seed: int = 0) -> Floats:
    """Lips that part two to four times a second, with a pause of 2 s in the middle: (n_frames,), 0 .. 0.1."""
    rng = np.random.default_rng(seed)
    curve = np.asarray(np.convolve(rng.uniform(-1, 1, n_frames + 6), np.hanning(7), mode="valid"))
    curve = np.asarray(np.clip(0.1 * curve / np.abs(curve).max(), 0, None))
    curve[n_frames // 2 : n_frames // 2 + 50] = 0.0
    return curve


def sound_of(curve: Floats, later_frames: int = 0) -> NDArray[np.int16]:
    """Noise as loud as the lips are open, some frames later; silent where they are shut."""
    level = np.repeat(np.roll(curve, later_frames), SAMPLES_PER_FRAME)
    noise = np.random.default_rng(1).standard_normal(len(level))
    return np.clip(60_000 * level * noise, -32_767, 32_767).astype(np.int16)


@pytest.mark.parametrize("later", [-4, 0, 3])
def test_the_lag_of_lips_behind_sound_is_found(later: int) -> None:
    figures = lips_and_sound(opening(), sound_of(opening(), later))
    assert figures["lips_r"] > 0.9
    assert figures["lips_lag_ms"] == pytest.approx(-40.0 * later, abs=20.0)
    assert figures["lips_r"] > figures["lips_chance"] + 0.3


def test_lips_of_another_sound_are_chance() -> None:
    figures = lips_and_sound(opening(), sound_of(opening(seed=9)))
    assert figures["lips_r"] < figures["lips_chance"] + 0.15


def test_lips_that_open_in_silence_are_seen() -> None:
    is_far = far_from_speech(sound_of(opening()), N)
    shut = silence(opening(), is_far)
    assert shut["silent_s"] > 1.0
    assert shut["closed_in_silence"] == 1.0
    chattering = opening()
    chattering[N // 2 + 10 : N // 2 + 30] = 0.05
    assert 0.3 < silence(chattering, is_far)["closed_in_silence"] < 0.9


def test_a_silent_clip_of_shut_lips_has_no_correlation_and_is_closed() -> None:
    face = landmarks(np.full(N, 0.001), np.full(N, 0.3))
    figures = measure(Recording(face, np.zeros(N * SAMPLES_PER_FRAME, np.int16), 1.0, 25.0), 65, 65)
    assert np.isnan(figures["lips_r"])
    assert figures["silent_s"] == 20.0
    assert figures["closed_in_silence"] == 1.0


def test_shaking_of_the_first_window_stands_out() -> None:
    shift = np.random.default_rng(5).normal(0, 0.2, (N, 2))
    shift[:65] *= 3.0
    points = landmarks(opening(), np.full(N, 0.3), shift_px=shift)
    figures = shaking(take_apart(points), 65)
    assert figures["jitter_head_first_over_later"] == pytest.approx(9.0, rel=0.5)
    assert figures["jitter_lips_first_over_later"] < 3.0


def test_speech_reaches_200_ms_around_itself() -> None:
    pcm = np.zeros(50 * SAMPLES_PER_FRAME, np.int16)
    pcm[20 * SAMPLES_PER_FRAME : 22 * SAMPLES_PER_FRAME] = 8_000
    assert np.flatnonzero(~far_from_speech(pcm, 50)).tolist() == list(range(16, 26))


def test_a_face_for_less_than_two_seconds_is_none() -> None:
    points = landmarks(opening(100), np.full(100, 0.3))
    points[40:] = np.nan
    with pytest.raises(NoFaceFound, match="40 of 100 frames"):
        on_clock(TrackedVideo(np.arange(100) / 25, points, (512, 512)), sound_of(opening(100)), 100)


def options(video: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--video", str(video), *more])


def write_wav(path: Path, pcm: NDArray[np.int16]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    return path


def write_mp4(path: Path, jpegs: list[bytes], pcm: NDArray[np.int16]) -> Path:
    segment = path.with_suffix(".segment.mp4")
    encode_segment(jpegs, segment, EncoderOptions(preset="ultrafast"))
    assemble([segment], write_wav(path.with_suffix(".wav"), pcm), len(jpegs), path)
    return path


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    encode_segment([blank_jpeg(64)] * 60, tmp_path / "mute.mp4", EncoderOptions(preset="ultrafast"))
    with pytest.raises(UnsupportedMedia, match="no sound track"):
        run(options(tmp_path / "mute.mp4"))


def test_a_video_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "short.mp4", [blank_jpeg(64)] * 20, np.full(20 * 640, 500, np.int16))
    with pytest.raises(InputError, match=r"lasts 0\.8 s"):
        run(options(path))


def test_windows_of_no_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="windows of 0 frames"):
        run(options(tmp_path / "any.mp4", "--windows", "0"))


def test_a_missing_video_ends_the_command_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", "--video", str(tmp_path / "missing.mp4")]) == 2
    assert "missing.mp4" in capsys.readouterr().err


def test_what_our_renderer_draws_is_measured_as_commanded(tmp_path: Path) -> None:
    n_frames = 75
    jaw = 0.5 * opening(n_frames, seed=2) / 0.1
    jaw[jaw < 0.1] = 0.0
    sliders = np.zeros((n_frames, len(SLIDER_INDEX)), np.float32)
    sliders[:, SLIDER_INDEX["jaw_open"]] = jaw
    for name in ("blink_left", "blink_right"):
        sliders[29:34, SLIDER_INDEX[name]] = (0.4, 0.95, 1.0, 0.6, 0.25)
    rows = neutral_rows(n_frames)
    rows[:, EXP] = exp_from_sliders(sliders)
    puppet = Puppet(prepare(decode_portrait(PORTRAIT.read_bytes())))
    jpegs = [encode_jpeg(frame, 90) for frame in puppet.frames(rows)]
    path = write_mp4(tmp_path / "clip.mp4", jpegs, sound_of(jaw, 2))
    figures = run(options(path, "--windows", "25"))
    assert figures["face_share"] == 1.0
    assert figures["lips_r"] > 0.9  # type: ignore[operator]
    assert figures["lips_lag_ms"] == pytest.approx(-80.0, abs=20.0)
    assert figures["blinks_per_minute"] == pytest.approx(20.0)
    assert figures["closed_in_silence"] == 1.0
