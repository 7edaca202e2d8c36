"""How good is generated motion? Held-out voices with phone labels, windows chained as served.

    python -m training.evaluate --weights services/motion_dit/embedded.safetensors

Last line of output is one JSON object: closures of p, b, m, lips in silence, openness, agreement with the rule-made
targets, seams between windows, blinks per minute, pose ranges, time per window.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.controls import apply_controls
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Request
from services.motion_dit.window import first_state
from shared.motion import EXP, PYR, SLIDER_INDEX, lip_opening, sliders_from_exp
from shared.timeline import FPS, SAMPLES_PER_FRAME, Geometry, window_at, window_count
from training.baseline import baseline_motion
from training.corpus import Utterance, read_corpus
from training.dataset import motion_of
from training.features import Encode, encoder_of, frame_features, window_wave
from training.train_dit import averaged_model

FloatArray = NDArray[np.float32]

FAR_S = 0.2
OPEN, CLOSED_SHARE_OF_P95 = 0.05, 0.15
BLINK_CLOSED = 0.6


@dataclass(frozen=True)
class Clip:
    """One generated video against its labels: rows (N, 70), target rows (N, 70), whole-number window starts."""

    utterance: Utterance
    rows: FloatArray
    target: FloatArray
    seams: list[int]
    window_s: list[float]


def generate(generator: MotionGenerator, features: Sequence[FloatArray], n_frames: int, seed: int) -> FloatArray:
    """Chain the windows of a video as the worker does: (n_frames, 70)."""
    rows, state = [], first_state(generator.context)
    for window in features:
        done = generator.generate([Request(window, state, seed)])[0]
        rows.append(done.rows)
        state = done.next_state
    return np.concatenate(rows)[:n_frames]


def clip_features(utterance: Utterance, encode: Encode, receptive_field: int, geometry: Geometry) -> list[FloatArray]:
    """Features of all served windows of an utterance, sound unchanged."""
    n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME)
    out = []
    for index in range(window_count(n_frames, geometry)):
        first = window_at(index, n_frames, geometry).first_frame
        wave = window_wave(utterance, first, geometry, receptive_field)
        out.append(frame_features(encode(wave[None])[0], wave, geometry, receptive_field))
    return out


def make_clip(
    generator: MotionGenerator, utterance: Utterance, features: Sequence[FloatArray], geometry: Geometry, seed: int
) -> Clip:
    """Generate one utterance and time its windows."""
    n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME)
    began = time.perf_counter()
    rows = generate(generator, features, n_frames, seed)
    per_window = (time.perf_counter() - began) / len(features)
    seams = list(range(geometry.hop, n_frames, geometry.hop))
    return Clip(utterance, rows, motion_of(utterance, n_frames, [0])[0].rows, seams, [per_window])


def baseline_clip(utterance: Utterance, encoder_run: Path, seed: int) -> Clip:
    """The same utterance by the encoder's classifier and the rules, without the network."""
    n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME)
    began = time.perf_counter()
    rows = apply_controls(baseline_motion(utterance.pcm, encoder_run, seed).rows, 1.0, 1.0)
    per_window = (time.perf_counter() - began) / window_count(n_frames, Geometry())
    seams = list(range(Geometry().hop, n_frames, Geometry().hop))
    return Clip(utterance, rows, motion_of(utterance, n_frames, [0])[0].rows, seams, [per_window])


def measure(clips: Sequence[Clip]) -> dict[str, float]:
    """All figures of a set of clips."""
    opened = [lip_opening(clip.rows[:, EXP]) for clip in clips]
    wanted = [lip_opening(clip.target[:, EXP]) for clip in clips]
    speech = [_is_speech(clip.utterance, len(clip.rows)) for clip in clips]
    quiet = [_is_far_from_speech(clip.utterance, len(clip.rows)) for clip in clips]
    c, c_target = np.concatenate(opened), np.concatenate(wanted)
    said, silent = np.concatenate(speech), np.concatenate(quiet)
    elsewhere = np.concatenate([_is_far_from(clip.utterance, len(clip.rows), ("PP", "FF", "sil")) for clip in clips])
    p95 = float(np.quantile(c[said], 0.95))
    sliders = [sliders_from_exp(clip.rows[:, EXP]) for clip in clips]
    minutes = sum(len(clip.rows) for clip in clips) / FPS / 60
    pose = np.concatenate([clip.rows[:, PYR] for clip in clips])
    closures = np.concatenate([_closures(clip.utterance, o) for clip, o in zip(clips, opened, strict=True)])
    target_closures = np.concatenate([_closures(clip.utterance, o) for clip, o in zip(clips, wanted, strict=True)])
    figures = {
        "minutes": minutes,
        "closed_on_pbm": float(np.mean(closures)),
        "closed_on_pbm_target": float(np.mean(target_closures)),
        "closed_elsewhere": float(np.mean(c[elsewhere] <= 0.005)),
        "closed_elsewhere_target": float(np.mean(c_target[elsewhere] <= 0.005)),
        "opening_correlation": float(np.corrcoef(c, c_target)[0, 1]),
        "opening_speech_p50": float(np.quantile(c[said], 0.5)),
        "opening_speech_p95": p95,
        "opening_target_p50": float(np.quantile(c_target[said], 0.5)),
        "opening_target_p95": float(np.quantile(c_target[said], 0.95)),
        "open_share_of_speech": float(np.mean(c[said] > OPEN)),
        "closed_in_silence": float(np.mean(c[silent] < CLOSED_SHARE_OF_P95 * p95)),
        "speed_rms": _speed(opened),
        "speed_rms_target": _speed(wanted),
        "blinks_per_minute": sum(_blinks(s) for s in sliders) / minutes,
        "blink_peak": float(np.mean([p for s in sliders for p in _blink_peaks(s)] or [0.0])),
        "seam_ratio": _seam_ratio(clips, slice(0, 63)),
        "seam_ratio_pose": _seam_ratio(clips, PYR),
        "window_ms": float(np.median([1000 * t for clip in clips for t in clip.window_s])),
    }
    for name, axis in (("pitch", 0), ("yaw", 1), ("roll", 2)):
        figures[f"{name}_std_deg"] = float(pose[:, axis].std())
        figures[f"{name}_max_deg"] = float(np.abs(pose[:, axis]).max())
    steps = np.concatenate([np.diff(clip.rows[:, PYR], axis=0) for clip in clips])
    figures["pose_speed_rms_deg_s"] = float(np.sqrt(np.mean(steps**2)) * FPS)
    limited = [apply_controls(clip.target, 1.0, 1.0)[:, PYR] for clip in clips]
    steps = np.concatenate([np.diff(part, axis=0) for part in limited])
    figures["pose_speed_rms_target"] = float(np.sqrt(np.mean(steps**2)) * FPS)
    figures["pitch_std_target"] = float(np.concatenate(limited)[:, 0].std())
    return {name: round(value, 4) for name, value in figures.items()}


