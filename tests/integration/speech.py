"""Longer speech out of the samples."""

import io
import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from shared.timeline import SAMPLE_RATE


def samples(path: Path) -> NDArray[np.int16]:
    """The sample's sound: (N,) int16, 16 kHz mono."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        blocks = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        blocks += resampler.resample(None)
    joined: NDArray[np.int16] = np.concatenate([block.to_ndarray()[0] for block in blocks]).astype(np.int16)
    return joined


def repeated(path: Path, duration_s: float) -> bytes:
    """A wav file of exactly this duration that repeats the sample."""
    wanted = round(duration_s * SAMPLE_RATE)
    once = samples(path)
    pcm = np.tile(once, -(-wanted // len(once)))[:wanted]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()
