"""Emotion sheet: each emotion at rest, in an open vowel, with closed lips and with shut eyes, to be looked at.

python -m tests.benchmarks.emotion_sheet [--portrait NAME ...] [--strength S] [--out docs/contact_sheets/emotions.jpg]
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

from services.motion_dit.controls import apply_controls
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.controls import Controls, Emotion
from shared.motion import EXP, SLIDERS, exp_from_sliders, neutral_rows
from tests.benchmarks.portraits import PORTRAITS

Frames = NDArray[np.uint8]
LATER = 1000  # a frame by which everything is eased in
COLUMNS: tuple[dict[str, float], ...] = (
    {},
    {"jaw_open": 0.63},
    {"lip_press": 0.7},
    {"blink_left": 1.0, "blink_right": 0.97},
)
FACE = (slice(100, 410), slice(120, 410))
TILE_PX = (174, 186)
JPEG_QUALITY = 82


def sheet(portrait: Frames, strength: float) -> Frames:
    """One line per emotion, one column per state of mouth and eyes, RGB."""
    motion = neutral_rows(len(COLUMNS))
    motion[:, EXP] = exp_from_sliders(np.array([[values.get(name, 0.0) for name in SLIDERS] for values in COLUMNS]))
    puppet = Puppet(prepare(portrait))
    lines = []
    for emotion in Emotion:
        controls = Controls(emotion=emotion, emotion_strength=strength)
        tiles = [cv2.resize(frame[FACE], TILE_PX, interpolation=cv2.INTER_AREA) for frame in
                 render(puppet, apply_controls(motion, controls, LATER))]  # fmt: skip
        label = cv2.copyMakeBorder(np.concatenate(tiles, axis=1), 16, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)
        cv2.putText(label, emotion.value, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        lines.append(label)
    whole: Frames = np.concatenate(lines)
    return whole


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Draw every emotion on some portraits.")
    parser.add_argument("--portrait", nargs="+", default=["admiral", "astronaut"], choices=list(PORTRAITS))
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("docs/contact_sheets/emotions.jpg"))
    options = parser.parse_args()
    sheets = [sheet(PORTRAITS[name](), options.strength) for name in options.portrait]
    drawn = cv2.cvtColor(np.concatenate(sheets, axis=1), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(options.out), drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
