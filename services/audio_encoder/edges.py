"""How networks of DiffPoseTalk's lineage (JoyVASA) pad sound, so that it gives exactly two features a frame.

The ends are mirrored, twice over half of the missing length each; a last odd sample is repeated. Knows no network.
"""

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FEATURE_STRIDE_SAMPLES

OVERHANG_SAMPLES = 80  # receptive field of wav2vec2's convolutions, 400, less their stride


def mirror_ends(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad both ends equally to at least a whole number of strides and the overhang; a longer sound stays as it is.

    Args:
        wave: (samples,); 64000 become 64080.

    Returns:
        (samples + padding,), dtype of wave.
    """
    whole = len(wave) // FEATURE_STRIDE_SAMPLES * FEATURE_STRIDE_SAMPLES
    side = -((len(wave) - whole - OVERHANG_SAMPLES) // 2)  # half of what is missing, rounded up
    if side <= 0:
        return wave
    half, odd = divmod(side, 2)
    mirrored = np.pad(np.pad(wave, half, mode="reflect"), half, mode="reflect")
    return np.pad(mirrored, odd, mode="edge")
