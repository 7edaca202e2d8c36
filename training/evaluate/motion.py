"""Statistics of generated motion against references: what a viewer would notice over minutes.

Held-out speech (or your own recordings) through encoder and motion model as the services run them: steps at window
joints, velocity spectra against the rule-made motion, diversity over seeds, start-up jitter, drift over a long video,
blinks, and what the lips do in silence, noise and music.

    python -m training.evaluate motion
    python -m training.evaluate motion --speech a.wav --chatter song.ogg --minutes 0
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError
from shared.motion import EXP, PYR, lip_opening
from shared.timeline import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from training.corpus import Utterance
from training.evaluate import statistics as st
from training.evaluate.held_out import against_labels, held_out, target_rows
from training.evaluate.labelled import lip_figures
from training.evaluate.lips import read_clip
from training.evaluate.report import Cell, print_table, print_values, rounded
from training.evaluate.served import (
    System,
    features_of_speech,
    load_system,
    motion_of_features,
    motion_of_speech,
    seams_of,
)
from training.evaluate.signals import music, pink_noise, room_noise, silence, white_noise

FloatArray = NDArray[np.float32]
Pcm = NDArray[np.int16]

CHATTER_S = 30.0
LEAD_S = 0.05
PARTS = ("exp", "pose", "lips")


@dataclass(frozen=True)
class Material:
    """Speech to measure on: recordings, and their utterances where labels are known (else empty)."""

    recordings: list[Pcm]
    utterances: list[Utterance]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this measure."""
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"), help="shards with held-out voices")
    parser.add_argument("--clips", type=int, default=60, help="held-out utterances used")
    parser.add_argument("--voice", default="", help="only held-out voices whose name contains this")
    parser.add_argument("--speech", type=Path, action="append", default=[], help="recordings instead of the corpus")
    parser.add_argument("--chatter", type=Path, action="append", default=[], help="more sounds without speech")
    parser.add_argument("--minutes", type=float, default=30.0, help="of looped speech for drift; 0 leaves it out")
    parser.add_argument("--seeds", type=int, default=4, help="seeds compared for diversity")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the motion")
    parser.add_argument("--encoder", type=Path, help="folder of an audio encoder; default: the shipped one")
    parser.add_argument("--motion", type=Path, help="checkpoint of a motion model; default: the shipped one")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure everything; see the module."""
    if args.clips < 1 or args.seeds < 2 or args.minutes < 0:
        raise InputError(
            f"--clips {args.clips}, --seeds {args.seeds}, --minutes {args.minutes:g}; expected at least 1, 2 and 0."
        )
    system = load_system(args.encoder, args.motion)
    material = _material(args)
    result: dict[str, object] = speech_figures(system, material, args.seed)
    result["start_up"] = start_up(system, material.recordings, args.seed)
    result["diversity"] = diversity(system, material.recordings[:4], args.seed, args.seeds)
    result["without_speech"] = without_speech(system, args.chatter, args.seed)
    if args.minutes > 0:
        result["drift"] = drift(system, material.recordings, args.minutes, args.seed)
    return result


def speech_figures(system: System, material: Material, seed: int) -> dict[str, object]:
    """Seams, spectra, blinks and, where labels are known, closures: motion of every recording once."""
    motions = [motion_of_speech(system, pcm, seed + i) for i, pcm in enumerate(material.recordings)]
    targets = [target_rows(u) for u in material.utterances]
    seam_rows = seam_table(system, motions, targets)
    blinks = st.blinks_per_minute(st.lids(np.concatenate(motions)[:, EXP]))
    figures: dict[str, object] = {
        "minutes": round(sum(map(len, motions)) / FPS / 60, 2),
        "seams": seam_rows,
        "first_window": first_window(system, motions),
        "blinks_per_minute": round(blinks, 2),
    }
    spectra: dict[str, dict[str, Cell]] = {}
    for part in PARTS:
        found = [curve(rows, part) for rows in motions]
        spectra[part] = rounded(st.band_shares(found))
        if targets:
            wanted = [curve(rows, part) for rows in targets]
            spectra[part]["distance_db"] = round(st.spectral_distance_db(found, wanted), 3)
            spectra[f"{part} of the rules"] = rounded(st.band_shares(wanted))
    print_table("Power of the velocity by frequency; distance of its spectrum from the rules' motion", spectra)
    figures["spectra"] = spectra
    if material.utterances:
        lips = rounded(lip_figures(against_labels(material.utterances, motions)))
        figures["lips"] = lips
        print_values("Lips on known phones", lips)
    return figures


def seam_table(
    system: System, motions: Sequence[FloatArray], targets: Sequence[FloatArray] = ()
) -> dict[str, dict[str, Cell]]:
    """Steps at window joints over those elsewhere; of the rules' motion at the same frames too, which has no joints."""
    seams = [seams_of(system, len(rows)) for rows in motions]
    rows: dict[str, dict[str, Cell]] = {}
    for part in PARTS:
        rows[part] = _ratio_row(st.step_ratio([curve(motion, part) for motion in motions], seams))
        if targets:
            same = st.step_ratio([curve(motion, part) for motion in targets], seams)
            rows[f"{part} of the rules, same frames"] = _ratio_row(same)
    for row in rows.values():
        row["n_joints"] = sum(map(len, seams))
    print_table("Mean step at window joints over elsewhere, 95 % interval", rows)
    return rows


