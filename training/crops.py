"""Crops of the corpus with frame labels, augmented: what the audio encoder trains on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from services.audio_encoder.loudness import REFERENCE_RMS
from shared.timeline import FEATURE_STRIDE_SAMPLES, SAMPLE_RATE
from training.augment import Augmentation, augment, breathy, draw_speeds, spectra_at_length
from training.background import background, breath, fade
from training.corpus import Utterance, read_corpus
from training.labels import CLASSES, OPENNESS, frame_classes

LABEL_STEP_S = 0.005
GAIN_LIMIT = 100.0
SILENCE = CLASSES.index("SIL")
MIX = {
    "espeak": 0.42, "rms": 0.20, "slt": 0.14, "kal16": 0.08, "kal_diphone": 0.07, "cmu_us_slt_arctic_hts": 0.09,
}  # fmt: skip
BACKGROUND_RMS = (0.04, 0.25)
BREATH_RMS = (0.004, 0.06)
MIN_BREATH_FRAMES, MAX_BREATH_FRAMES = 12, 40
P_DIGITAL_SILENCE = 0.12

_WEIGHTS = np.array([0.25, 0.5, 0.25])


@dataclass(frozen=True)
class Batch:
    """Sound (B, N) float32, classes (B, T) int64, openness (B, T) float32."""

    wave: Tensor
    classes: Tensor
    openness: Tensor


class Crops(IterableDataset[Batch]):
    """Endless augmented batches, seeded.

    Args:
        corpus: folder of shards.
        n_rows: crops per batch.
        n_frames: labels per crop, 50 per second.
        receptive_field: samples one feature sees.
        seed: of all draws.
        settings: the augmentation.
    """

    def __init__(
        self, corpus: Path, n_rows: int, n_frames: int, receptive_field: int, seed: int, settings: Augmentation
    ) -> None:
        super().__init__()
        self.corpus, self.n_rows, self.n_frames = corpus, n_rows, n_frames
        self.n_samples = (n_frames - 1) * FEATURE_STRIDE_SAMPLES + receptive_field
        self.receptive_field, self.seed, self.settings = receptive_field, seed, settings

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng(self.seed)
        pools = _pools(read_corpus(self.corpus, "train"))
        names = [name for name in MIX if name in pools]
        share = np.array([MIX[name] for name in names])
        while True:
            chosen = rng.choice(len(names), self.n_rows, p=share / share.sum())
            rows = [pools[names[i]].draw(rng) for i in chosen]
            yield self._batch(rows, rng)

    def _batch(self, rows: "Sequence[_Sound]", rng: np.random.Generator) -> Batch:
        settings = self.settings
        speeds = draw_speeds(len(rows), settings, rng)
        waves: list[NDArray[np.float32]] = []
        classes = np.zeros((len(rows), self.n_frames), np.int64)
        for i, (sound, speed) in enumerate(zip(rows, speeds, strict=True)):
            waves.append(self._crop(sound, float(speed), classes[i], rng))
        spectra = spectra_at_length(waves, self.n_samples)
        wave = augment(spectra, self.n_samples, settings, rng)
        prior = np.asarray(OPENNESS, np.float32)[classes]
        openness = np.apply_along_axis(np.convolve, 1, prior, _WEIGHTS, "same").astype(np.float32)
        return Batch(torch.from_numpy(wave), torch.from_numpy(classes), torch.from_numpy(openness))

    def _crop(
        self, sound: "_Sound", speed: float, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """One crop before resampling; fills its labels."""
        n_source = round(self.n_samples * speed)
        start = int(rng.integers(-n_source // 4, max(1, len(sound.pcm) - 3 * n_source // 4)))
        wave = np.zeros(n_source, np.float32)
        first, last = max(0, start), min(len(sound.pcm), start + n_source)
        wave[first - start : last - start] = sound.pcm[first:last].astype(np.float32) * (sound.gain / 32768.0)
        centres = np.arange(self.n_frames) * FEATURE_STRIDE_SAMPLES + self.receptive_field / 2
        classes[:] = sound.at((start + centres * speed) / SAMPLE_RATE)
        if rng.random() < self.settings.p_breathy:
            wave = breathy(wave, rng)
        kind = rng.random()
        if kind < self.settings.p_no_speech:
            wave, classes[:] = _no_speech(n_source, rng), SILENCE
        elif kind < self.settings.p_no_speech + self.settings.p_cut:
            self._cut(wave, speed, classes, rng)
        if rng.random() < self.settings.p_breath:
            self._breathe(wave, speed, classes, rng)
        return wave

    def _cut(
        self, wave: NDArray[np.float32], speed: float, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """Speech stops for 0.2 to 1 s, in place: silence or something loud takes the stretch."""
        a = int(rng.integers(0, self.n_frames))
        b = min(a + int(rng.integers(10, 51)), self.n_frames)
        start, stop = self._samples(a, b, speed)
        wave[start:stop], classes[a:b] = 0.0, SILENCE
        if rng.random() < self.settings.p_fill:
            filling = fade(background(stop - start, rng))
            wave[start:stop] = filling * _level(BACKGROUND_RMS, rng)

    def _breathe(
        self, wave: NDArray[np.float32], speed: float, classes: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """A breath somewhere in the longest pause, in place."""
        a, b = _longest_pause(classes)
        n_frames = min(b - a, int(rng.integers(MIN_BREATH_FRAMES, MAX_BREATH_FRAMES)))
        if n_frames >= MIN_BREATH_FRAMES:
            a = int(rng.integers(a, b - n_frames + 1))
            start, stop = self._samples(a, a + n_frames, speed)
            wave[start:stop] += breath(stop - start, rng) * _level(BREATH_RMS, rng)

    def _samples(self, first: int, last: int, speed: float) -> tuple[int, int]:
        """The samples that labels [first, last) own, before resampling."""
        edge = self.receptive_field / 2 - FEATURE_STRIDE_SAMPLES / 2
        return int((first * FEATURE_STRIDE_SAMPLES + edge) * speed), int((last * FEATURE_STRIDE_SAMPLES + edge) * speed)


@dataclass(frozen=True)
class _Sound:
    """An utterance with its gain and its classes every 5 ms."""

    pcm: NDArray[np.int16]
    gain: float
    grid: NDArray[np.int8]

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Classes at times in seconds; silence outside."""
        index = np.floor(times_s / LABEL_STEP_S).astype(np.int64)
        inside = (index >= 0) & (index < len(self.grid))
        return np.where(inside, self.grid[np.clip(index, 0, len(self.grid) - 1)], SILENCE).astype(np.int64)


