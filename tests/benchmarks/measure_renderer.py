"""Does the drawn mouth do what is commanded, on every kind of portrait?

Random sounds of the contact sheet on a moving head; lips found again on each frame by MediaPipe. No time is measured.

    python -m tests.benchmarks.measure_renderer
"""

import json

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.motion import EXP, PITCH, ROLL, SCALE, YAW, lip_opening
from tests.benchmarks.contact_sheet import SOUNDS, motion_row
from tests.benchmarks.portraits import PORTRAITS

N_FRAMES = 200
SILENT_FRAMES = 25
HEAD_WEIGHT = 0.02


def babble(n_frames: int, seed: int = 1) -> NDArray[np.float32]:
    """Random sounds of 2..4 frames, silence at the end, on a moving head: (N, 70)."""
    rng = np.random.default_rng(seed)
    sounds = np.concatenate([motion_row(values) for _, values in SOUNDS])
    rows: list[NDArray[np.float32]] = []
    while len(rows) < n_frames - SILENT_FRAMES:
        rows += [sounds[rng.integers(len(sounds))]] * int(rng.integers(2, 5))
    rows = rows[: n_frames - SILENT_FRAMES] + [sounds[0]] * SILENT_FRAMES
    kernel = np.array([[0.25, 0.5, 0.25]], np.float32).T
    motion: NDArray[np.float32] = cv2.filter2D(np.array(rows), -1, kernel, borderType=cv2.BORDER_REPLICATE)
    t = np.arange(n_frames) / 25.0
    motion[:, SCALE] = 1.0
    motion[:, PITCH], motion[:, YAW] = 3 * np.sin(1.9 * t), 4 * np.sin(1.3 * t)
    motion[:, ROLL] = 2 * np.sin(t)
    return motion


def aperture(frame: NDArray[np.uint8]) -> float:
    """Inner-lip gap over face width, NaN without a face."""
    points = detect.landmarks_of_crop(frame)
    if points is None:
        return float("nan")
    gap = np.linalg.norm(points[13, :2] - points[14, :2])
    return float(gap / np.linalg.norm(points[234, :2] - points[454, :2]))


def measures(portrait: NDArray[np.uint8], motion: NDArray[np.float32]) -> dict[str, float]:
    """One row of the table."""
    appearance = prepare(portrait)
    puppet = Puppet(appearance)
    frames = render(puppet, motion)
    found = np.array([aperture(frame) for frame in frames])
    is_face = np.isfinite(found)
    commanded = lip_opening(motion[:, EXP])
    background = np.kron(puppet.pose.weight, np.ones((4, 4))) < HEAD_WEIGHT
    error = (frames[:, background].astype(np.float32) - appearance.texture[background].astype(np.float32)) ** 2
    p95 = float(np.percentile(found[is_face], 95))
    return {
        "faces": round(float(is_face.mean()), 3),
        "correlation": round(float(np.corrcoef(commanded[is_face], found[is_face])[0, 1]), 3),
        "aperture_p95": round(p95, 3),
        "silence_over_p95": round(float(np.nanmax(found[-SILENT_FRAMES + 4 :])) / p95, 3),
        "background_share": round(float(background.mean()), 2),
        "background_psnr_min_db": round(float((10 * np.log10(255.0**2 / error.mean(axis=(1, 2)))).min()), 1),
    }


def main() -> None:
    """Print one JSON object."""
    cv2.setNumThreads(1)
    motion = babble(N_FRAMES)
    print(json.dumps({name: measures(make(), motion) for name, make in PORTRAITS.items()}))


if __name__ == "__main__":
    main()
