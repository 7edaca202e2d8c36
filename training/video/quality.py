"""Which stretches of a track are worth learning from; every rejection has a reason.

Frames are judged first (`usable`): a track is cut where the face is too small, turned away or blurred, and what is left
makes clips (`cut`). Clips are judged with their sound and motion (`verdict`).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.audio_encoder.loudness import loudness
from shared.media.audio import CLIPPED_VALUE, Level
from shared.timeline import FPS, SAMPLES_PER_FRAME
from training.video.faces import LEFT_SIDE, RIGHT_SIDE, Track
from training.video.geometry import STABLE, HeadPath, coarse_pose
from training.video.sync import Sync

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

QUIET = 0.1  # loudness below counts as silence


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Attributes:
        face_px: least width of a face.
        turn_deg: largest pitch, yaw and roll of a face, and largest way of the head from its resting pose.
        sharpness: least `faces.sharpness`.
        clip_s: shortest and longest clip.
        bridge_frames: so many bad frames in a row do not end a clip.
        tremble: largest median second difference of the rigid points, face widths per frame squared.
        silent_share: largest share of frames without sound.
        clipped_share: largest share of samples at the limit.
        lag_frames: lips and sound are moved together over no more than this.
    """

    face_px: float = 80.0
    turn_deg: tuple[float, float, float] = (30.0, 30.0, 30.0)
    sharpness: float = 0.01
    clip_s: tuple[float, float] = (4.0, 60.0)
    bridge_frames: int = 3
    tremble: float = 0.02
    silent_share: float = 0.7
    clipped_share: float = 0.01
    lag_frames: int = 8


@dataclass(frozen=True)
class Facts:
    """Measured on a clip; goes into the manifest."""

    face_px: float
    sharpness: float
    turn_deg: float
    tremble: float
    silent_share: float
    clipped_share: float
    gain: float
    sync_r0: float
    sync_r: float
    sync_null: float
    lag_frames: int


def usable(track: Track, limits: Limits) -> tuple[Bools, dict[str, int]]:
    """Judge the frames of a track.

    Returns:
        (N,) usable frames, and frames lost by reason.
    """
    width = np.linalg.norm(track.points[:, LEFT_SIDE, :2] - track.points[:, RIGHT_SIDE, :2], axis=1)
    reasons = {
        "face_small": width < limits.face_px,
        "face_turned": (np.abs(coarse_pose(track.points)) > limits.turn_deg).any(axis=1),
        "face_blurred": track.sharpness < limits.sharpness,
    }
    good = ~np.any(list(reasons.values()), axis=0)
    return _bridged(good, limits.bridge_frames), {name: int(bad.sum()) for name, bad in reasons.items() if bad.any()}


def cut(good: Bools, limits: Limits) -> tuple[list[tuple[int, int]], int]:
    """Stretches of usable frames, long ones in equal parts.

    Returns:
        Ranges [begin, end), and frames lost because their stretch is too short.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    shortest, longest = (round(s * FPS) for s in limits.clip_s)
    clips: list[tuple[int, int]] = []
    lost = 0
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin < shortest:
            lost += end - begin
            continue
        n_parts = -(-(end - begin) // longest)
        bounds = [begin + (end - begin) * part // n_parts for part in range(n_parts + 1)]
        clips += pairwise(bounds)
    return clips, lost


def facts_of(
    points: Floats, sharpness: Floats, path: HeadPath, pcm: NDArray[np.int16], level: Level, sync: Sync
) -> Facts:
    """Measure a clip.

    Args:
        points: (N, 478, 3) pixels.
        sharpness: (N,).
        path: of the head.
        pcm: (640 N,) sound of its frames.
        level: of that sound.
        sync: of lips and sound.
    """
    width = float(np.median(np.linalg.norm(points[:, LEFT_SIDE, :2] - points[:, RIGHT_SIDE, :2], axis=1)))
    rigid = points[:, list(STABLE), :2].astype(np.float64) / width
    bend = np.linalg.norm(rigid[2:] - 2 * rigid[1:-1] + rigid[:-2], axis=2)
    loud = loudness(pcm.astype(np.float32) / 32768.0, level.gain)
    return Facts(
        face_px=round(width, 1),
        sharpness=round(float(np.median(sharpness)), 4),
        turn_deg=round(float(np.abs(path.pyr).max()), 1),
        tremble=round(float(np.median(bend)), 5),
        silent_share=round(float(np.mean(loud < QUIET)), 3),
        clipped_share=round(float(np.mean(np.abs(pcm.astype(np.int32)) >= CLIPPED_VALUE)), 5),
        gain=round(level.gain, 4),
        sync_r0=sync.r0,
        sync_r=sync.r,
        sync_null=sync.null,
        lag_frames=sync.lag,
    )


def verdict(facts: Facts, level: Level, limits: Limits) -> str | None:
    """Why a clip is rejected; None when it is good."""
    checks = {
        "no_sound": level.is_silent,
        "mostly_silent": facts.silent_share > limits.silent_share,
        "clipped": facts.clipped_share > limits.clipped_share,
        "head_turns": facts.turn_deg > max(limits.turn_deg),
        "trembles": facts.tremble > limits.tremble,
        "not_the_voice": facts.sync_r <= facts.sync_null,
        "out_of_sync": abs(facts.lag_frames) > limits.lag_frames,
    }
    return next((reason for reason, is_bad in checks.items() if is_bad), None)


def shifted(n_frames: int, lag: int) -> tuple[slice, slice]:
    """Frames of the lips and of the sound that belong together when the lips come ``lag`` frames late.

    One frame is within what people do: it is left alone.
    """
    if abs(lag) <= 1:
        return slice(0, n_frames), slice(0, n_frames)
    late, early = max(lag, 0), max(-lag, 0)
    return slice(late, n_frames - early), slice(early, n_frames - late)


def sound_of(pcm: NDArray[np.int16], first_frame: int, n_frames: int) -> NDArray[np.int16]:
    """Samples that frames [first_frame, first_frame + n_frames) own, silence beyond the ends: (640 n,)."""
    out = np.zeros(n_frames * SAMPLES_PER_FRAME, np.int16)
    begin, end = first_frame * SAMPLES_PER_FRAME, (first_frame + n_frames) * SAMPLES_PER_FRAME
    kept = pcm[max(0, begin) : max(0, end)]
    out[max(0, -begin) : max(0, -begin) + len(kept)] = kept
    return out


def _bridged(good: Bools, n_frames: int) -> Bools:
    """Fill holes of at most ``n_frames`` between usable frames."""
    out = good.copy()
    holes = np.flatnonzero(np.diff(np.concatenate([[True], good, [True]]).astype(np.int8)))
    for begin, end in zip(holes[::2], holes[1::2], strict=True):
        if begin > 0 and end < len(good) and end - begin <= n_frames:
            out[begin:end] = True
    return out
