"""How loud each video frame is, 0..1, beside the encoder's features. Plain numpy."""

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FEATURE_STRIDE_SAMPLES, FEATURES_PER_FRAME

REFERENCE_RMS = 0.2
RANGE_DB = 30.0
SMOOTHING_BLOCKS = 9
_SILENT_RMS = 1e-9


def loudness(wave: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """Measure l = clip(1 + dB / 30, 0, 1) of every frame, dB = 20 log10(rms gain / 0.2).

    The RMS of 20 ms blocks is smoothed by a 9-point Hann window; a frame's value is the mean of its two blocks. The
    reference is fixed: ``gain`` brings the speech's 95th percentile level to it.

    Args:
        wave: (N,) samples, N a multiple of 640; frame i owns samples [640 i, 640 i + 640).
        gain: the job's gain.

    Returns:
        (N / 640,) float32 in [0, 1].
    """
    blocks = wave.astype(np.float64).reshape(-1, FEATURE_STRIDE_SAMPLES)
    rms = np.sqrt(np.mean(np.square(blocks), axis=1))
    window = np.hanning(SMOOTHING_BLOCKS)
    smooth = np.convolve(rms, window / window.sum(), mode="same")
    level_db = 20.0 * np.log10(np.maximum(smooth * gain, _SILENT_RMS) / REFERENCE_RMS)
    value = np.clip(1.0 + level_db / RANGE_DB, 0.0, 1.0)
    return np.asarray(value.reshape(-1, FEATURES_PER_FRAME).mean(axis=1), np.float32)
