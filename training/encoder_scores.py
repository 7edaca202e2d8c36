"""How good an encoder is on voices it never heard, in clean sound, noise, babble and music; and where nobody speaks.

Sound to be added is 10 dB below the RMS of the whole utterance (its pauses included). Babble is four other held-out
utterances. Without a folder of recordings, music and other speechless sound come from the generator that the encoder
was trained with: other pieces of the same kind, so kinder than reality. Accuracy counts frames of 20 ms; a closure is
false where no p, b or m is within 100 ms.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.timeline import FEATURE_STRIDE_SAMPLES, SAMPLE_RATE, SAMPLES_PER_FRAME
from training.background import knocks, modulated_noise, music
from training.corpus import Utterance, read_corpus
from training.crops import prepare, speech_gain
from training.festvox import read_wave
from training.labels import CLASSES, OPENNESS

RECEPTIVE_FIELD = 720
EDGE_SAMPLES = (RECEPTIVE_FIELD - FEATURE_STRIDE_SAMPLES) // 2
SNR_DB = 10.0
CLOSURE_TOLERANCE = 5  # labels of 20 ms
WINDOW_FRAMES = 85  # context, hop and the margin before them
JUDGED_LABELS = 6
CUTS = 3  # per utterance
MARGINS = (0, 2, 4, 10)
SILENCE, PP, FF = (CLASSES.index(name) for name in ("SIL", "PP", "FF"))

FloatArray = NDArray[np.float32]
Labels = NDArray[np.int64]
Network = Callable[[Tensor], tuple[Tensor, Tensor]]
Adder = Callable[[int, int], FloatArray]  # (utterance index, n_samples) -> sound of any level


@dataclass(frozen=True)
class Scores:
    """Shares of frames (0..1) and the correlation of openness; NaN where there was nothing to get right.

    Attributes:
        accuracy: right among all frames.
        speech_accuracy: right among frames of speech.
        pp_recall: bilabials found.
        pp_precision: right among frames called bilabial.
        ff_recall: labiodentals found.
        silence_recall: silence found.
        false_closures: frames of speech called bilabial with no bilabial within 100 ms.
        openness_r: correlation of the regressed openness with the labels'.
    """

    accuracy: float
    speech_accuracy: float
    pp_recall: float
    pp_precision: float
    ff_recall: float
    silence_recall: float
    false_closures: float
    openness_r: float


def report(model: Network, corpus: Path, music_folder: Path | None = None) -> Iterator[str]:
    """Lines for reading: every group of voices in every condition, sound without speech, look-ahead."""
    groups = held_groups(corpus)
    for condition, adder in conditions(groups, music_folder).items():
        for name, utterances in groups.items():
            values = asdict(score(model, utterances, adder))
            yield f"{name:12s} {condition:8s} " + "  ".join(f"{key} {value:.3f}" for key, value in values.items())
    for name, sounds in speechless(music_folder).items():
        share = np.mean([silent_share(model, sound) for sound in sounds])
        yield f"no speech, {name}: called silence {share:.3f} of {len(sounds)} pieces"
    for margin, accuracy in lookahead(model, [u for part in groups.values() for u in part]).items():
        yield f"sound after a label {20 * 2 * margin:3d} ms: accuracy {accuracy:.3f}"


def held_groups(corpus: Path, max_utterances: int = 400) -> dict[str, list[Utterance]]:
    """Held-out utterances by voice; the variants of espeak are one group."""
    groups: dict[str, list[Utterance]] = {}
    for u in read_corpus(corpus, "held")[:max_utterances]:
        groups.setdefault("espeak" if u.engine == "espeak" else u.voice, []).append(u)
    return dict(sorted(groups.items()))


def conditions(groups: Mapping[str, Sequence[Utterance]], music_folder: Path | None = None) -> dict[str, Adder | None]:
    """What is added to the speech: nothing, white noise, babble, music (real where a folder is given)."""
    others = [prepare(u).pcm.astype(np.float32) for part in groups.values() for u in part]
    pieces = _music(music_folder)

    def white(index: int, n_samples: int) -> FloatArray:
        return np.random.default_rng([0, index]).standard_normal(n_samples).astype(np.float32)

    def babble(index: int, n_samples: int) -> FloatArray:
        chosen = np.random.default_rng([1, index]).integers(len(others), size=4)
        voices = [np.resize(others[i] / max(1.0, float(others[i].std())), n_samples) for i in chosen]
        return np.asarray(np.sum(voices, axis=0), np.float32)

    def tune(index: int, n_samples: int) -> FloatArray:
        return np.resize(pieces[index % len(pieces)], n_samples)

    return {"clean": None, "white": white, "babble": babble, "music": tune}


def score(model: Network, utterances: Sequence[Utterance], adder: Adder | None = None) -> Scores:
    """Scores over all frames of some utterances, each heard as a whole."""
    parts = [_predict(model, u, i, adder) for i, u in enumerate(utterances)]
    truth, guess, openness, is_far = (np.concatenate(column) for column in zip(*parts, strict=True))
    return scores_of(truth, guess, openness, is_far)


def scores_of(truth: Labels, guess: Labels, openness: FloatArray, is_far: NDArray[np.bool_]) -> Scores:
    """Scores of labels (N,) int64, openness (N,) and ``is_far`` (N,): no bilabial within 100 ms."""
    right, speech = truth == guess, truth != SILENCE
    prior = np.asarray(OPENNESS)[truth]
    return Scores(
        _mean(right),
        _mean(right[speech]),
        _mean(right[truth == PP]),
        _mean(right[guess == PP]),
        _mean(right[truth == FF]),
        _mean(right[~speech]),
        _mean((guess == PP)[speech & is_far]),
        float(np.corrcoef(prior, openness)[0, 1]) if prior.std() > 0 and openness.std() > 0 else float("nan"),
    )


def speechless(music_folder: Path | None = None) -> dict[str, list[FloatArray]]:
    """Sound without speech, as loud as a job's gain makes it: music, noise, knocks; (N,) each."""
    rngs = [np.random.default_rng([2, seed]) for seed in range(12)]
    n_samples = 12 * SAMPLE_RATE
    sounds = {
        "music": _music(music_folder),
        "white noise": [rng.standard_normal(n_samples).astype(np.float32) for rng in rngs[:4]],
        "modulated noise": [modulated_noise(n_samples, rng) for rng in rngs],
        "knocks": [knocks(n_samples, rng) for rng in rngs],
    }
    return {name: [_at_job_level(sound) for sound in part] for name, part in sounds.items()}


