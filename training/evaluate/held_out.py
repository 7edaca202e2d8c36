"""Held-out synthetic speech with labels, by groups of voices, and what generated motion is compared with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.motion import EXP, lip_opening
from shared.timeline import SAMPLE_RATE, frame_count
from training.corpus import Utterance, read_corpus
from training.dataset import motion_of
from training.evaluate.labelled import Labelled

FloatArray = NDArray[np.float32]

SHORTEST_S = 5.0


def held_out(corpus: Path, n_clips: int, voice: str = "") -> list[Utterance]:
    """Utterances of at least five seconds of voices that training never hears, the same number of each group.

    Args:
        corpus: folder of shards.
        n_clips: at most so many in all.
        voice: only groups whose name contains this.

    Raises:
        ConfigurationError: there are none.
    """
    groups: dict[str, list[Utterance]] = {}
    for utterance in read_corpus(corpus, "held"):
        if len(utterance.pcm) >= SHORTEST_S * SAMPLE_RATE and voice in group_of(utterance):
            groups.setdefault(group_of(utterance), []).append(utterance)
    if not groups:
        raise ConfigurationError(
            f"no held-out utterance of 5 s or more in {corpus} (voice {voice or 'any'!r}); expected held-*.jsonl."
            " Make them with: python -m training.corpus"
        )
    share = max(1, n_clips // len(groups))
    return [u for _, part in sorted(groups.items()) for u in part[:: max(1, len(part) // share)][:share]]


def group_of(utterance: Utterance) -> str:
    """The voice, or one name for all variants of espeak."""
    return "espeak variants" if utterance.engine == "espeak" else f"{utterance.engine} {utterance.voice}"


def target_rows(utterance: Utterance, head_seed: int = 0) -> FloatArray:
    """Rule-made motion of an utterance from its true labels: (N, 70)."""
    return motion_of(utterance, frame_count(len(utterance.pcm)), [head_seed])[0].rows


def against_labels(utterances: Sequence[Utterance], motions: Sequence[FloatArray]) -> list[Labelled]:
    """Commanded openings beside those of the targets."""
    return [
        Labelled(utterance, lip_opening(rows[:, EXP]), lip_opening(target_rows(utterance)[:, EXP]))
        for utterance, rows in zip(utterances, motions, strict=True)
    ]
