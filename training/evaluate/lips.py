"""Commanded lip opening of clips against the lips of videos of them.

Runs encoder and motion model on each clip as the services do, takes the lip opening that the motion commands (the
c_lip readout of exp), and correlates it with the aperture of the reference at lag 0 and at the best lag within
+-240 ms. Next to it, with the same treatment: the energy envelope of the clip, and what circular shifts find by chance.
A clip passes when the motion beats the envelope by 0.05 and the 95th percentile of chance.

    python -m training.evaluate lips --audio a.wav --reference a.npz --audio b.mp4 --reference b.mp4
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError, UnsupportedMedia
from shared.media.audio import decode_speech
from shared.motion import EXP, lip_opening
from shared.timeline import FEATURE_STRIDE_SAMPLES, FPS, SAMPLE_RATE
from training.evaluate.correlation import MAX_LAG_S, Agreement, Track, best_lag, circular_shift_null, on_grid
from training.evaluate.reference import Aperture, read_reference
from training.evaluate.report import Cell, print_table, rounded
from training.evaluate.served import load_system, motion_of_speech
from training.landmarks import sound_of_video

MARGIN_OVER_ENVELOPE = 0.05
LONGEST_S = 3600.0


@dataclass(frozen=True)
class Sync:
    """How well one clip's commanded lips agree with its reference.

    Attributes:
        motion: of the commanded opening.
        envelope: of the sound's energy.
        null: 95th percentile of the commanded opening's best lag over circular shifts.
        valid_s: seconds of reference that were compared.
    """

    motion: Agreement
    envelope: Agreement
    null: float
    valid_s: float

    @property
    def passes(self) -> bool:
        """Above the envelope by the margin, and above chance."""
        return self.motion.r >= self.envelope.r + MARGIN_OVER_ENVELOPE and self.motion.r > self.null


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this measure."""
    parser.add_argument("--audio", type=Path, action="append", required=True, help="speech; may be given several times")
    parser.add_argument(
        "--reference", type=Path, action="append", required=True, help="video, or .npz with t and aperture; one a clip"
    )
    parser.add_argument("--max-lag-ms", type=float, default=1000 * MAX_LAG_S, help="largest lag tried, either way")
    parser.add_argument("--seed", type=int, default=0, help="of the motion")
    parser.add_argument("--encoder", type=Path, help="folder of an audio encoder; default: the shipped one")
    parser.add_argument("--motion", type=Path, help="checkpoint of a motion model; default: the shipped one")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure every clip; see the module."""
    if len(args.audio) != len(args.reference):
        raise InputError(f"{len(args.audio)} clips and {len(args.reference)} references; expected one for each clip.")
    if not 0 <= args.max_lag_ms <= 2000:
        raise InputError(f"a largest lag of {args.max_lag_ms:g} ms; expected 0 to 2000.")
    system = load_system(args.encoder, args.motion)
    results: dict[str, dict[str, Cell]] = {}
    for audio, reference in zip(args.audio, args.reference, strict=True):
        pcm = sound_of_video(audio, LONGEST_S) if audio == reference else read_clip(audio)
        aperture = read_reference(reference)
        opening = lip_opening(motion_of_speech(system, pcm, args.seed)[:, EXP])
        sync = compare(opening, pcm, aperture, args.max_lag_ms / 1000)
        results[f"{len(results) + 1} {audio.name}"] = figures(sync)
    print_table("Commanded lips against the reference (r: Pearson after 6 Hz low-pass)", results)
    for name, row in results.items():
        if row["at_edge"]:
            print(
                f"{name}: the best lag is the largest tried; sound and picture of the reference may be further apart."
            )
    passed = all(bool(row["passes"]) for row in results.values())
    return {"clips": list(results.values()), "files": [str(path) for path in args.audio], "passes": passed}


def read_clip(path: Path) -> NDArray[np.int16]:
    """Speech of a file as ingest decodes it: (n,) int16 at 16 kHz.

    Raises:
        UnsupportedMedia: not there, or not sound.
    """
    if not path.is_file():
        raise UnsupportedMedia(f"clip {path} is not there; expected a sound file or a video with sound.")
    return decode_speech(path, LONGEST_S)


def compare(
    opening: NDArray[np.float32], pcm: NDArray[np.int16], reference: Aperture, max_lag_s: float = MAX_LAG_S
) -> Sync:
    """Correlate commanded lips and envelope with the reference.

    Args:
        opening: (N,) commanded opening at 25 fps; frame i counts at i / 25 s, when it is first shown.
        pcm: (n,) int16, the clip.
        reference: measured aperture at the times its frames are first shown.
        max_lag_s: largest lag to either side.

    Raises:
        InputError: clip and reference share less than two seconds, or nothing moves.
    """
    duration_s = len(pcm) / SAMPLE_RATE
    wanted = on_grid(reference.times_s, reference.values, duration_s)
    commanded = on_grid(np.arange(len(opening)) / FPS, opening, duration_s)
    valid_s = float(wanted.is_valid.sum()) * 0.02
    return Sync(
        best_lag(commanded, wanted, max_lag_s),
        best_lag(envelope(pcm), wanted, max_lag_s),
        circular_shift_null(commanded, wanted, max_lag_s),
        valid_s,
    )


def envelope(pcm: NDArray[np.int16]) -> Track:
    """Energy envelope of a clip, low-passed like every curve: RMS of 20 ms blocks at their middles."""
    n_blocks = len(pcm) // FEATURE_STRIDE_SAMPLES
    blocks = np.asarray(pcm[: n_blocks * FEATURE_STRIDE_SAMPLES], np.float64).reshape(n_blocks, -1) / 32768.0
    step_s = FEATURE_STRIDE_SAMPLES / SAMPLE_RATE
    times = (np.arange(n_blocks) + 0.5) * step_s
    return on_grid(times, np.sqrt(np.mean(np.square(blocks), axis=1)), len(pcm) / SAMPLE_RATE)


def figures(sync: Sync) -> dict[str, Cell]:
    """One row of the table and of the JSON line."""
    values = {
        "r_0": sync.motion.r_0,
        "r": sync.motion.r,
        "lag_ms": 1000 * sync.motion.lag_s,
        "null_p95": sync.null,
        "envelope_r_0": sync.envelope.r_0,
        "envelope_r": sync.envelope.r,
        "envelope_lag_ms": 1000 * sync.envelope.lag_s,
        "over_envelope": sync.motion.r - sync.envelope.r,
        "valid_s": sync.valid_s,
    }
    return {**rounded(values), "at_edge": sync.motion.is_at_edge, "passes": sync.passes}
