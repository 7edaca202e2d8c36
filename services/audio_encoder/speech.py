"""Cut a window's sound out of a job's decoded speech. Outside the file there is silence."""

import numpy as np
from numpy.typing import NDArray

from shared.artifacts import ArtifactStore

BYTES_PER_SAMPLE = 2
FULL_SCALE = 32768.0


def read_span(store: ArtifactStore, path: str, start: int, stop: int) -> NDArray[np.float32]:
    """Samples [start, stop) of a raw little-endian int16 file.

    Args:
        store: where the file is.
        path: the speech file of a job.
        start: first sample; may be negative.
        stop: one past the last sample; may be beyond the end.

    Returns:
        (stop - start,) float32 in [-1, 1), zeros outside the file.

    Raises:
        ArtifactUnavailable: the file cannot be read.
    """
    first = max(0, start)
    data = store.read_range(path, first * BYTES_PER_SAMPLE, stop * BYTES_PER_SAMPLE) if stop > first else b""
    samples = np.frombuffer(data[: len(data) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE], "<i2")
    wave = np.zeros(stop - start, np.float32)
    wave[first - start : first - start + len(samples)] = samples / np.float32(FULL_SCALE)
    return wave
