"""Speech -> classes -> rules -> motion: the chain without a generative model, which the DiT must beat.

The encoder's own classifier (a head that serving does not need) labels every 20 ms, the best path makes segments of
them, and the rules of ``motion_targets.py`` move the lips. Works on any recording; looks at the whole file at once.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.loudness import loudness
from shared.media.audio import measure_level
from shared.timeline import FEATURE_STRIDE_SAMPLES, SAMPLE_RATE, SAMPLES_PER_FRAME
from training.encoder_heads import EncoderWithHeads
from training.encoder_scores import EDGE_SAMPLES
from training.head_motion import Motion, add_head_and_eyes
from training.labels import CLASSES, Segment
from training.motion_targets import lip_sliders
from training.visemes import CLASS_TARGETS

FloatArray = NDArray[np.float32]

SWITCH_COST = 2.0
SILENT_DB, SILENT_RAMP_DB = -32.0, 8.0
LOUDNESS_RANGE_DB = 30.0
SILENCE = CLASSES.index("SIL")
STEP_S = FEATURE_STRIDE_SAMPLES / SAMPLE_RATE


def baseline_motion(pcm: NDArray[np.int16], model: EncoderWithHeads, seed: int) -> Motion:
    """Motion of a whole recording by the rules.

    Args:
        pcm: (N,) int16 mono 16 kHz.
        model: the encoder and its classifier.
        seed: of head and eyes.
    """
    n_frames = -(-len(pcm) // SAMPLES_PER_FRAME)
    wave = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)
    wave[: len(pcm)] = pcm.astype(np.float32) / 32768.0
    gain = measure_level(np.asarray(pcm)).gain
    level = loudness(wave, gain)
    posteriors = force_silence(class_posteriors(wave * np.float32(gain), model), np.repeat(level, 2))
    segments, confidence = best_segments(posteriors)
    lips = lip_sliders(segments, level, confidence)
    return add_head_and_eyes(lips, level, np.random.default_rng(seed))


@torch.inference_mode()
def class_posteriors(wave: FloatArray, model: EncoderWithHeads) -> FloatArray:
    """Class probabilities every 20 ms of a sound at the job's gain: (N,) to (2 * frames, 16)."""
    logits, _ = model(torch.from_numpy(np.pad(wave, EDGE_SAMPLES))[None])
    posteriors: FloatArray = torch.softmax(logits[0], dim=-1).numpy()
    return posteriors


def force_silence(posteriors: FloatArray, level: FloatArray) -> FloatArray:
    """Mix in silence where the sound is more than about 32 dB below the speech.

    Args:
        posteriors: (T, 16).
        level: (T,) loudness 0..1, which ends at -30 dB: below, everything counts as silent.
    """
    level_db = LOUDNESS_RANGE_DB * (level - 1.0)
    floor_db = SILENT_DB + 0.5 * SILENT_RAMP_DB
    silent = np.clip((floor_db - level_db) / SILENT_RAMP_DB + 0.5, 0.0, 1.0)[:, None]
    forced = np.zeros_like(posteriors)
    forced[:, SILENCE] = 1.0
    return ((1.0 - silent) * posteriors + silent * forced).astype(np.float32)


def best_segments(posteriors: FloatArray) -> tuple[list[Segment], FloatArray]:
    """The path of classes that maximises log p minus a cost per change, as segments with their mean probability.

    Args:
        posteriors: (T, 16), one row per 20 ms.

    Returns:
        Contiguous segments from 0 to T * 20 ms, and (number of segments,) mean posteriors.
    """
    path = best_path(np.log(np.maximum(posteriors, 1e-6)), SWITCH_COST)
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    segments, confidence = [], []
    for begin, end in pairwise(edges):
        name = CLASSES[path[begin]]
        segments.append(Segment(begin * STEP_S, end * STEP_S, name, CLASS_TARGETS[name], 1.0, int(path[begin])))
        confidence.append(float(posteriors[begin:end, path[begin]].mean()))
    return segments, np.array(confidence, np.float32)


def best_path(scores: NDArray[np.floating[Any]], switch_cost: float) -> NDArray[np.int64]:
    """Viterbi over a chain in which every change of state costs the same: (T, S) scores to (T,) states."""
    n_steps, n_states = scores.shape
    best = scores[0].astype(np.float64)
    came_from = np.zeros((n_steps, n_states), np.int64)
    for step in range(1, n_steps):
        leader = int(np.argmax(best))
        switched = best[leader] - switch_cost
        came_from[step] = np.where(best >= switched, np.arange(n_states), leader)
        best = np.maximum(best, switched) + scores[step]
    path = np.empty(n_steps, np.int64)
    path[-1] = int(np.argmax(best))
    for step in range(n_steps - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return path


def read_speech(path: Path, container: str | None = None) -> NDArray[np.int16]:
    """Decode a recording to int16 mono 16 kHz; ``container`` names the format where the file does not say (g722)."""
    with av.open(str(path), format=container) as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    pcm: NDArray[np.int16] = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.int16)
    return pcm
