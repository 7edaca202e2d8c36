"""Speech strips: real speech through the shipped models, mouth after mouth under its sound, to be looked at.

    python -m tests.benchmarks.speech_strip [--audio FILE] [--portrait NAME ...] [--out docs/contact_sheets]

White curve: commanded lip opening (c_lip); red: opening found again on the drawn frames (over face width, times 3).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.model import load_encoder
from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Request
from services.motion_dit.window import first_state
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.bundles import load_bundle
from shared.media.audio import decode_speech, measure_level
from shared.motion import EXP, lip_opening
from shared.timeline import SAMPLES_PER_FRAME, encoder_span, frame_count, window_at, window_count
from tests.benchmarks.measure_renderer import aperture
from tests.benchmarks.portraits import PORTRAITS

Frames = NDArray[np.uint8]
SPEECH = Path(__file__).parents[1] / "data" / "speech.flac"
COLUMNS = 25  # one second per line
TILE_PX = 64
SOUND_PX = 40
JPEG_QUALITY = 78


def motion_of(audio: Path, seed: int = 7) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Motion of a recording, window after window as the workers make it, and its samples."""
    bundle = load_bundle("embedded")
    geometry = bundle.geometry
    pcm = decode_speech(audio, 600.0)
    gain = measure_level(pcm).gain
    wave = pcm.astype(np.float32) / 32768.0
    encoder = load_encoder()
    generator = MotionGenerator(load_checkpoint(Path(os.environ.get("TH_MOTION_WEIGHTS") or EMBEDDED)))
    n_frames, state, rows = frame_count(len(wave)), first_state(geometry.context), []
    for index in range(window_count(n_frames, geometry)):
        window = window_at(index, n_frames, geometry)
        start, stop = encoder_span(window, geometry, encoder.receptive_field)
        cut = wave[max(start, 0) : max(stop, 0)]
        cut = np.pad(cut, (max(-start, 0), 0))
        features = encoder.encode(np.pad(cut, (0, stop - start - len(cut))), gain, geometry)
        made = generator.generate([Request(features, state, seed)])[0]
        rows.append(made.rows[: window.n_new])
        state = made.next_state
    return np.concatenate(rows), wave * gain


def strip(portrait: Frames, motion: NDArray[np.float32], wave: NDArray[np.float32]) -> Frames:
    """Mouths of all frames, one second per line, under spectrogram and curves, RGB."""
    puppet = Puppet(prepare(portrait))
    frames = render(puppet, motion)
    commanded = lip_opening(motion[:, EXP])
    found = np.array([aperture(frame) for frame in frames])
    face = puppet.face
    half = int(0.75 * face.mouth_width)
    centre = face.points[13, :2] + [0.0, 0.15 * face.mouth_width]
    left, top = (int(v) for v in np.round(centre - half))
    lines = []
    for first in range(0, len(frames), COLUMNS):
        tiles = [
            cv2.resize(frame[top : top + 2 * half, left : left + 2 * half], (TILE_PX, TILE_PX), cv2.INTER_AREA)
            for frame in frames[first : first + COLUMNS]
        ]
        tiles += [np.zeros((TILE_PX, TILE_PX, 3), np.uint8)] * (COLUMNS - len(tiles))
        sound = _spectrogram(wave[first * SAMPLES_PER_FRAME : (first + COLUMNS) * SAMPLES_PER_FRAME])
        _curve(sound, commanded[first : first + COLUMNS], (255, 255, 255))
        _curve(sound, 3.0 * found[first : first + COLUMNS], (255, 90, 90))
        lines += [sound, np.concatenate(tiles, axis=1)]
    return np.concatenate(lines)


def _spectrogram(wave: NDArray[np.float32]) -> Frames:
    window, hop = 512, 160
    n_columns = COLUMNS * SAMPLES_PER_FRAME // hop
    padded = np.pad(wave, (window // 2, n_columns * hop + window - len(wave)))
    pieces = np.stack([padded[i * hop : i * hop + window] for i in range(n_columns)])
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1))[:, :160] + 1e-4
    level = np.clip((20 * np.log10(power) + 40) / 75, 0, 1)
    picture = cv2.applyColorMap(np.rint(255 * level.T[::-1]).astype(np.uint8), cv2.COLORMAP_INFERNO)
    size = (COLUMNS * TILE_PX, SOUND_PX)
    sound: Frames = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    return sound


def _curve(picture: Frames, values: NDArray[np.float32], colour: tuple[int, int, int]) -> None:
    x = (np.arange(len(values)) + 0.5) * TILE_PX
    y = SOUND_PX - 2 - np.clip(np.nan_to_num(values), 0, 0.6) / 0.6 * (SOUND_PX - 4)
    points = np.rint(np.stack([x, y], axis=1)).astype(np.int32)
    cv2.polylines(picture, [points], False, colour, 1, cv2.LINE_AA)


def main() -> None:
    """Write one JPEG per portrait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", type=Path, default=SPEECH)
    parser.add_argument("--portrait", nargs="+", choices=sorted(PORTRAITS), default=["astronaut", "admiral"])
    parser.add_argument("--out", type=Path, default=Path("docs/contact_sheets"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    motion, wave = motion_of(options.audio)
    for name in options.portrait:
        picture = cv2.cvtColor(strip(PORTRAITS[name](), motion, wave), cv2.COLOR_RGB2BGR)
        target = options.out / f"speech_{name}.jpg"
        cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        print(target)


if __name__ == "__main__":
    main()
