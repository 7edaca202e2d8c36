"""Measure any talking video: lips against sound, blinks, jitter, window joints, silence, head pose.

    python -m training.evaluate video --video MP4 [--windows 65]

Works on the picture and the sound alone, so videos of all systems compare. Formulas: docs/evaluation.md.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError, NoFaceFound
from shared.media.audio import measure_level
from shared.timeline import FPS, SAMPLES_PER_FRAME, Geometry
from training.evaluate.blinks import find_blinks
from training.evaluate.correlation import (
    SHORTEST_S,
    best_lag,
    circular_shift_null,
    correlations,
    on_grid,
)
from training.evaluate.face_motion import FaceMotion, jitter, seam, steps, take_apart
from training.evaluate.report import print_values
from training.landmarks import TrackedVideo, eye_opening, lip_aperture, on_frame_clock, sound_of_video, track_video

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
Pcm = NDArray[np.int16]

LONGEST_S = 3600.0
BLOCKS_PER_FRAME = 2
SPEECH_DB, SPEECH_PERCENTILE = -40.0, 95
AWAY_S = 0.2
CLOSED_SHARE_OF_P95, CLOSED = 0.15, 0.01
POSE_NAMES = ("pitch", "yaw", "roll")
NOTHING = float("nan")


@dataclass(frozen=True)
class Recording:
    """A video on the frame clock, 25 fps.

    Attributes:
        landmarks: (N, 478, 3) float32 pixels; NaN rows where no face was found.
        pcm: sound from the first picture on, int16 at 16 kHz.
        face_share: share of the pictures, as they are in the file, with a face.
        fps: pictures per second in the file.
    """

    landmarks: NDArray[np.float32]
    pcm: Pcm
    face_share: float
    fps: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--video", type=Path, required=True, help="mp4, webm, mkv, avi with sound")
    parser.add_argument(
        "--windows",
        type=int,
        default=Geometry().hop,
        help="new frames per window of the system that made it, at 25 fps",
    )
    parser.add_argument("--first-window", type=int, help="frames before the first joint; default: the same")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure one video.

    Raises:
        UnsupportedMedia: it cannot be read, or has no sound.
        NoFaceFound: no face for at least two seconds.
        InputError: it is too short, or the window is.
    """
    if args.windows < 4:
        raise InputError(f"windows of {args.windows} frames; expected 4 or more, such as 65.")
    values = measure(read_recording(args.video), args.windows, args.first_window or args.windows)
    print_values(f"{args.video.name}", dict(values))
    return {"video": args.video.name, **values}


def read_recording(path: Path) -> Recording:
    """Track the face of a video and put everything on the frame clock.

    Raises:
        UnsupportedMedia, NoFaceFound, InputError: see `run`.
    """
    pcm = sound_of_video(path, LONGEST_S)
    video = track_video(path)
    n_frames = round((video.times_s[-1] + 1.0 / video.fps) * FPS)
    if n_frames < SHORTEST_S * FPS:
        raise InputError(f"{path} lasts {n_frames / FPS:.1f} s; expected at least {SHORTEST_S:g} s of talking.")
    return on_clock(video, pcm, n_frames)


def on_clock(video: TrackedVideo, pcm: Pcm, n_frames: int) -> Recording:
    """Landmarks at 25 fps.

    Raises:
        NoFaceFound: no face for at least two seconds.
    """
    landmarks = on_frame_clock(video.times_s, video.landmarks, n_frames)
    n_found = int(np.isfinite(landmarks[:, 0, 0]).sum())
    if n_found < SHORTEST_S * FPS:
        raise NoFaceFound(
            f"a face was found in {n_found} of {n_frames} frames; expected one for at least {SHORTEST_S:g} s, "
            "seen from the front and a fifth of the picture high or more."
        )
    return Recording(landmarks, pcm, float(video.is_found.mean()), video.fps)


