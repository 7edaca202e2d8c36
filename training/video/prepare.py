"""A folder of videos -> a folder of shards for the trainer. START HERE for training on your own data.

    python -m training.video.prepare --videos FOLDER --out SHARDS
    python -m training.video.prepare --videos FOLDER --out SHARDS --motion liveportrait --weights FOLDER --jobs 8

Run it again after an interruption, with more videos, or with another encoder: what is there is not made twice. Whole
videos are held out, never windows: those below ``held/``, the rest by a hash of the sub-folder they lie in, so that the
videos of one person stay together when every person has a folder, else by a hash of their names. A file that cannot be
read is reported and the others go on. The last line is a JSON summary; docs/decisions/0018 tells what is measured and
how.
"""

import argparse
import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from shared.bundles import load_bundle
from shared.errors import (
    ConfigurationError,
    DependencyError,
    InputError,
    ModelError,
    NonFiniteOutput,
    TalkingHeadError,
    UnsupportedMedia,
)
from shared.timeline import FPS
from training.sources import Split
from training.video import liveportrait, motion
from training.video.decode import SUFFIXES, find_videos
from training.video.process import Done, Method, Recipe, Task, encoder_of, process, stamps
from training.video.quality import Limits
from training.video.shards import Manifest, hash_of, write_manifest

log = logging.getLogger(__name__)

HELD_SHARE = 0.1
# What decoders, OpenCV and numerics raise for strange pictures; one such file must not end a long run.
UNFORESEEN = (ArithmeticError, LookupError, RuntimeError, ValueError, cv2.error)


def split_of(source: str, held_share: float) -> Split:
    """The split of a video by its path below the folder of videos."""
    parts = source.split("/")
    if len(parts) > 1 and parts[0] in ("train", "held"):
        return "held" if parts[0] == "held" else "train"
    group = parts[0]
    return "held" if int(sha256(group.encode()).hexdigest()[:8], 16) < held_share * 2**32 else "train"


def plan(videos: Path, held_share: float, limit: int | None) -> tuple[list[Task], dict[str, str]]:
    """Tasks of a folder, and videos that are copies of another.

    Raises:
        ConfigurationError: there is no video.
    """
    paths = find_videos(videos)[:limit]
    if not paths:
        raise ConfigurationError(f"{videos} holds no video; expected files such as {', '.join(SUFFIXES[:5])}.")
    tasks: dict[str, Task] = {}
    duplicates: dict[str, str] = {}
    for path in tqdm(paths, desc="reading", unit="file", disable=None):
        source = path.relative_to(videos).as_posix()
        key = hash_of(path)
        if key in tasks:
            duplicates[source] = tasks[key].source
        else:
            tasks[key] = Task(path, source, key, split_of(source, held_share))
    return list(tasks.values()), duplicates


def prepare(tasks: Sequence[Task], recipe: Recipe, jobs: int, duplicates: dict[str, str]) -> dict[str, object]:
    """Make all shards and the manifest; returns the summary.

    Raises:
        TalkingHeadError: weights do not fit, or a worker process died.
    """
    of_motion, of_features = stamps(recipe)
    done: dict[str, Done] = {}
    failed: dict[str, str] = {}
    with tqdm(total=len(tasks), desc="videos", unit="file", disable=None) as bar:
        for task, result in _results(tasks, recipe, jobs):
            if isinstance(result, Done):
                done[task.key] = result
            else:
                failed[task.source] = f"{result.code}: {result.message}"
                log.warning("%s: %s", task.source, result.message)
            bar.update()
    records = tuple(sorted((d.record for d in done.values()), key=lambda r: r.source))
    encoder = encoder_of(recipe.encoder).facts
    extractor = motion.EXTRACTOR if recipe.method == "sliders" else liveportrait.EXTRACTOR
    manifest = Manifest(extractor, recipe.geometry, encoder, of_motion, of_features, records, failed, duplicates)
    write_manifest(recipe.out, manifest)
    return {**summary(manifest), "new": sum(d.made_motion for d in done.values())}


