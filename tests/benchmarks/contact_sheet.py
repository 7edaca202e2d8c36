"""Contact sheets: every slider, head pose, speech and blink of every kind of portrait, to be looked at.

python -m tests.benchmarks.contact_sheet [--out docs/contact_sheets] [--only NAME]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.geometry import Face
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.motion import EXP, PITCH, ROLL, SLIDER_INDEX, YAW, exp_from_sliders, neutral_rows
from tests.benchmarks.portraits import PORTRAITS

Frames = NDArray[np.uint8]
TILE_PX = 150
COLUMNS = 9
JPEG_QUALITY = 78

POSES = {"pitch": PITCH, "yaw": YAW, "roll": ROLL}
SLIDERS: dict[str, dict[str, float]] = {
    "neutral": {},
    "jaw .3": {"jaw_open": 0.3},
    "jaw .6": {"jaw_open": 0.6},
    "jaw 1": {"jaw_open": 1.0},
    "pucker": {"lip_pucker": 1.0},
    "flare": {"lip_flare": 1.0, "jaw_open": 0.2},
    "wide": {"lip_wide": 1.0},
    "press": {"lip_press": 0.8},
    "upper lip": {"upper_lip_raise": 0.8},
    "smile": {"smile": 1.0},
    "smile -.5": {"smile": -0.5},
    "mouth right": {"mouth_x": 1.0},
    "brows": {"brow_raise": 1.0},
    "frown": {"brow_frown": 1.0},
    "gaze right": {"gaze_x": 0.6},
    "gaze up": {"gaze_y": 0.7},
    "wink left": {"blink_left": 1.0},
    "shut": {"blink_left": 1.0, "blink_right": 1.0},
    "pitch 5": {"pitch": 5.0, "jaw_open": 0.35},
    "pitch -5": {"pitch": -5.0, "jaw_open": 0.35},
    "yaw 7": {"yaw": 7.0, "jaw_open": 0.35},
    "yaw -7": {"yaw": -7.0, "jaw_open": 0.35},
    "roll 4": {"roll": 4.0},
    "roll -4": {"roll": -4.0},
    "p 3 y -4 r 2": {"pitch": 3.0, "yaw": -4.0, "roll": 2.0, "jaw_open": 0.5},
    "oo": {"jaw_open": 0.4, "lip_pucker": 0.9},
    "f": {"jaw_open": 0.12, "upper_lip_raise": 0.45},
}
# Slider targets of speech sounds, two frames each.
SOUNDS: tuple[tuple[str, dict[str, float]], ...] = (
    ("-", {}),
    ("m", {"lip_press": 0.6}),
    ("aa", {"jaw_open": 0.63}),
    ("s", {"jaw_open": 0.15, "lip_wide": 0.45}),
    ("oh", {"jaw_open": 0.476, "lip_pucker": 0.4}),
    ("b", {"lip_press": 0.7}),
    ("E", {"jaw_open": 0.414, "lip_wide": 0.3}),
    ("f", {"jaw_open": 0.12, "upper_lip_raise": 0.45}),
    ("ou", {"jaw_open": 0.252, "lip_pucker": 0.65}),
    ("ch", {"jaw_open": 0.144, "lip_flare": 0.6, "lip_pucker": 0.2}),
    ("ae", {"jaw_open": 0.518, "lip_wide": 0.2}),
    ("p", {"lip_press": 0.7}),
    ("iy", {"jaw_open": 0.186, "lip_wide": 0.5}),
    ("-", {}),
)


def motion_row(values: dict[str, float]) -> NDArray[np.float32]:
    """One (1, 70) row from named sliders and angles."""
    row = neutral_rows(1)
    sliders = np.zeros((1, len(SLIDER_INDEX)), np.float32)
    for name, value in values.items():
        if name in POSES:
            row[0, POSES[name]] = value
        else:
            sliders[0, SLIDER_INDEX[name]] = value
    row[:, EXP] = exp_from_sliders(sliders)
    return row


def speech() -> tuple[list[str], NDArray[np.float32]]:
    """Sounds with a frame half way between each two, on a slowly moving head."""
    targets = np.concatenate([motion_row(values) for _, values in SOUNDS])
    between = (targets[:-1] + targets[1:]) / 2
    motion = np.empty((2 * len(targets) - 1, targets.shape[1]), np.float32)
    motion[::2], motion[1::2] = targets, between
    t = np.arange(len(motion)) / 9.0
    motion[:, PITCH], motion[:, YAW], motion[:, ROLL] = 1.5 * np.sin(t), 3 * np.sin(0.7 * t), 1.5 * np.sin(0.5 * t)
    names = [SOUNDS[i // 2][0] if i % 2 == 0 else "" for i in range(len(motion))]
    return names[: 3 * COLUMNS], motion[: 3 * COLUMNS]


def sheet(portrait: Frames) -> Frames:
    """One portrait's sheet, RGB."""
    appearance = prepare(portrait)
    puppet = Puppet(appearance)
    face = puppet.face
    faces = render(puppet, np.concatenate([motion_row(values) for values in SLIDERS.values()]))
    names, motion = speech()
    talking = render(puppet, motion)
    blink = np.concatenate([motion_row({"blink_left": b, "blink_right": b}) for b in np.linspace(0, 1, 6)])
    looks = np.concatenate([motion_row({"gaze_x": 0.6}), motion_row({"gaze_x": -0.6}), motion_row({"gaze_y": -0.7})])
    eyes = render(puppet, np.concatenate([blink, looks]))
    eye_names = [f"blink {b:.1f}" for b in np.linspace(0, 1, 6)] + ["gaze right", "gaze left", "gaze down"]
    return np.concatenate(
        [
            _rows([_head(f, face) for f in faces], list(SLIDERS)),
            _rows([_mouth(f, face) for f in talking], names),
            _rows([_eyes(f, face) for f in eyes], eye_names),
        ]
    )