def silent_share(model: Network, wave: FloatArray) -> float:
    """Share of frames of a sound (N,) that are called silence."""
    logits, _ = _run(model, wave)
    return float((logits.argmax(-1) == SILENCE).mean())


def lookahead(model: Network, utterances: Sequence[Utterance], seed: int = 0) -> dict[int, float]:
    """Accuracy of the last labels before a cut, by the frames of 40 ms that are heard after them."""
    right: dict[int, list[bool]] = {margin: [] for margin in MARGINS}
    rng = np.random.default_rng(seed)
    for u in utterances:
        sound = prepare(u)
        wave = np.pad(sound.pcm.astype(np.float32) * (sound.gain / 32768.0), (EDGE_SAMPLES, 0))
        n_frames = len(u.pcm) // SAMPLES_PER_FRAME - max(MARGINS) - 1
        for end in rng.integers(n_frames // 2, n_frames, size=CUTS) if n_frames > 40 else ():
            first = max(0, int(end) - WINDOW_FRAMES)
            labels = np.arange(2 * (int(end) - first))[-JUDGED_LABELS:]
            middles = first * SAMPLES_PER_FRAME + (labels + 0.5) * FEATURE_STRIDE_SAMPLES
            truth = sound.at(middles / SAMPLE_RATE)
            for margin in MARGINS:
                stop = (int(end) + margin) * SAMPLES_PER_FRAME + 2 * EDGE_SAMPLES
                logits, _ = _run(model, wave[first * SAMPLES_PER_FRAME : stop])
                right[margin] += list(logits[labels].argmax(-1) == truth)
    return {margin: float(np.mean(hits)) for margin, hits in right.items()}


def _predict(
    model: Network, u: Utterance, index: int, adder: Adder | None
) -> tuple[Labels, Labels, FloatArray, NDArray[np.bool_]]:
    """Truth, guess, openness, and whether no bilabial is near, of every frame of one utterance."""
    sound = prepare(u)
    wave = sound.pcm.astype(np.float32) * (sound.gain / 32768.0)
    if adder is not None:
        added = adder(index, len(wave))
        ratio = np.sqrt(np.mean(wave**2) / max(1e-12, float(np.mean(added**2)))) * 10.0 ** (-SNR_DB / 20.0)
        wave = wave + added * np.float32(ratio)
    logits, openness = _run(model, wave)
    truth = sound.at(_centres_s(len(logits)))
    near = np.convolve(truth == PP, np.ones(2 * CLOSURE_TOLERANCE + 1), "same") > 0
    return truth, logits.argmax(-1), openness, ~near


def _run(model: Network, wave: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logits (T, 16) and openness (T,) of a sound (N,)."""
    with torch.inference_mode():
        logits, openness = model(torch.from_numpy(np.ascontiguousarray(wave, np.float32))[None])
    return logits[0].numpy(), openness[0].numpy()


def _centres_s(n_labels: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(n_labels) * FEATURE_STRIDE_SAMPLES + RECEPTIVE_FIELD / 2) / SAMPLE_RATE)


def _music(folder: Path | None) -> list[FloatArray]:
    if folder is None:
        return [music(12 * SAMPLE_RATE, np.random.default_rng([3, seed])) for seed in range(12)]
    return [read_wave(path) for path in sorted(folder.glob("*.wav"))]


def _at_job_level(wave: FloatArray) -> FloatArray:
    pcm = np.asarray(wave * (8000.0 / max(1e-9, float(np.abs(wave).max(initial=0.0)))), np.int16)
    return np.asarray(pcm * np.float32(speech_gain(pcm) / 32768.0), np.float32)


def _mean(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else float("nan")