def summary(manifest: Manifest) -> dict[str, object]:
    """Totals of a manifest."""
    rejected: dict[str, float] = {}
    accepted = {"train": 0, "held": 0}
    for record in manifest.records:
        accepted[record.split] += sum(clip.n_frames for clip in record.clips)
        for reason, n_frames in record.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + n_frames
    return {
        "videos": len(manifest.records),
        "failed": manifest.failed,
        "duplicates": len(manifest.duplicates),
        "clips": sum(len(record.clips) for record in manifest.records),
        "seconds_seen": round(sum(record.seconds for record in manifest.records), 1),
        **{f"seconds_{split}": round(n / FPS, 1) for split, n in accepted.items()},
        "rejected_s": {reason: round(n / FPS, 1) for reason, n in sorted(rejected.items())},
        "extractor": manifest.extractor,
        "encoder": manifest.encoder.sha256[:12],
    }


def _results(tasks: Sequence[Task], recipe: Recipe, jobs: int) -> Iterator[tuple[Task, Done | TalkingHeadError]]:
    """Every task with what it gave or the error of its file; other errors end the run."""
    if jobs == 1:
        _start_worker()
        for task in tasks:
            yield task, _attempt(task, recipe)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker) as pool:
        futures: dict[Future[Done | TalkingHeadError], Task] = {
            pool.submit(_attempt, task, recipe): task for task in tasks
        }
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise DependencyError(
                    "a worker process died, probably for want of memory. What is finished is kept: run again, with "
                    "fewer --jobs."
                ) from error


def _attempt(task: Task, recipe: Recipe) -> Done | TalkingHeadError:
    """Process a video; what is wrong with it alone comes back as its error, anything else is raised."""
    try:
        return process(task, recipe)
    except (InputError, NonFiniteOutput) as error:
        return error
    except UNFORESEEN as error:
        log.debug("%s", task.source, exc_info=True)
        return UnsupportedMedia(f"{task.path.name} cannot be measured ({type(error).__name__}: {error}); left out.")


def _start_worker() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder, searched with all below it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--motion", choices=("sliders", "liveportrait"), default="sliders")
    parser.add_argument("--weights", type=Path, help="folder of LivePortrait's weights")
    parser.add_argument("--encoder", type=Path, help="folder of an audio encoder; the shipped one without it")
    parser.add_argument("--bundle", default="embedded", help="whose window geometry to use")
    parser.add_argument("--lookahead", type=int, help="frames of look-ahead, instead of the bundle's")
    parser.add_argument("--jobs", type=int, default=1, help="processes; about 1 GB of memory each")
    parser.add_argument("--limit", type=int, help="only so many videos, by name")
    parser.add_argument("--held-share", type=float, default=HELD_SHARE)
    parser.add_argument("--min-face-px", type=float, default=Limits.face_px)
    parser.add_argument("--min-clip-s", type=float, default=Limits.clip_s[0])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when at least one clip is in the data set."""
    args = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        method: Method = args.motion
        if args.min_clip_s < Limits.clip_s[0]:
            raise ConfigurationError(
                f"--min-clip-s is {args.min_clip_s:g}; expected at least {Limits.clip_s[0]:g}: whether the lips of a "
                "shorter clip belong to its sound cannot be told from chance."
            )
        limits = Limits(face_px=args.min_face_px, clip_s=(args.min_clip_s, Limits.clip_s[1]))
        geometry = load_bundle(args.bundle).geometry
        if args.lookahead is not None:
            geometry = replace(geometry, lookahead=args.lookahead)
        recipe = Recipe(args.out, method, args.weights, args.encoder, geometry, limits)
        tasks, duplicates = plan(args.videos, args.held_share, args.limit)
        result = prepare(tasks, recipe, max(1, args.jobs), duplicates)
    except (InputError, ModelError, DependencyError) as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0 if result["clips"] else 1


if __name__ == "__main__":
    sys.exit(main())
