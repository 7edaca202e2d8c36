"""Clocks: a flash and a click at the same moment stay in the same frame, at any rate, for minutes."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import UnsupportedMedia
from shared.timeline import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from tests.training.video.clips import SOUND_HZ, grey, write_clip
from training.video.decode import find_videos, probe, read_pictures, read_sound
from training.video.faces import on_clock

DARK, FLASH = grey([16, 235])
SECONDS = 120


def clicks_at(times: Sequence[Fraction], seconds: int) -> NDArray[np.int16]:
    sound = np.zeros(seconds * SOUND_HZ, np.int16)
    for time in times:
        at = round(time * SOUND_HZ)
        sound[at : at + 48] = 20_000
    return sound


def found(path: Path) -> tuple[list[float], list[float]]:
    """Frames (25 fps, with fractions of their brightness' centre) of flashes, and frames of clicks."""
    facts = probe(path)
    pictures = [(p.time, float(p.image.mean())) for p in read_pictures(path, facts.origin)]
    first, level = on_clock([t for t, _ in pictures], np.array([v for _, v in pictures], np.float32))
    sound = np.abs(read_sound(path, facts.origin).astype(np.int32))
    bright = np.flatnonzero(level > 60)
    loud = np.flatnonzero(sound > 4000)
    flashes = [
        float(np.average(g, weights=level[g])) + first
        for g in np.split(bright, np.flatnonzero(np.diff(bright) > 5) + 1)
    ]
    clicks = [float(g[0]) / SAMPLES_PER_FRAME for g in np.split(loud, np.flatnonzero(np.diff(loud) > 1600) + 1)]
    return flashes, clicks


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        (Fraction(24000, 1001), 40),
        (Fraction(30000, 1001), SECONDS),
        (Fraction(30), 12),
        (Fraction(25), 12),
        (Fraction(50), 12),
    ],
    ids=["23.976", "29.97", "30", "25", "50"],
)
def test_flash_and_click_stay_together_at_any_rate(tmp_path: Path, rate: Fraction, seconds: int) -> None:
    path = tmp_path / "clip.mov"
    n_pictures = int(seconds * rate)
    shown = [round(s * rate) // 2 * 2 for s in (2, seconds // 2, seconds - 3)]
    frames = ((i * 1001, FLASH if i in shown else DARK) for i in range(n_pictures))
    times = [Fraction(i) / rate for i in shown]
    write_clip(path, frames, 1 / rate / 1001, clicks_at(times, seconds))
    flashes, clicks = found(path)
    assert len(flashes) == len(clicks) == 3
    for time, flash, click in zip(times, flashes, clicks, strict=True):
        assert click == pytest.approx(float(time * FPS), abs=0.05)  # 2 ms
        assert flash == pytest.approx(float(time * FPS), abs=0.51)  # the nearest frame


def test_variable_rate_follows_the_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "clip.mov"
    stamps, at = [], 0
    for i in range(600):
        stamps.append(at)
        at += (33, 40, 50, 67)[i * 7 % 4]
    shown = {90, 300, 580}
    write_clip(
        path,
        ((pts, FLASH if i in shown else DARK) for i, pts in enumerate(stamps)),
        Fraction(1, 1000),
        clicks_at([Fraction(stamps[i], 1000) for i in sorted(shown)], 32),
    )
    flashes, clicks = found(path)
    assert len(flashes) == len(clicks) == 3
    assert clicks == pytest.approx([stamps[i] / 40 for i in sorted(shown)], abs=0.05)
    assert flashes == pytest.approx(clicks, abs=0.6)


@pytest.mark.parametrize("sound_at", [19_200, 0], ids=["sound 0.4 s late", "together"])
@pytest.mark.parametrize(("suffix", "codec"), [("mov", "pcm_s16le"), ("mp4", "aac"), ("mkv", "aac")])
def test_offset_of_the_sound_track_is_kept(tmp_path: Path, suffix: str, codec: str, sound_at: int) -> None:
    path = tmp_path / f"clip.{suffix}"
    frames = ((i, FLASH if i == 50 else DARK) for i in range(100))
    whole = clicks_at([Fraction(2)], 4)
    write_clip(path, frames, Fraction(1, 25), whole[sound_at:], sound_at, codec)
    flashes, clicks = found(path)
    assert flashes == pytest.approx([50], abs=0.01)
    assert clicks[0] == pytest.approx(50, abs=0.2)


def test_pictures_that_begin_late_set_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    frames = ((i + 10, FLASH if i == 50 else DARK) for i in range(100))
    write_clip(path, frames, Fraction(1, 25), clicks_at([Fraction(60, 25)], 4))
    flashes, clicks = found(path)
    assert flashes == pytest.approx([50], abs=0.01)
    assert clicks == pytest.approx([50], abs=0.2)
    assert len(read_sound(path, probe(path).origin)) == 4 * SAMPLE_RATE - 10 * SAMPLES_PER_FRAME


def test_a_picture_of_25_fps_is_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    levels = [16 + 7 * (i * 11 % 31) for i in range(60)]
    write_clip(path, enumerate(grey(levels)), Fraction(1, 25))
    facts = probe(path)
    pictures = list(read_pictures(path, facts.origin))
    first, values = on_clock([p.time for p in pictures], np.stack([p.image.mean() for p in pictures]))
    assert (first, len(values)) == (0, 60)
    assert np.abs(values - [p.image.mean() for p in pictures]).max() < 1e-4
    assert np.abs(values - levels).max() < 4
    assert not facts.has_sound
    assert read_sound(path, facts.origin).shape == (0,)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50], ids=["empty", "text"])
def test_files_that_are_no_video_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UnsupportedMedia, match=r"clip\.mp4"):
        probe(path)


def test_a_folder_is_searched_with_all_below_it(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/c.mkv", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_videos(tmp_path)] == ["a/c.mkv", "b.MP4"]
