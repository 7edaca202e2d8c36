"""Held-out synthetic voices with phone labels: what the encoder recognises, and what the lips make of it.

Voices that no training hears, by groups: the encoder's classes in clean sound and 10 dB above noise, babble and music;
lips at closures and open vowels, by the motion model and by the rules on recognised phones, which it must beat.

    python -m training.evaluate speech
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.motion_dit.controls import apply_controls
from shared.controls import DEFAULTS
from shared.errors import InputError
from training.baseline import baseline_motion
from training.corpus import Utterance
from training.encoder_heads import EncoderWithHeads, load_with_heads
from training.encoder_scores import conditions, score, silent_share, speechless
from training.evaluate.held_out import against_labels, group_of, held_out
from training.evaluate.labelled import lip_figures
from training.evaluate.report import Cell, print_table, rounded
from training.evaluate.served import load_system, motion_of_speech

Motion = Callable[[NDArray[np.int16], int], NDArray[np.float32]]
Groups = Mapping[str, Sequence[Utterance]]

ALL = "all voices"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this measure."""
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"), help="shards with held-out voices")
    parser.add_argument("--clips", type=int, default=90, help="held-out utterances used")
    parser.add_argument("--voice", default="", help="only voices whose name contains this")
    parser.add_argument("--music", type=Path, help="folder of music (wav, 16 kHz) instead of generated music")
    parser.add_argument("--encoder", type=Path, help="folder of an exported audio encoder; default: the shipped one")
    parser.add_argument("--motion", type=Path, help="checkpoint of a motion model; default: the shipped one")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure everything; see the module."""
    if args.clips < 1:
        raise InputError(f"--clips {args.clips}; expected at least 1.")
    system, model = load_system(args.encoder, args.motion), load_with_heads(args.encoder)
    groups = by_group(held_out(args.corpus, args.clips, args.voice))

    def by_rules(pcm: NDArray[np.int16], seed: int) -> NDArray[np.float32]:
        return apply_controls(baseline_motion(pcm, model, seed).rows, DEFAULTS, 0)

    def by_model(pcm: NDArray[np.int16], seed: int) -> NDArray[np.float32]:
        return motion_of_speech(system, pcm, seed)

    return {
        "classes": classes(model, groups, args.music),
        "without_speech": without_speech(model, args.music),
        "lips": lips(groups, by_model, "motion model"),
        "lips_by_rules": lips(groups, by_rules, "rules on recognised phones"),
    }


def by_group(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances by voice."""
    groups: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault(group_of(utterance), []).append(utterance)
    return groups


def classes(model: EncoderWithHeads, groups: Groups, music: Path | None) -> dict[str, dict[str, Cell]]:
    """Recognition of the 16 classes, frames of 20 ms, by voice and condition; see `training.encoder_scores`."""
    rows: dict[str, dict[str, Cell]] = {}
    for condition, adder in conditions(groups, music).items():
        for name, utterances in groups.items():
            rows[f"{name}, {condition}"] = rounded(asdict(score(model, utterances, adder)))
        everybody = [u for part in groups.values() for u in part]
        rows[f"{ALL}, {condition}"] = rounded(asdict(score(model, everybody, adder)))
    print_table("Classes of the encoder (added sound 10 dB below the speech)", rows)
    return rows


def without_speech(model: EncoderWithHeads, music: Path | None) -> dict[str, Cell]:
    """Share of frames called silence where nobody speaks, by kind of sound."""
    shares = {
        name: float(np.mean([silent_share(model, wave) for wave in waves])) for name, waves in speechless(music).items()
    }
    figures = rounded(shares)
    print_table("Called silence where nobody speaks", {"share": figures})
    return figures


def lips(groups: Groups, motion: Motion, by: str) -> dict[str, dict[str, Cell]]:
    """Lips on known phones, by voice; see `training.evaluate.labelled`."""
    rows: dict[str, dict[str, Cell]] = {}
    everything = []
    for name, utterances in groups.items():
        clips = against_labels(utterances, [motion(np.asarray(u.pcm), seed) for seed, u in enumerate(utterances)])
        rows[name] = rounded(lip_figures(clips))
        everything += clips
    rows[ALL] = rounded(lip_figures(everything))
    shown = ("bilabials_at_0", "open_vowels_wide", "closed_elsewhere", "closed_in_silence", "target_correlation")
    print_table(f"Lips on known phones by {by}", rows, (*shown, "n_bilabials", "n_open_vowels"))
    sizes = ("speech_p50", "target_speech_p50", "speech_p95", "target_speech_p95")
    print_table("Size of the opening while somebody speaks", rows, sizes)
    return rows
