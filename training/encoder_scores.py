"""How good an encoder is on voices it never heard: frame accuracy, closures, silence, openness."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.timeline import FEATURE_STRIDE_SAMPLES, SAMPLE_RATE
from training.corpus import Utterance, read_corpus
from training.crops import prepare
from training.labels import CLASSES, OPENNESS

RECEPTIVE_FIELD = 720
NOISE_SNR_DB = 10.0
SILENCE, LIPS = CLASSES.index("SIL"), [CLASSES.index("PP"), CLASSES.index("FF")]

Network = Callable[[Tensor], tuple[Tensor, Tensor]]


def evaluate(model: Network, corpus: Path, max_utterances: int = 400) -> Iterator[str]:
    """One line per group of held-out voices, clean and in noise."""
    held = read_corpus(corpus, "held")[:max_utterances]
    groups: dict[str, list[Utterance]] = {}
    for u in held:
        groups.setdefault("espeak" if u.engine == "espeak" else u.voice, []).append(u)
    for snr_db in (None, NOISE_SNR_DB):
        for name, utterances in sorted(groups.items()):
            rng = np.random.default_rng(0)
            parts = [_predict(model, u, snr_db, rng) for u in utterances]
            truth, guess, openness = (np.concatenate(column) for column in zip(*parts, strict=True))
            condition = "clean" if snr_db is None else f"{snr_db:g} dB"
            yield f"{name:12s} {condition:6s} " + scores(truth, guess, openness)


def scores(truth: NDArray[np.int64], guess: NDArray[np.int64], openness: NDArray[np.float32]) -> str:
    """Accuracy of all and of speech frames, recall and precision of closures, recall of silence, r of openness."""
    right = truth == guess
    speech = truth != SILENCE
    prior = np.asarray(OPENNESS)[truth]
    parts = {
        "all": _mean(right),
        "speech": _mean(right[speech]),
        "PP recall": _mean(right[truth == LIPS[0]]),
        "PP precision": _mean(right[guess == LIPS[0]]),
        "FF recall": _mean(right[truth == LIPS[1]]),
        "SIL recall": _mean(right[~speech]),
        "openness r": np.corrcoef(prior, openness)[0, 1],
    }
    return "  ".join(f"{name} {value:.3f}" for name, value in parts.items())


def _mean(right: NDArray[np.bool_]) -> float:
    """Fraction that is right; NaN where there was nothing to get right."""
    return float(right.mean()) if right.size else float("nan")


def _predict(
    model: Network, u: Utterance, snr_db: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Truth, guess and openness of every frame of one utterance."""
    sound = prepare(u)
    wave = sound.pcm.astype(np.float32) * (sound.gain / 32768.0)
    if snr_db is not None:
        noise = rng.standard_normal(len(wave)).astype(np.float32)
        wave = wave + noise * np.float32(np.sqrt(np.mean(wave**2)) * 10.0 ** (-snr_db / 20.0))
    with torch.inference_mode():
        logits, openness = model(torch.from_numpy(wave)[None])
    n = logits.shape[1]
    centres_s = (np.arange(n) * FEATURE_STRIDE_SAMPLES + RECEPTIVE_FIELD / 2) / SAMPLE_RATE
    return sound.at(centres_s), logits[0].argmax(-1).numpy(), openness[0].numpy()