def measure(recording: Recording, hop: int, first_window: int) -> dict[str, float]:
    """All figures of a recording; NaN where one has no meaning.

    Args:
        recording: what was seen and heard.
        hop: frames per window at 25 fps.
        first_window: frames before the first joint.
    """
    motion = take_apart(recording.landmarks)
    aperture = lip_aperture(recording.landmarks)
    n_frames = len(aperture)
    figures = {
        "seconds": n_frames / FPS,
        "fps": recording.fps,
        "face_share": recording.face_share,
        **lips_and_sound(aperture, recording.pcm),
        **silence(aperture, far_from_speech(recording.pcm, n_frames)),
        **blinking(recording.landmarks),
        **shaking(motion, first_window),
        **joints(motion, np.arange(first_window, n_frames, hop), hop),
        **head_pose(motion.pose),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def lips_and_sound(aperture: Floats, pcm: Pcm) -> dict[str, float]:
    """Correlation of the aperture with the sound's energy, against chance; positive lag: the lips come later."""
    seconds = len(aperture) / FPS
    sound = on_grid(*energy(pcm, len(aperture)), seconds)
    lips = on_grid((np.arange(len(aperture)) + 0.5) / FPS, aperture, seconds)
    moves = {"aperture_p95": float(np.nanpercentile(aperture, 95))}
    if not np.isfinite(correlations(sound, lips, 0.0)).all():
        return {**moves, "lips_r_0": NOTHING, "lips_r": NOTHING, "lips_lag_ms": NOTHING, "lips_chance": NOTHING}
    found = best_lag(sound, lips)
    return {
        **moves,
        "lips_r_0": found.r_0,
        "lips_r": found.r,
        "lips_lag_ms": 1000 * found.lag_s,
        "lips_chance": circular_shift_null(sound, lips),
    }


def energy(pcm: Pcm, n_frames: int) -> tuple[Floats, Floats]:
    """RMS of blocks of 20 ms: middles of the blocks in seconds and levels, both (2 n_frames,)."""
    levels = _block_levels(pcm, n_frames).reshape(-1)
    return (np.arange(len(levels)) + 0.5) / (FPS * BLOCKS_PER_FRAME), levels


def far_from_speech(pcm: Pcm, n_frames: int) -> Flags:
    """Frames at least 200 ms away from speech, which is 20 ms blocks above the 95th percentile's level minus 40 dB.

    Returns:
        (n_frames,); all of them where the sound is silent.
    """
    levels = _block_levels(pcm, n_frames)
    if measure_level(pcm).is_silent:
        return np.ones(n_frames, bool)
    is_speech = (levels > np.percentile(levels, SPEECH_PERCENTILE) * 10 ** (SPEECH_DB / 20)).any(axis=1)
    away = round(AWAY_S * FPS)
    near: Flags = np.convolve(is_speech, np.ones(2 * away - 1), mode="same") > 0
    return ~near


def silence(aperture: Floats, is_far: Flags) -> dict[str, float]:
    """Share of frames away from speech in which the aperture is below 15 % of the clip's 95th percentile.

    Gaps below a hundredth of the face width count as closed in any clip: the landmarks tell no more.
    """
    values = aperture[is_far & np.isfinite(aperture)]
    closed = max(CLOSED_SHARE_OF_P95 * float(np.nanpercentile(aperture, 95)), CLOSED)
    share = float(np.mean(values < closed)) if len(values) else NOTHING
    return {"silent_s": len(values) / FPS, "closed_in_silence": share}


def blinking(landmarks: NDArray[np.float32]) -> dict[str, float]:
    """Blinks per minute of the time with a face, and how long one lasts."""
    eyes = eye_opening(landmarks)
    blinks = find_blinks(eyes)
    minutes = np.isfinite(eyes[:, 0]).sum() / FPS / 60
    return {
        "blinks_per_minute": len(blinks.frames) / minutes,
        "blink_s": float(np.median(blinks.lengths_s)) if len(blinks.frames) else NOTHING,
        "blink_threshold": blinks.threshold,
        "eyes_closed_share": blinks.closed_share,
    }


def shaking(motion: FaceMotion, first_window: int) -> dict[str, float]:
    """Power above 6 Hz of head and lips, square thousandths of the face width; first window over the rest."""
    head, lips = jitter(motion.head), jitter(motion.lips)
    return {
        "jitter_head": _mean(head),
        "jitter_lips": _mean(lips),
        "jitter_head_first_over_later": _ratio(head[:first_window], head[first_window:]),
        "jitter_lips_first_over_later": _ratio(lips[:first_window], lips[first_window:]),
    }


def joints(motion: FaceMotion, begins: NDArray[np.int64], hop: int) -> dict[str, float]:
    """Step at window joints over the step elsewhere, and what other places of the window give by chance."""
    head, lips = seam(steps(motion.head), begins, hop), seam(steps(motion.lips), begins, hop)
    return {
        "joints": lips.n_joints,
        "seam_lips": lips.ratio,
        "seam_lips_chance": lips.chance,
        "seam_head": head.ratio,
        "seam_head_chance": head.chance,
    }


def head_pose(pose: Floats) -> dict[str, float]:
    """Deviation and 1st to 99th percentile of each angle, in degrees against the mean pose."""
    figures = {}
    for axis, name in enumerate(POSE_NAMES):
        known = pose[np.isfinite(pose[:, axis]), axis]
        figures[f"{name}_std_deg"] = float(known.std())
        figures[f"{name}_range_deg"] = float(np.ptp(np.percentile(known, (1, 99))))
    return figures


def _block_levels(pcm: Pcm, n_frames: int) -> NDArray[np.float64]:
    """RMS of two blocks of 20 ms per frame: (n_frames, 2); zeros where there is no sound."""
    padded = np.zeros(n_frames * SAMPLES_PER_FRAME)
    kept = min(len(pcm), len(padded))
    padded[:kept] = pcm[:kept]
    levels: NDArray[np.float64] = np.sqrt(np.mean(padded.reshape(n_frames, BLOCKS_PER_FRAME, -1) ** 2, axis=2))
    return levels


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else NOTHING


def _ratio(values: Floats, others: Floats) -> float:
    below = _mean(others)
    return _mean(values) / below if below > 0 else NOTHING
