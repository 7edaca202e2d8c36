"""What else reaches the microphone: clips without speech, speech after an intro, backgrounds under speech.

A motion model that only ever hears clean speech chatters in music, because a job's gain lifts music to the level of
speech. Here the lips have to stay shut: the sound comes from ``background.py``, the labels say silence.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.timeline import SAMPLE_RATE
from training.background import background, fade
from training.corpus import Utterance
from training.labels import Segment

Pcm = NDArray[np.int16]
Rng = np.random.Generator

SILENCE = (("sil", 1.0),)
IDLE_S = (6.0, 12.0)
P_SILENT = 0.3
INTRO_S = (0.8, 3.0)
IDLE_RMS = (0.01, 0.2)
UNDER_SPEECH_DB = (5.0, 25.0)


def idle_clips(n: int, seed: int) -> list[Utterance]:
    """Clips in which nobody speaks: silence (30 %), or music, noise and the like at any level."""
    return [_idle_clip(np.random.default_rng([seed, index]), f"idle-{seed}-{index}") for index in range(n)]


def with_intros(utterances: Sequence[Utterance], share: float, seed: int) -> list[Utterance]:
    """The utterances; some begin with seconds of a background that stops when the speech starts."""
    rngs = [np.random.default_rng([seed, index]) for index in range(len(utterances))]  # one each: no draw moves another
    return [_with_intro(u, rng) if rng.random() < share else u for u, rng in zip(utterances, rngs, strict=True)]


def under_speech(pcm: Pcm, rng: Rng) -> Pcm:
    """Speech with a background 5 to 25 dB below its active level: (N,) int16, same length."""
    wave = pcm.astype(np.float32)
    active = np.abs(wave) > 0.02 * np.abs(wave).max(initial=1.0)
    level = float(np.sqrt(np.mean(np.square(wave[active])))) if active.any() else 0.0
    ratio = 10.0 ** (-rng.uniform(*UNDER_SPEECH_DB) / 20.0)
    return _as_pcm(wave + np.float32(level * ratio) * background(len(wave), rng))


def _idle_clip(rng: Rng, name: str) -> Utterance:
    n_samples = int(rng.uniform(*IDLE_S) * SAMPLE_RATE)
    if rng.random() < P_SILENT:
        pcm = np.zeros(n_samples, np.int16)
    else:
        pcm = _as_pcm(fade(background(n_samples, rng)) * np.float32(32768.0 * rng.uniform(*IDLE_RMS)))
    segments = [Segment(0.0, n_samples / SAMPLE_RATE, "", SILENCE, 1.0, 0)]
    return Utterance(name, "none", "none", "train", "", int(rng.integers(2**31)), pcm, segments)


def _with_intro(utterance: Utterance, rng: Rng) -> Utterance:
    n_samples = int(rng.uniform(*INTRO_S) * SAMPLE_RATE)
    shift_s = n_samples / SAMPLE_RATE
    loud = np.float32(np.abs(utterance.pcm).max(initial=1) * rng.uniform(0.05, 0.4))
    intro = _as_pcm(fade(background(n_samples, rng)) * loud)
    later = [replace(s, start_s=s.start_s + shift_s, end_s=s.end_s + shift_s) for s in utterance.segments]
    segments = [Segment(0.0, shift_s, "", SILENCE, 1.0, 0), *later]
    return replace(utterance, pcm=np.concatenate([intro, utterance.pcm]), segments=segments)


def _as_pcm(wave: NDArray[np.float32]) -> Pcm:
    return np.clip(wave, -32768.0, 32767.0).astype(np.int16)
