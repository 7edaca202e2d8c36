"""What SyncNet sees and hears: MFCCs of 16 kHz sound, and faces cut out as its published evaluation cuts them.

MFCCs follow the defaults of python_speech_features 0.6 (Lyons), which the published evaluation calls. Crops follow the
pipeline published with "Out of time: automated lip sync in the wild" (Chung and Zisserman, 2016), with MediaPipe's face
in the place of its detector's. Knows no network.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import medfilt

from shared.timeline import SAMPLE_RATE

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

WINDOW_SAMPLES, STEP_SAMPLES, N_FFT = 400, 160, 512
PRE_EMPHASIS = 0.97
N_FILTERS, N_CEPSTRA, LIFTER = 26, 13, 22
EPS = float(np.finfo(float).eps)

CROP_PX = 224
MARGIN = 0.4  # of half the face, around it
SMOOTH_FRAMES = 13
BORDER_GREY = 110


@dataclass(frozen=True)
class FaceBoxes:
    """Where the face is in each picture, smoothed.

    Attributes:
        x: (N,) middle, pixels.
        y: (N,) middle, pixels.
        half: (N,) half of the longer side, pixels.
    """

    x: Floats
    y: Floats
    half: Floats


def mfcc(pcm: NDArray[np.int16]) -> Floats:
    """Mel-frequency cepstra every 10 ms: 25 ms windows without taper, 26 filters, 13 coefficients, lifter 22.

    Coefficient 0 is the logarithm of the frame's energy. Samples count at their integer size, as published.

    Args:
        pcm: (n,) int16 at 16 kHz, n >= 1.

    Returns:
        (1 + ceil((n - 400) / 160), 13) float64.
    """
    signal = pcm.astype(np.float64)
    emphasised = np.append(signal[0], signal[1:] - PRE_EMPHASIS * signal[:-1])
    power = np.square(np.abs(np.fft.rfft(_windows(emphasised), N_FFT))) / N_FFT  # (T, 257)
    energy = power.sum(axis=1)
    bands = power @ mel_filters().T  # (T, 26)
    cepstra = dct(np.log(np.where(bands == 0, EPS, bands)), type=2, axis=1, norm="ortho")[:, :N_CEPSTRA]
    cepstra *= 1 + (LIFTER / 2) * np.sin(np.pi * np.arange(N_CEPSTRA) / LIFTER)
    cepstra[:, 0] = np.log(np.where(energy == 0, EPS, energy))
    return np.asarray(cepstra)


def mel_filters() -> Floats:
    """Triangles between points equally far apart in mel, 2595 log10(1 + f / 700), on whole bins: (26, 257)."""
    mels = np.linspace(0.0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), N_FILTERS + 2)
    edges = np.floor((N_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(N_FFT // 2 + 1)[None]
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (middle - low)
    falling = (high - bins) / (high - middle)
    filters: Floats = np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high))
    return filters


def face_boxes(landmarks: NDArray[np.float32]) -> FaceBoxes:
    """Boxes around the face's landmarks, gaps interpolated, each coordinate by a running median of 13 pictures.

    Args:
        landmarks: (N, 478, 3) pixels; NaN rows where no face was found, at least one finite.
    """
    low, high = landmarks[..., :2].min(axis=1), landmarks[..., :2].max(axis=1)  # (N, 2)
    middle, half = (low + high) / 2, (high - low).max(axis=1) / 2
    return FaceBoxes(*(_smoothed(column.astype(np.float64)) for column in (middle[:, 0], middle[:, 1], half)))


def crop_face(image: Bytes, x: float, y: float, half: float) -> Bytes:
    """Cut a face out: from half above its middle to 1.8 halves below it, 1.4 halves to each side; grey outside.

    Args:
        image: (H, W, 3) uint8.
        x: middle of the face, pixels.
        y: middle of the face, pixels.
        half: half of its longer side, pixels.

    Returns:
        (224, 224, 3) uint8, channels as they came.
    """
    border = int(half * (1 + 2 * MARGIN))
    padded = cv2.copyMakeBorder(
        image, border, border, border, border, cv2.BORDER_CONSTANT, value=(BORDER_GREY, BORDER_GREY, BORDER_GREY)
    )
    x, y = x + border, y + border
    rows = slice(int(y - half), int(y + half * (1 + 2 * MARGIN)))
    columns = slice(int(x - half * (1 + MARGIN)), int(x + half * (1 + MARGIN)))
    crop: Bytes = cv2.resize(padded[rows, columns], (CROP_PX, CROP_PX))
    return crop


def _windows(signal: Floats) -> Floats:
    """Windows of 400 samples every 160, zeros behind the end: (T, 400)."""
    n_windows = 1 + max(0, -(-(len(signal) - WINDOW_SAMPLES) // STEP_SAMPLES))
    padded = np.zeros((n_windows - 1) * STEP_SAMPLES + WINDOW_SAMPLES)
    padded[: len(signal)] = signal
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::STEP_SAMPLES]


def _smoothed(values: Floats) -> Floats:
    found = np.flatnonzero(np.isfinite(values))
    whole = np.interp(np.arange(len(values)), found, values[found])
    # Zeros behind the ends, as the published median has them, would pull the first six boxes to nothing.
    around = SMOOTH_FRAMES // 2
    return np.asarray(medfilt(np.pad(whole, around, mode="edge"), SMOOTH_FRAMES)[around:-around])
