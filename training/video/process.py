"""One video -> its two shards. Runs in worker processes; what it loads once stays loaded.

Motion first (pictures, faces, lips, sound, quality), then features of the accepted clips. Each stage is skipped when
its shard is there already, so a new encoder only costs the second.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from services.audio_encoder.loudness import loudness
from shared.errors import ConfigurationError
from shared.media.audio import measure_level
from shared.motion import EXP, lip_opening
from shared.timeline import FPS, Geometry
from training.sources import Split
from training.video import liveportrait, motion
from training.video.decode import Picture, VideoFacts, probe, read_pictures, read_sound
from training.video.events import tracks_of
from training.video.faces import Track, face_tracks
from training.video.features import STRIDE_FRAMES, LoadedEncoder, load, window_features, window_starts
from training.video.measures import measure
from training.video.quality import Limits, cut, facts_of, shifted, sound_of, usable, verdict
from training.video.shards import Arrays, Clip, Record, read_record, shard_path, stamp_of, write_shard
from training.video.sliders import calibration
from training.video.sync import measure_sync

Floats = NDArray[np.float32]
Method = Literal["sliders", "liveportrait"]


@dataclass(frozen=True)
class Recipe:
    """How videos become shards.

    Attributes:
        out: folder of the shards.
        method: of measuring motion.
        weights: LivePortrait's, for that method.
        encoder: folder of an audio encoder, or None for the shipped one.
        geometry: of the bundle that is trained for.
        limits: of quality.
    """

    out: Path
    method: Method
    weights: Path | None
    encoder: Path | None
    geometry: Geometry
    limits: Limits


@dataclass(frozen=True)
class Task:
    """One video of the folder."""

    path: Path
    source: str
    key: str
    split: Split


@dataclass(frozen=True)
class Done:
    """What a task gave, and which stages it had to run."""

    record: Record
    made_motion: bool
    made_features: bool


def stamps(recipe: Recipe) -> tuple[str, str]:
    """Stamps of the motion shards and of the feature shards."""
    if recipe.method == "liveportrait":
        if recipe.weights is None:
            raise ConfigurationError("motion by LivePortrait needs its weights; give their folder with --weights.")
        made_by = [liveportrait.EXTRACTOR, _extractor(recipe.weights).sha256]
    else:
        made_by = [motion.EXTRACTOR, stamp_of(weights={name: w.tolist() for name, w in calibration().items()})]
    of_motion = stamp_of(extractor=made_by, limits=asdict(recipe.limits))
    encoder = encoder_of(recipe.encoder).facts.sha256
    of_features = stamp_of(motion=of_motion, encoder=encoder, geometry=asdict(recipe.geometry), stride=STRIDE_FRAMES)
    return of_motion, of_features


def process(task: Task, recipe: Recipe) -> Done:
    """Make the shards of a video that are not there yet.

    Raises:
        UnsupportedMedia: the file cannot be read.
        TalkingHeadError: weights do not fit.
    """
    of_motion, of_features = stamps(recipe)
    motion_path = shard_path(recipe.out, "motion", task.key)
    record = read_record(motion_path, of_motion)
    made_motion = record is None
    if record is None:
        arrays, record = _motion_shard(task, recipe)
        write_shard(motion_path, arrays, of_motion, record)
    record = replace(record, source=task.source, split=task.split)
    features_path = shard_path(recipe.out, "features", task.key)
    made_features = read_record(features_path, of_features) is None
    if made_features:
        write_shard(features_path, _features(motion_path, record, recipe), of_features, record)
    return Done(record, made_motion, made_features)


def _motion_shard(task: Task, recipe: Recipe) -> tuple[Arrays, Record]:
    facts = probe(task.path)
    pcm = read_sound(task.path, facts.origin) if facts.has_sound else np.zeros(0, np.int16)
    arrays: dict[str, NDArray[np.generic]] = {}
    clips: list[Clip] = []
    rejected: dict[str, int] = {}
    n_seen, last = 0, Fraction(0)

    def pictures() -> Iterator[Picture]:
        nonlocal last
        for picture in read_pictures(task.path, facts.origin):
            last = picture.time
            yield picture

    for track in face_tracks(pictures()):
        n_seen += len(track.points)
        good, lost = usable(track, recipe.limits)
        ranges, n_short = cut(good, recipe.limits)
        _count(rejected, {**lost, "too_short": n_short})
        for begin, end in ranges:
            reason = _add_clip(arrays, clips, (task, recipe, facts), track, (begin, end), pcm)
            if reason:
                _count(rejected, {reason: end - begin})
    n_total = int(last * FPS) + 1
    _count(rejected, {"no_face": max(0, n_total - n_seen)})
    seconds = round(n_total / FPS, 2)
    return arrays, Record(task.key, task.source, task.split, seconds, round(facts.rate, 3), tuple(clips), rejected)


def _add_clip(
    arrays: dict[str, NDArray[np.generic]],
    clips: list[Clip],
    job: tuple[Task, Recipe, VideoFacts],
    track: Track,
    span: tuple[int, int],
    pcm: NDArray[np.int16],
) -> str | None:
    """Measure a clip and keep it, or say why not."""
    task, recipe, facts = job
    begin, end = span
    points, first = track.points[begin:end], track.first_frame + begin
    rows, path = motion.rows_from_landmarks(points)
    sound = sound_of(pcm, first, end - begin)
    level = measure_level(sound)
    sync = measure_sync(lip_opening(rows[:, EXP]), loudness(sound.astype(np.float32) / 32768.0, level.gain))
    measured = facts_of(points, track.sharpness[begin:end], path, sound, level, sync)
    if reason := verdict(measured, level, recipe.limits):
        return reason
    if recipe.method == "liveportrait" and recipe.weights is not None:
        again = read_pictures(task.path, facts.origin)
        rows = liveportrait.rows_from_pictures(again, first, points, measure(path.still), _extractor(recipe.weights))
    lips, voice = shifted(end - begin, sync.lag)
    rows, sound = rows[lips], sound.reshape(end - begin, -1)[voice].reshape(-1)
    gain = measure_level(sound).gain
    name = f"{first:07d}"
    arrays |= {f"{name}.rows": rows, f"{name}.tracks": tracks_of(rows), f"{name}.pcm": sound}
    clips.append(Clip(name, first, len(rows), float(gain), measured))
    return None


def _features(motion_path: Path, record: Record, recipe: Recipe) -> Arrays:
    arrays = load_file(motion_path)
    encoder = encoder_of(recipe.encoder).encoder
    out = {}
    for clip in record.clips:
        starts = window_starts(clip.n_frames, recipe.geometry)
        if starts:
            out[clip.name] = window_features(arrays[f"{clip.name}.pcm"], clip.gain, starts, encoder, recipe.geometry)
    return out


def _count(total: dict[str, int], more: dict[str, int]) -> None:
    for reason, n_frames in more.items():
        if n_frames:
            total[reason] = total.get(reason, 0) + n_frames


@cache
def encoder_of(folder: Path | None) -> LoadedEncoder:
    """The encoder, loaded once per process."""
    return load(folder)


@cache
def _extractor(folder: Path) -> liveportrait.LoadedExtractor:
    return liveportrait.load_extractor(folder)