def curve(rows: FloatArray, part: str) -> FloatArray:
    """Columns that a measure looks at: ``exp`` (N, 63), ``pose`` (N, 3) degrees, ``lips`` (N, 1) commanded opening."""
    if part == "lips":
        return lip_opening(rows[:, EXP])[:, None]
    return rows[:, EXP if part == "exp" else PYR]


def start_up(system: System, recordings: Sequence[Pcm], seed: int) -> dict[str, Cell]:
    """Jitter (above 6 Hz) of the first window over that of the same sound in a second window, paired over recordings.

    Leading silence is cut, so that the first window speaks from its beginning; for the second run another recording
    fills one window before it.
    """
    n_lead = system.geometry.hop * SAMPLES_PER_FRAME
    first: dict[str, list[float]] = {part: [] for part in PARTS}
    later: dict[str, list[float]] = {part: [] for part in PARTS}
    spoken = [part for part in (without_lead(pcm) for pcm in recordings) if len(part) >= n_lead]
    for i, pcm in enumerate(spoken):
        sound, before = pcm[:n_lead], spoken[i - 1][-n_lead:]
        alone = motion_of_speech(system, sound, seed + i)
        behind = motion_of_speech(system, np.concatenate([before, sound]), seed + i)[system.geometry.hop :]
        for part in PARTS:
            first[part].append(_rms(st.jitter(curve(alone, part))))
            later[part].append(_rms(st.jitter(curve(behind, part))))
    if not spoken:
        return {}
    ratios = {part: st.paired_ratio(np.array(first[part]), np.array(later[part])) for part in PARTS}
    rows = {part: _ratio_row(ratio) for part, ratio in ratios.items()}
    print_table(f"Jitter of the first window over the same sound in the second, {len(spoken)} pairs", rows)
    return {f"{part}_{name}": value for part, row in rows.items() for name, value in row.items()}


def first_window(system: System, motions: Sequence[FloatArray]) -> dict[str, dict[str, Cell]]:
    """Jitter (above 6 Hz) of the first window over that of all later frames of the same video, sound as it is."""
    hop = system.geometry.hop
    long = [rows for rows in motions if len(rows) >= 2 * hop]
    if not long:
        return {}
    rows: dict[str, dict[str, Cell]] = {}
    for part in PARTS:
        fast = [st.jitter(curve(motion, part)) for motion in long]
        first = np.array([_rms(values[:hop]) for values in fast])
        later = np.array([_rms(values[hop:]) for values in fast])
        rows[part] = _ratio_row(st.paired_ratio(first, later))
    print_table(f"Jitter of the first window over that of later ones, {len(long)} videos as they are", rows)
    return rows


