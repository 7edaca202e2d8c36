"""Windows for training the motion model: features, motion with its context, event tracks.

Motion targets are made here from the labels (``motion_targets.py``, ``head_motion.py``), for several random heads per
utterance. Every video starts from the neutral portrait and ends in silence, so that window 0 and the cut last window
are in the data as they are served.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.audio_encoder.loudness import loudness
from services.motion_dit.events import EVENT_SIZE
from shared.motion import neutral_rows
from shared.timeline import FPS, SAMPLES_PER_FRAME, Geometry
from training.corpus import Utterance
from training.crops import speech_gain
from training.features import TAIL_FRAMES, Windows
from training.head_motion import Motion, add_head_and_eyes
from training.labels import Segment
from training.motion_targets import lip_sliders

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Features (B, N, D), motion rows (B, N, 70) and event tracks (B, N, 3); the first ``context`` frames are past."""

    features: Tensor
    rows: Tensor
    tracks: Tensor


@dataclass(frozen=True)
class ContextNoise:
    """How the context is spoilt in training, so that generated context is nothing new to the model.

    What the model left at the end of a window differs a little from what it would say with the next window's sound. So
    the context is moved by a constant, and the target with it, dying away: the model learns to go on from where it is.

    Attributes:
        p_noise: share of windows whose context gets noise.
        white: largest standard deviation of noise per frame, in whitened coordinates; the target does not follow it.
        offset: largest standard deviation of a constant offset.
        fade_frames: time constant with which the target returns from the offset.
        p_drop: share of windows whose context becomes neutral.
    """

    p_noise: float = 0.5
    white: float = 0.04
    offset: float = 0.4
    fade_frames: float = 3.0
    p_drop: float = 0.03


def clean_loudness(utterance: Utterance, n_frames: int) -> FloatArray:
    """Loudness of the unchanged sound, silence behind its end: (n_frames,)."""
    wave = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)
    n = min(len(wave), len(utterance.pcm))
    wave[:n] = utterance.pcm[:n].astype(np.float32) / 32768.0
    return loudness(wave, speech_gain(utterance.pcm))


def motion_of(utterance: Utterance, n_frames: int, seeds: Sequence[int]) -> list[Motion]:
    """Motion targets of an utterance followed by silence, one per head seed: each (n_frames, 70)."""
    level = clean_loudness(utterance, n_frames)
    end = utterance.segments[-1].end_s
    rest = Segment(end, max(end + 1.0, n_frames / FPS), "", (("sil", 1.0),), 1.0, 0)
    lips = lip_sliders([*utterance.segments, rest], level)
    return [add_head_and_eyes(lips, level, np.random.default_rng([utterance.seed, seed])) for seed in seeds]


class MotionWindows:
    """Endless random batches of windows, seeded.

    Args:
        utterances: the list that ``windows`` index into.
        windows: features of one or more phases.
        geometry: context and hop.
        n_heads: random heads per utterance.
    """

    def __init__(
        self, utterances: Sequence[Utterance], windows: Sequence[Windows], geometry: Geometry, n_heads: int = 3
    ) -> None:
        self.windows, self.geometry, self.n_heads = windows, geometry, n_heads
        used = sorted({int(u) for w in windows for u in w.utterance})
        self.motions = {u: self._motions(utterances[u]) for u in used}

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Random batches for ever."""
        rng = np.random.default_rng(seed)
        share = np.array([len(w.features) for w in self.windows], np.float64)
        while True:
            phases = rng.choice(len(self.windows), size, p=share / share.sum())
            places = [(int(p), int(rng.integers(len(self.windows[p].features)))) for p in phases]
            yield self.collate(places, rng.integers(self.n_heads, size=size))

    def collate(self, places: Sequence[tuple[int, int]], heads: NDArray[np.int64]) -> Batch:
        """The batch of some (phase, window) places, each with one of its heads."""
        features, rows, tracks = [], [], []
        for (phase, index), head in zip(places, heads, strict=True):
            source = self.windows[phase]
            motion = self.motions[int(source.utterance[index])][int(head)]
            row, track = self._cut(motion, int(source.first_frame[index]))
            features.append(source.features[index].astype(np.float32))
            rows.append(row)
            tracks.append(track)
        return Batch(*(torch.from_numpy(np.stack(part)) for part in (features, rows, tracks)))

    def all_rows(self) -> FloatArray:
        """Motion of all videos, first head only: (N, 70)."""
        return np.concatenate([motions[0].rows for motions in self.motions.values()])

    def _motions(self, utterance: Utterance) -> list[Motion]:
        n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME) + self.geometry.length + TAIL_FRAMES
        return motion_of(utterance, n_frames, range(self.n_heads))

    def _cut(self, motion: Motion, first_frame: int) -> tuple[FloatArray, FloatArray]:
        begin, end = first_frame - self.geometry.context, first_frame + self.geometry.hop
        before = max(0, -begin)
        row = np.concatenate([neutral_rows(before), motion.rows[max(0, begin) : end]])
        silence = np.zeros((before, EVENT_SIZE), np.float32)
        return row, np.concatenate([silence, motion.tracks[max(0, begin) : end]])


def spoil_context(
    latent: Tensor, context: int, noise: ContextNoise, neutral: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make the context of whitened motion imperfect and bend the target accordingly.

    Args:
        latent: (B, N, L) clean motion.
        context: frames at the beginning that are context.
        noise: how to spoil them.
        neutral: (L,) the neutral row, whitened.
        rng: generator.

    Returns:
        (B, context, L) spoilt context and (B, N - context, L) target.
    """
    n_batch, n_frames, size = latent.shape

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    chosen = (torch.rand(n_batch, 1, 1, generator=rng) < noise.p_noise).float()
    white = chosen * noise.white * torch.rand(n_batch, 1, 1, generator=rng) * draw(n_batch, context, size)
    offset = chosen * noise.offset * torch.rand(n_batch, 1, 1, generator=rng) * draw(n_batch, 1, size)
    dropped = torch.rand(n_batch, 1, 1, generator=rng) < noise.p_drop
    past = torch.where(dropped, neutral, latent[:, :context] + white + offset)
    fade = torch.exp(-torch.arange(1, n_frames - context + 1) / noise.fade_frames)[:, None]
    target = latent[:, context:] + torch.where(dropped, torch.zeros(()), offset) * fade
    return past, target