def _head(frame: Frames, face: Face) -> Frames:
    half = int(min(0.62 * max(face.face_height, face.face_width) + 24, 250))
    return _window(frame, float(face.oval_centre[0]), float(face.oval_centre[1]) - 8, half, half)


def _mouth(frame: Frames, face: Face) -> Frames:
    half = int(0.85 * face.mouth_width)
    return _window(frame, face.mouth_x, float(face.points[13, 1]) + 0.12 * face.mouth_width, half, half)


def _eyes(frame: Frames, face: Face) -> Frames:
    centre = face.points[[33, 263], :2].mean(axis=0)
    half = int(2.1 * face.eye_width)
    return _window(frame, float(centre[0]), float(centre[1]) - 0.2 * face.eye_width, half, half // 2)


def _window(frame: Frames, x: float, y: float, half_width: int, half_height: int) -> Frames:
    left = int(np.clip(x - half_width, 0, frame.shape[1] - 2 * half_width))
    top = int(np.clip(y - half_height, 0, frame.shape[0] - 2 * half_height))
    part = frame[top : top + 2 * half_height, left : left + 2 * half_width]
    size = (TILE_PX, TILE_PX * half_height // half_width)
    shrinks = size[0] < part.shape[1]
    tile: Frames = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return tile


def _rows(tiles: list[Frames], names: list[str]) -> Frames:
    labelled = []
    for tile, name in zip(tiles, names, strict=True):
        shown = np.ascontiguousarray(tile)
        for colour, width in (((0, 0, 0), 3), ((255, 255, 90), 1)):
            cv2.putText(shown, name, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, width, cv2.LINE_AA)
        labelled.append(shown)
    while len(labelled) % COLUMNS:
        labelled.append(np.zeros_like(labelled[0]))
    lines = [np.concatenate(labelled[i : i + COLUMNS], axis=1) for i in range(0, len(labelled), COLUMNS)]
    return np.concatenate(lines)


def main() -> None:
    """Write one JPEG per portrait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/contact_sheets"))
    parser.add_argument("--only", choices=sorted(PORTRAITS))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in PORTRAITS.items():
        if options.only in (None, name):
            picture = cv2.cvtColor(sheet(make()), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(options.out / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            print(name)


if __name__ == "__main__":
    main()
