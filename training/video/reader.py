"""Shards -> windows for the trainer: the same batches as from synthetic speech.

Windows are cut as they are served: window 0 of a clip has silence and the neutral row as context, and its head starts
from rest; all others have the clip's own frames as context. Tensors stay on disk and are mapped when asked for.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from services.motion_dit.events import EVENT_SIZE
from shared.errors import ConfigurationError
from shared.motion import PYR, ROW, SCALE, neutral_rows
from shared.motion import T as TRANSLATION
from shared.timeline import FPS, Geometry
from training.dataset import Batch
from training.sources import EncoderFacts, SourceFacts, Split
from training.video.features import window_starts
from training.video.shards import FORMAT, MANIFEST, Clip, Manifest, parse_record, shard_path

Floats = NDArray[np.float32]

MAX_ROWS = 200_000
OPEN_FILES = 256
EASE_IN_S = 1.0  # as in the synthetic targets


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ConfigurationError: missing, damaged, or of another format.
    """
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document.pop("format", None)
        if found != FORMAT:
            raise ConfigurationError(f"{path} is of format {found!r}; expected {FORMAT!r}. Prepare the videos again.")
        return Manifest(
            **{
                **document,
                "geometry": Geometry(**document["geometry"]),
                "encoder": EncoderFacts(**document["encoder"]),
                "records": tuple(parse_record(record) for record in document["records"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as a manifest ({error}); run python -m training.video.prepare to its end."
        ) from error


def open_shards(folder: Path, split: Split) -> "VideoWindows":
    """Windows of one split of a prepared folder.

    Raises:
        ConfigurationError: no manifest, or a shard that it names is missing.
    """
    return VideoWindows(folder, read_manifest(folder), split)


class VideoWindows:
    """Windows of one split; see `training.sources.WindowSource`.

    Args:
        folder: of the shards.
        manifest: of it.
        split: by source video, as the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: Split) -> None:
        self._folder, self._geometry = folder, manifest.geometry
        self._clips: list[tuple[str, Clip]] = [
            (record.key, clip) for record in manifest.records if record.split == split for clip in record.clips
        ]
        self._places = [
            (index, number, start)
            for index, (_, clip) in enumerate(self._clips)
            for number, start in enumerate(window_starts(clip.n_frames, manifest.geometry))
        ]
        for key in {key for key, _ in self._clips}:
            for stage in ("motion", "features"):
                if not shard_path(folder, stage, key).exists():
                    raise ConfigurationError(f"{shard_path(folder, stage, key)} is missing; prepare the videos again.")
        frames = sum(clip.n_frames for _, clip in self._clips)
        self.facts = SourceFacts(
            kind="video",
            folder=str(folder),
            n_clips=len(self._clips),
            n_windows=len(self._places),
            seconds=frames / FPS,
            geometry=manifest.geometry,
            encoder=manifest.encoder,
        )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._places)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Exactly these windows in this order; nothing in them is random."""
        del rng
        parts = [self._window(*self._places[int(index)]) for index in indices]
        return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True)))

    def rows(self) -> Floats:
        """Motion of the split, every n-th frame of it where it is long: (N, 70)."""
        total = sum(clip.n_frames for _, clip in self._clips)
        step = max(1, -(-total // MAX_ROWS))
        parts = [self._shard("motion", key).get_slice(f"{clip.name}.rows")[::step] for key, clip in self._clips]
        rows: Floats = np.concatenate([*parts, np.zeros((0, ROW), np.float32)]).astype(np.float32)
        return rows

    def clips(self) -> list[tuple[str, Clip]]:
        """Key of the video and clip, in order."""
        return list(self._clips)

    def _window(self, index: int, number: int, start: int) -> tuple[Floats, Floats, Floats]:
        key, clip = self._clips[index]
        features = self._shard("features", key).get_slice(clip.name)[number]
        begin, end = start - self._geometry.context, start + self._geometry.length - self._geometry.context
        motion = self._shard("motion", key)
        rows = motion.get_slice(f"{clip.name}.rows")[max(0, begin) : end]
        tracks = motion.get_slice(f"{clip.name}.tracks")[max(0, begin) : end]
        if begin < 0:
            rows = np.concatenate([neutral_rows(-begin), from_rest(rows)])
            tracks = np.concatenate([np.zeros((-begin, EVENT_SIZE), np.float32), tracks])
        return features.astype(np.float32), rows.astype(np.float32), tracks.astype(np.float32)

    def _shard(self, stage: str, key: str) -> Any:
        path = shard_path(self._folder, stage, key)
        return _opened(path, path.stat().st_mtime_ns)


def from_rest(rows: Floats) -> Floats:
    """Rows whose head starts from the resting pose and is on its way after a second; lips and eyes stay: (N, 70)."""
    x = np.clip(np.arange(len(rows)) / (EASE_IN_S * FPS), 0.0, 1.0)[:, None]
    ease = (x * x * (3 - 2 * x)).astype(np.float32)
    out = rows.copy()
    out[:, PYR] *= ease
    out[:, TRANSLATION] *= ease
    out[:, SCALE] = 1.0 + ease[:, 0] * (rows[:, SCALE] - 1.0)
    return out


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, written_ns: int) -> Any:
    """A mapped shard; one that was written anew is another."""
    del written_ns
    try:
        return safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); delete it and prepare the videos again.") from error