def _closures(utterance: Utterance, opening: FloatArray) -> NDArray[np.bool_]:
    """For each full bilabial: do the lips touch within it (one frame of tolerance)?"""
    times = (np.arange(len(opening)) + 0.5) / FPS
    touches = []
    for segment in utterance.segments:
        if segment.targets[0][0] == "PP" and segment.k >= 0.9:
            near = (times > segment.start_s - 1 / FPS) & (times < segment.end_s + 1 / FPS)
            touches.append(bool(near.any() and opening[near].min() <= 0.005))
    return np.array(touches, bool)


def _is_speech(utterance: Utterance, n_frames: int) -> NDArray[np.bool_]:
    times = (np.arange(n_frames) + 0.5) / FPS
    out = np.zeros(n_frames, bool)
    for segment in utterance.segments:
        if segment.targets[0][0] != "sil":
            out |= (times >= segment.start_s) & (times < segment.end_s)
    return out


def _is_far_from_speech(utterance: Utterance, n_frames: int) -> NDArray[np.bool_]:
    names = {name for segment in utterance.segments for name, _ in segment.targets} - {"sil"}
    return _is_far_from(utterance, n_frames, tuple(names))


def _is_far_from(utterance: Utterance, n_frames: int, names: Sequence[str]) -> NDArray[np.bool_]:
    """Frames at least 200 ms away from every segment of some visemes."""
    times = (np.arange(n_frames) + 0.5) / FPS
    out = np.ones(n_frames, bool)
    for segment in utterance.segments:
        if segment.targets[0][0] in names:
            out &= (times < segment.start_s - FAR_S) | (times >= segment.end_s + FAR_S)
    return out


def _speed(openings: Sequence[FloatArray]) -> float:
    steps = np.concatenate([np.diff(o) for o in openings])
    return float(np.sqrt(np.mean(steps**2)) * FPS)


def _lids(sliders: FloatArray) -> FloatArray:
    both: FloatArray = 0.5 * (sliders[:, SLIDER_INDEX["blink_left"]] + sliders[:, SLIDER_INDEX["blink_right"]])
    return both


def _blinks(sliders: FloatArray) -> int:
    shut = _lids(sliders) > BLINK_CLOSED
    return int(np.sum(shut[1:] & ~shut[:-1]))


def _blink_peaks(sliders: FloatArray) -> list[float]:
    lids = _lids(sliders)
    inner = lids[1:-1]
    peaks = (inner >= lids[:-2]) & (inner > lids[2:]) & (inner > 0.4)
    return [float(v) for v in inner[peaks]]


def _seam_ratio(clips: Sequence[Clip], columns: slice) -> float:
    """Mean frame-to-frame step at window borders over that elsewhere; 1 is seamless."""
    at, elsewhere = [], []
    for clip in clips:
        step = np.linalg.norm(np.diff(clip.rows[:, columns], axis=0), axis=1)
        border = np.zeros(len(step), bool)
        border[[seam - 1 for seam in clip.seams]] = True
        at.append(step[border])
        elsewhere.append(step[~border])
    return float(np.concatenate(at).mean() / np.concatenate(elsewhere).mean())


def main() -> None:
    """Evaluate a checkpoint, or the averaged weights of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--encoder", type=Path, default=Path(".cache/encoder"))
    parser.add_argument("--weights", type=Path, default=EMBEDDED)
    parser.add_argument("--run", type=Path, help="last.pt of a training run instead of a checkpoint")
    parser.add_argument("--voice", default="", help="only voices whose name contains this")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--baseline", action="store_true", help="the rules on recognised classes instead of the DiT")
    args = parser.parse_args()
    torch.set_num_threads(1)
    held = [u for u in read_corpus(args.corpus, "held") if args.voice in u.voice and len(u.pcm) > 5 * 16_000]
    held = held[:: max(1, len(held) // args.clips)][: args.clips]
    if args.baseline:
        print(json.dumps(measure([baseline_clip(u, args.encoder, seed) for seed, u in enumerate(held)])))
        return
    generator = MotionGenerator(averaged_model(args.run) if args.run else load_checkpoint(args.weights))
    encode, field = encoder_of(args.encoder)
    geometry = Geometry()
    clips = [
        make_clip(generator, u, clip_features(u, encode, field, geometry), geometry, seed)
        for seed, u in enumerate(held)
    ]
    print(json.dumps(measure(clips)))


if __name__ == "__main__":
    main()