def diversity(system: System, recordings: Sequence[Pcm], seed: int, n_seeds: int) -> dict[str, Cell]:
    """How much seeds differ: spread over seeds over the spread in time (0 equal, 1 independent), and r of the lips."""
    spread: dict[str, list[float]] = {part: [] for part in PARTS}
    lips: list[float] = []
    for pcm in recordings:
        features = features_of_speech(system, pcm)
        n_frames = -(-len(pcm) // SAMPLES_PER_FRAME)
        runs = np.stack([motion_of_features(system, features, n_frames, seed + k) for k in range(n_seeds)])
        for part in PARTS:
            curves = np.stack([curve(rows, part) for rows in runs])  # (K, N, D)
            over_seeds = curves.var(axis=0, ddof=1).sum(axis=1).mean()
            over_all = curves.reshape(-1, curves.shape[-1]).var(axis=0, ddof=1).sum()
            spread[part].append(float(np.sqrt(over_seeds / max(1e-12, over_all))))
        openings = np.stack([curve(rows, "lips")[:, 0] for rows in runs])
        lips.append(float(np.corrcoef(openings)[np.triu_indices(n_seeds, 1)].mean()))
    values = {f"{part}_spread": float(np.mean(parts)) for part, parts in spread.items()}
    figures = rounded({**values, "lips_r": float(np.mean(lips))})
    print_values(f"Diversity over {n_seeds} seeds", figures)
    return figures


def without_speech(system: System, files: Sequence[Path], seed: int) -> dict[str, dict[str, Cell]]:
    """Lips in silence, noise and music: share closed (<= 0.02), share open (> 0.05), openings per second; blinks."""
    rng = np.random.default_rng(seed)
    sounds = {
        "silence": silence(2 * CHATTER_S),
        "quiet room": room_noise(CHATTER_S, rng),
        "white noise": white_noise(CHATTER_S, rng),
        "pink noise": pink_noise(CHATTER_S, rng),
        "music 1": music(CHATTER_S, rng),
        "music 2": music(CHATTER_S, rng),
        **{path.name: read_clip(path) for path in files},
    }
    rows: dict[str, dict[str, Cell]] = {}
    for name, pcm in sounds.items():
        motion = motion_of_speech(system, pcm, seed)
        opening = curve(motion, "lips")[:, 0]
        rows[name] = rounded(
            {
                "closed_share": st.closed_share(opening),
                "open_share": st.open_share(opening),
                "openings_per_s": st.openings_per_s(opening),
                "opening_p95": float(np.quantile(opening, 0.95)),
                "blinks_per_minute": st.blinks_per_minute(st.lids(motion[:, EXP])),
            }
        )
    print_table("Lips without speech", rows)
    return rows


def drift(system: System, recordings: Sequence[Pcm], minutes: float, seed: int) -> dict[str, object]:
    """A long video of looped speech: slopes of pose, lips and lids through the means of minutes; joints, blinks."""
    motion = motion_of_speech(system, loop(recordings, minutes), seed)
    opening = curve(motion, "lips")[:, 0]
    pose = motion[:, PYR]
    seams = seam_table(system, [motion])
    curves = {
        "pitch_deg": pose[:, 0],
        "yaw_deg": pose[:, 1],
        "roll_deg": pose[:, 2],
        "pose_step_deg": np.linalg.norm(np.diff(pose, axis=0, prepend=pose[:1]), axis=1),
        "lip_opening": opening,
        "lip_closed": (opening <= 0.0).astype(np.float32),
        "lids": st.lids(motion[:, EXP]),
        "exp_norm": np.linalg.norm(motion[:, EXP], axis=1),
    }
    trends = {name: st.trend(values) for name, values in curves.items()}
    rows: dict[str, dict[str, Cell]] = {}
    for name, line in trends.items():
        blocks = {f"min {5 * i}-{5 * i + 5}": round(mean, 4) for i, mean in enumerate(line.means)}
        rows[name] = {**blocks, "per_10_min": round(line.per_10_min, 4), "std": round(float(curves[name].std()), 4)}
    print_table(f"Means over {minutes:g} minutes, slope per 10 minutes, spread of frames", rows)
    figures: dict[str, object] = {
        name: {
            "five_minute_means": [round(mean, 4) for mean in line.means],
            **rounded({"per_10_min": line.per_10_min, "low": line.low, "high": line.high}),
            "std": round(float(curves[name].std()), 4),
        }
        for name, line in trends.items()
    }
    return {
        **figures,
        "seams": seams,
        "blinks_per_minute": round(st.blinks_per_minute(curves["lids"]), 2),
        "std_of_first_and_last_third": _thirds(pose, opening),
    }


def loop(recordings: Sequence[Pcm], minutes: float) -> Pcm:
    """Recordings one after another, again and again, for whole minutes (at least three)."""
    n_samples = round(max(3.0, minutes) * 60) * SAMPLE_RATE
    once = np.concatenate(recordings)
    return np.tile(once, -(-n_samples // len(once)))[:n_samples]


def without_lead(pcm: Pcm) -> Pcm:
    """A recording from 50 ms before its first sound on (1 % of its peak)."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 0.01 * np.abs(pcm.astype(np.int32)).max(initial=1))
    begin = max(0, int(loud[0]) - round(LEAD_S * SAMPLE_RATE)) if len(loud) else 0
    return pcm[begin:]


def _material(args: argparse.Namespace) -> Material:
    if args.speech:
        return Material([read_clip(path) for path in args.speech], [])
    utterances = held_out(args.corpus, args.clips, args.voice)
    return Material([np.asarray(u.pcm) for u in utterances], utterances)


def _ratio_row(ratio: st.Ratio) -> dict[str, Cell]:
    return rounded({"ratio": ratio.value, "low": ratio.low, "high": ratio.high})


def _thirds(pose: FloatArray, opening: FloatArray) -> dict[str, list[float]]:
    """Spread in the first and the last third: a process that dies down or runs away shows here."""
    third = len(pose) // 3
    named = {"pitch_deg": pose[:, 0], "yaw_deg": pose[:, 1], "roll_deg": pose[:, 2], "lip_opening": opening}
    return {
        name: [round(float(part.std()), 4) for part in (values[:third], values[-third:])]
        for name, values in named.items()
    }


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
