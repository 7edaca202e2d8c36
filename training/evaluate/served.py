"""Speech -> motion exactly as the services make it, in one process: gain of ingest, window plan, encoder, DiT.

Nothing here decides anything: every step is the services' own function. Knows no Redis and no renderer.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.audio_encoder.model import AudioEncoder, load_encoder
from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Request
from services.motion_dit.window import first_state
from shared.bundles import load_bundle
from shared.errors import WeightsMismatch
from shared.media.audio import measure_level
from shared.timeline import Geometry, encoder_span, frame_count, window_at, window_count

FloatArray = NDArray[np.float32]
FULL_SCALE = 32768.0


@dataclass(frozen=True)
class System:
    """A loaded encoder and motion model that fit each other, and how they cut time."""

    encoder: AudioEncoder
    generator: MotionGenerator
    geometry: Geometry


def load_system(encoder: Path | None = None, motion: Path | None = None) -> System:
    """Load the shipped encoder and motion model, or others in their place.

    The look-ahead is the checkpoint's own, so that a model can be tried before a bundle names it.

    Args:
        encoder: folder with config.json and model.safetensors; None for the shipped one.
        motion: checkpoint of the motion model; None for the shipped one.

    Raises:
        WeightsMismatch: a file is missing or damaged, or the two do not fit each other.
    """
    geometry = load_bundle("embedded").geometry
    path = motion or EMBEDDED
    loaded, model = load_encoder(encoder), load_checkpoint(path)
    config = model.config
    if (config.context, config.feature_size) != (geometry.context, loaded.feature_size):
        raise WeightsMismatch(
            f"{path} wants {config.context} context frames and {config.feature_size} features; the encoder gives "
            f"{loaded.feature_size}, the bundle {geometry.context}. Take weights that were trained together."
        )
    return System(loaded, MotionGenerator(model), replace(geometry, lookahead=config.lookahead))


def features_of_speech(system: System, pcm: NDArray[np.int16]) -> list[FloatArray]:
    """Features of every window of a recording, as the encoder's worker commits them.

    Args:
        system: whose encoder and geometry count.
        pcm: (n,) int16 at 16 kHz.
    """
    gain = measure_level(np.asarray(pcm)).gain
    n_frames, geometry = frame_count(len(pcm)), system.geometry
    features = []
    for index in range(window_count(n_frames, geometry)):
        span = encoder_span(window_at(index, n_frames, geometry), geometry, system.encoder.receptive_field)
        features.append(system.encoder.encode(_cut(pcm, *span), gain, geometry))
    return features


def motion_of_features(system: System, features: list[FloatArray], n_frames: int, seed: int) -> FloatArray:
    """Chain the windows of one video as the motion worker does: (n_frames, 70), options at their defaults."""
    rows, state = [], first_state(system.geometry.context)
    for index, window in enumerate(features):
        made = system.generator.generate([Request[Any](window, state, seed)])[0]
        rows.append(made.rows[: window_at(index, n_frames, system.geometry).n_new])
        state = made.next_state
    return np.concatenate(rows)


def motion_of_speech(system: System, pcm: NDArray[np.int16], seed: int = 0) -> FloatArray:
    """Motion of a recording: (N, 70), N the frames that the recording lasts."""
    return motion_of_features(system, features_of_speech(system, pcm), frame_count(len(pcm)), seed)


def seams_of(system: System, n_frames: int) -> list[int]:
    """First frames of all windows but the first."""
    return list(range(system.geometry.hop, n_frames, system.geometry.hop))


def _cut(pcm: NDArray[np.int16], start: int, stop: int) -> FloatArray:
    """Samples [start, stop) as float32 in [-1, 1), zeros outside the recording."""
    wave = np.zeros(stop - start, np.float32)
    first, last = max(0, start), min(len(pcm), stop)
    if last > first:
        wave[first - start : last - start] = pcm[first:last] / np.float32(FULL_SCALE)
    return wave
