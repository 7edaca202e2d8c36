"""Sound features of a clip's windows, one encoder call per window, exactly as they are served.

The clip's sound is what a job's file would be: silence outside, one gain for all of it. Window 0 is the served one
(silence as context); the others begin every `STRIDE_FRAMES` and lie with their context and look-ahead inside the clip.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.audio_encoder import checkpoint
from services.audio_encoder.model import AudioEncoder, load_encoder
from shared.timeline import Geometry, Window, encoder_span
from training.sources import EncoderFacts

Floats = NDArray[np.float32]

STRIDE_FRAMES = 26


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and what identifies it."""

    encoder: AudioEncoder
    facts: EncoderFacts


def load(folder: Path | None) -> LoadedEncoder:
    """The shipped encoder, or the one in a folder, with the hash of its weights.

    Raises:
        WeightsMismatch: the files do not fit.
    """
    encoder = load_encoder(folder)
    weights = checkpoint.EMBEDDED_WEIGHTS if folder is None else folder / "model.safetensors"
    digest = sha256(weights.read_bytes()).hexdigest()
    name = "embedded" if folder is None else str(folder)
    return LoadedEncoder(encoder, EncoderFacts(name, digest, encoder.hidden_size, encoder.receptive_field))


def window_starts(n_frames: int, geometry: Geometry) -> list[int]:
    """First new frames of the windows of a clip whose frames are all known."""
    new = geometry.length - geometry.context
    if n_frames < new:
        return []
    return [0, *range(geometry.context, n_frames - new + 1, STRIDE_FRAMES)]


def window_features(
    pcm: NDArray[np.int16], gain: float, starts: Iterable[int], encoder: AudioEncoder, geometry: Geometry
) -> NDArray[np.float16]:
    """Features of windows.

    Args:
        pcm: (640 N,) sound of a clip.
        gain: of the clip, as ingest measures it.
        starts: first new frames.
        encoder: as served.
        geometry: of its bundle.

    Returns:
        (W, context + hop + look-ahead, D) float16.
    """
    out = [encoder.encode(_span(pcm, start, encoder, geometry), gain, geometry) for start in starts]
    return np.stack(out).astype(np.float16)


def _span(pcm: NDArray[np.int16], first_frame: int, encoder: AudioEncoder, geometry: Geometry) -> Floats:
    start, stop = encoder_span(Window(0, first_frame, geometry.hop), geometry, encoder.receptive_field)
    wave = np.zeros(stop - start, np.float32)
    kept = pcm[max(0, start) : max(0, stop)]
    wave[max(0, -start) : max(0, -start) + len(kept)] = kept.astype(np.float32) / 32768.0
    return wave