@dataclass(frozen=True)
class _Pool:
    """Sounds drawn in proportion to their length."""

    sounds: list[_Sound]
    ends: NDArray[np.int64]

    def draw(self, rng: np.random.Generator) -> _Sound:
        return self.sounds[int(np.searchsorted(self.ends, rng.integers(self.ends[-1]), side="right"))]


def _no_speech(n_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Background as loud as speech, seldom nothing at all: (n_samples,) float32."""
    if rng.random() < P_DIGITAL_SILENCE:
        return np.zeros(n_samples, np.float32)
    return background(n_samples, rng) * _level(BACKGROUND_RMS, rng)


def _level(limits: tuple[float, float], rng: np.random.Generator) -> np.float32:
    """An RMS between two limits, even in decibels."""
    return np.float32(np.exp(rng.uniform(*np.log(limits))))


def _longest_pause(classes: NDArray[np.int64]) -> tuple[int, int]:
    """First and one-past-last frame of the longest run of silence; equal where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (classes == SILENCE).astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    if len(runs) == 0:
        return 0, 0
    first, last = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))]
    return int(first), int(last)


def speech_gain(pcm: NDArray[np.int16]) -> float:
    """Gain that brings the 95th percentile of 20 ms RMS levels to 0.2, at most +40 dB."""
    n_blocks = len(pcm) // FEATURE_STRIDE_SAMPLES
    blocks = pcm[: n_blocks * FEATURE_STRIDE_SAMPLES].reshape(n_blocks, -1).astype(np.float32) / 32768.0
    level = float(np.quantile(np.sqrt(np.mean(np.square(blocks), axis=1)), 0.95)) if n_blocks else 0.0
    return min(GAIN_LIMIT, REFERENCE_RMS / level) if level > 0 else 1.0


def prepare(utterance: Utterance) -> _Sound:
    """Measure and label one utterance."""
    n_steps = int(len(utterance.pcm) / SAMPLE_RATE / LABEL_STEP_S)
    times_s = (np.arange(n_steps) + 0.5) * LABEL_STEP_S
    grid = frame_classes(utterance.segments, times_s).astype(np.int8)
    return _Sound(utterance.pcm, speech_gain(utterance.pcm), grid)


def _pools(utterances: Sequence[Utterance]) -> dict[str, _Pool]:
    by_voice: dict[str, list[_Sound]] = {}
    for u in utterances:
        by_voice.setdefault("espeak" if u.engine == "espeak" else u.voice, []).append(prepare(u))
    return {name: _Pool(sounds, np.cumsum([len(s.pcm) for s in sounds])) for name, sounds in sorted(by_voice.items())}
