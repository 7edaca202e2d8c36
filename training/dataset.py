"""Windows for training the motion model: features, motion with its context, event tracks.

Motion targets are made here from the labels (``motion_targets.py``, ``head_motion.py``), for several random heads per
utterance. Every video starts from the neutral portrait and ends in silence, so that window 0 and the cut last window
are in the data as they are served.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.audio_encoder.loudness import loudness
from services.motion_dit.events import EVENT_SIZE
from shared.bundles import EMBEDDED
from shared.errors import ConfigurationError
from shared.media.audio import measure_level
from shared.motion import neutral_rows
from shared.timeline import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Geometry
from training.corpus import Utterance
from training.features import TAIL_FRAMES, Windows, load_origin, load_windows
from training.head_motion import Motion, add_head_and_eyes
from training.labels import Segment
from training.motion_targets import lip_sliders
from training.sources import SourceFacts, Split

FloatArray = NDArray[np.float32]

NEAR_SPEECH_S = 0.1


@dataclass(frozen=True)
class Batch:
    """Features (B, N, D), motion rows (B, N, 70) and event tracks (B, N, 3); the first ``context`` frames are past."""

    features: Tensor
    rows: Tensor
    tracks: Tensor


def speech_loudness(utterance: Utterance, n_frames: int) -> FloatArray:
    """Loudness of the unchanged sound where somebody speaks, 0 elsewhere and behind its end: (n_frames,)."""
    wave = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)
    n = min(len(wave), len(utterance.pcm))
    wave[:n] = utterance.pcm[:n].astype(np.float32) / 32768.0
    times = (np.arange(n_frames) + 0.5) / FPS
    spoken = np.zeros(n_frames, np.float32)
    for segment in utterance.segments:
        if segment.targets[0][0] != "sil":
            spoken[(times > segment.start_s - NEAR_SPEECH_S) & (times < segment.end_s + NEAR_SPEECH_S)] = 1.0
    return loudness(wave, measure_level(utterance.pcm).gain) * spoken


def motion_of(utterance: Utterance, n_frames: int, seeds: Sequence[int]) -> list[Motion]:
    """Motion targets of an utterance followed by silence, one per head seed: each (n_frames, 70)."""
    level = speech_loudness(utterance, n_frames)
    end = utterance.segments[-1].end_s
    rest = Segment(end, max(end + 1.0, n_frames / FPS), "", (("sil", 1.0),), 1.0, 0)
    lips = lip_sliders([*utterance.segments, rest], level)
    return [add_head_and_eyes(lips, level, np.random.default_rng([utterance.seed, seed])) for seed in seeds]


def open_windows(folder: Path, split: Split) -> "MotionWindows":
    """Windows that ``training.features`` wrote.

    Raises:
        ConfigurationError: the folder holds no features of the split.
    """
    origin = load_origin(folder)
    paths = sorted(folder.glob(f"{split}-*.npz"))
    if not paths:
        raise ConfigurationError(f"{folder} has no features of the split {split!r}; run python -m training.features")
    windows = [load_windows(path) for path in paths]
    geometry = replace(EMBEDDED.geometry, lookahead=origin.lookahead)
    utterances = origin.clips(split)
    source = MotionWindows(utterances, windows, geometry)
    seconds = sum(len(utterances[u].pcm) for u in source.motions) / SAMPLE_RATE
    source.facts = SourceFacts(
        "synthetic", str(folder), len(source.motions), len(source), seconds, geometry, origin.encoder
    )
    return source


class MotionWindows:
    """Windows of rule-made motion; see `training.sources.WindowSource`.

    Args:
        utterances: the list that ``windows`` index into.
        windows: features of one or more phases.
        geometry: of the windows.
        n_heads: random heads per utterance.
    """

    facts: SourceFacts

    def __init__(
        self, utterances: Sequence[Utterance], windows: Sequence[Windows], geometry: Geometry, n_heads: int = 3
    ) -> None:
        self.windows, self.geometry, self.n_heads = windows, geometry, n_heads
        self.ends = np.cumsum([len(w.features) for w in windows])
        used = sorted({int(u) for w in windows for u in w.utterance})
        self.motions = {u: self._motions(utterances[u]) for u in used}

    def __len__(self) -> int:
        """Number of windows of all phases."""
        return int(self.ends[-1])

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Exactly these windows, each with one of its heads."""
        features, rows, tracks = [], [], []
        for index, head in zip(indices, rng.integers(self.n_heads, size=len(indices)), strict=True):
            phase = int(np.searchsorted(self.ends, index, side="right"))
            source, at = self.windows[phase], int(index) - int(self.ends[phase]) + len(self.windows[phase].features)
            motion = self.motions[int(source.utterance[at])][int(head)]
            row, track = self._cut(motion, int(source.first_frame[at]))
            features.append(source.features[at].astype(np.float32))
            rows.append(row)
            tracks.append(track)
        return Batch(*(torch.from_numpy(np.stack(part)) for part in (features, rows, tracks)))

    def rows(self) -> FloatArray:
        """Motion of all videos, first head only: (N, 70)."""
        return np.concatenate([motions[0].rows for motions in self.motions.values()])

    def _motions(self, utterance: Utterance) -> list[Motion]:
        n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME) + self.geometry.length + TAIL_FRAMES
        return motion_of(utterance, n_frames, range(self.n_heads))

    def _cut(self, motion: Motion, first_frame: int) -> tuple[FloatArray, FloatArray]:
        begin = first_frame - self.geometry.context
        end = begin + self.geometry.length
        before = max(0, -begin)
        row = np.concatenate([neutral_rows(before), motion.rows[max(0, begin) : end]])
        silence = np.zeros((before, EVENT_SIZE), np.float32)
        return row, np.concatenate([silence, motion.tracks[max(0, begin) : end]])
