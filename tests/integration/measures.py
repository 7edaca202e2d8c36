"""Measures on a finished video: faces, lips against the command, silence, background.

Lips: inner-lip gap (landmarks 13 and 14) over face width (234 and 454), mediapipe 0.10.21, each frame on its own.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FPS, SAMPLES_PER_FRAME

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UPPER_LIP, LOWER_LIP = 13, 14
LEFT_SIDE, RIGHT_SIDE = 234, 454
CONFIDENCE = 0.3
SPEECH_DB = -40.0
AWAY_FRAMES = round(0.2 * FPS)


def lip_apertures(pictures: Iterable[NDArray[np.uint8]]) -> Floats:
    """Inner-lip gap over face width per frame; NaN where no face is found.

    Args:
        pictures: (h, w, 3) uint8 RGB each.
    """
    with _face_mesh() as mesh:
        return np.array([_aperture(mesh, picture) for picture in pictures])


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r."""
    return float(np.corrcoef(a, b)[0, 1])


def is_silent(pcm: NDArray[np.int16], n_frames: int) -> Flags:
    """Frames at least 200 ms away from speech: (n_frames,).

    Speech is a 20 ms block louder than 40 dB below the 95th percentile of all blocks' RMS.

    Args:
        pcm: (N,) int16, 16 kHz.
        n_frames: frames of the video.
    """
    padded = np.zeros(n_frames * SAMPLES_PER_FRAME)
    padded[: len(pcm)] = pcm[: len(padded)]
    rms = np.sqrt(np.mean(padded.reshape(n_frames, 2, -1) ** 2, axis=2))  # (n_frames, 2)
    threshold = np.percentile(rms, 95) * 10 ** (SPEECH_DB / 20)
    is_speech = (rms > threshold).any(axis=1)
    near = np.convolve(is_speech, np.ones(2 * AWAY_FRAMES - 1), mode="same") > 0
    return ~near


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8], where: Flags) -> float:
    """Peak signal-to-noise ratio of two pictures over the pixels of a mask."""
    difference = a[where].astype(np.float64) - b[where]
    return float(10 * np.log10(255.0**2 / max(np.mean(difference**2), 1e-12)))


def _aperture(mesh: "object", picture: NDArray[np.uint8]) -> float:
    result = mesh.process(np.ascontiguousarray(picture))  # type: ignore[attr-defined]
    if not result.multi_face_landmarks:
        return float("nan")
    height, width = picture.shape[:2]
    points = np.array([(p.x * width, p.y * height) for p in result.multi_face_landmarks[0].landmark])
    gap = np.linalg.norm(points[UPPER_LIP] - points[LOWER_LIP])
    return float(gap / np.linalg.norm(points[LEFT_SIDE] - points[RIGHT_SIDE]))


@contextmanager
def _face_mesh() -> Iterator["object"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mediapipe

        options = {"static_image_mode": True, "refine_landmarks": True, "min_detection_confidence": CONFIDENCE}
        with mediapipe.solutions.face_mesh.FaceMesh(**options) as mesh:
            yield mesh
