"""The picture of the sync: which frames it shows, and that it can be drawn."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.motion import EXP, SLIDER_INDEX, exp_from_sliders, lip_opening, neutral_rows
from training.labels import Segment
from training.strip import Clip, Drawn, closure_frames, draw, moments

SEGMENTS = [
    Segment(0.0, 0.4, "", (("sil", 1.0),), 1.0, 0),
    Segment(0.4, 0.52, "b", (("PP", 1.0),), 1.0, 1),
    Segment(0.52, 0.9, "a", (("aa", 1.0),), 1.0, 2),
    Segment(0.9, 1.0, "m", (("PP", 1.0),), 1.0, 1),
    Segment(1.0, 1.6, "i", (("I", 1.0),), 1.0, 3),
]


def opening() -> NDArray[np.float32]:
    """Lips that open after the b, close for the m, and open again: (40,)."""
    times = (np.arange(40) + 0.5) / 25
    curve = 0.3 * np.maximum(0, np.sin(np.pi * (times - 0.5) / 0.45)) * (times > 0.5) * (times < 1.4)
    return np.where((times > 0.9) & (times < 1.0), 0.0, curve).astype(np.float32)


def test_closures_are_looked_for_within_p_b_and_m() -> None:
    frames = closure_frames(SEGMENTS, opening())
    assert len(frames) == 2
    assert 10 <= frames[0] <= 13
    assert 22 <= frames[1] <= 25
    assert all(opening()[frame] == 0 for frame in frames)


def test_moments_hold_every_closure_and_the_widest_opening() -> None:
    curve = opening()
    shown = moments(curve, closure_frames(SEGMENTS, curve), 8)
    assert shown == sorted(set(shown))
    assert len(shown) == 8
    assert set(closure_frames(SEGMENTS, curve)) <= set(shown)
    assert int(np.argmax(curve)) in shown


def test_moments_of_silence_are_evenly_spread() -> None:
    assert moments(np.zeros(40, np.float32), [], 4) == [5, 15, 25, 35]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    curve = opening()
    sliders = np.zeros((len(curve), len(SLIDER_INDEX)), np.float32)
    sliders[:, SLIDER_INDEX["jaw_open"]] = curve
    rows = neutral_rows(len(curve))
    rows[:, EXP] = exp_from_sliders(sliders)
    frames = np.stack([np.full((64, 64, 3), 3 * index, np.uint8) for index in range(len(curve))])
    whole = (slice(0, 64), slice(0, 64))
    seen = 0.3 * lip_opening(rows[:, EXP])
    pcm = (8000 * np.sin(np.arange(40 * 640) / 9)).astype(np.int16)
    draw(Clip("b a m i", pcm, SEGMENTS), Drawn(rows, frames, whole, whole, seen), (0.0, 1.6), 6, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.size == (1800, 1000)
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert any(colour == (244, 182, 182) for _, colour in colours), "closures are shaded"
