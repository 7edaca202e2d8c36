"""Shards: one safetensors file per source video and stage, its record in the file's own header.

    OUT/motion/ab/KEY.safetensors      NAME.rows (N, 70), NAME.tracks (N, 3) float32, NAME.pcm (640 N,) int16
    OUT/features/ab/KEY.safetensors    NAME (W, context + hop + look-ahead, D) float16
    OUT/manifest.json                  made from the headers when a run ends

KEY is the SHA-256 of the video, NAME the clip's first frame. A shard is written aside and renamed, so it is there whole
or not at all: killing a run at any moment loses the videos in work and nothing else, and nothing can be there twice.
A shard counts when its stamp is the one that the present code, options and weights would give it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from shared.errors import ArtifactUnavailable
from shared.timeline import Geometry
from training.sources import EncoderFacts, Split
from training.video.quality import Facts

FORMAT = "talkinghead-shards-1"
MANIFEST = "manifest.json"
HEADER, RECORD, STAMP = "shard", "record", "stamp"
HASH_BLOCK_BYTES = 1 << 22

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Clip:
    """A stretch of one video that is in the data set.

    Attributes:
        name: of its tensors in the shard.
        first_frame: of the video, at 25 fps.
        n_frames: rows.
        gain: of its sound.
        facts: what was measured.
    """

    name: str
    first_frame: int
    n_frames: int
    gain: float
    facts: Facts


@dataclass(frozen=True)
class Record:
    """What became of one video.

    Attributes:
        key: SHA-256 of the file.
        source: path below the folder of videos.
        split: train or held.
        seconds: length of its pictures.
        rate: nominal pictures per second.
        clips: accepted ones.
        rejected: frames lost, by reason.
    """

    key: str
    source: str
    split: Split
    seconds: float
    rate: float
    clips: tuple[Clip, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def shard_path(folder: Path, stage: str, key: str) -> Path:
    """Where a video's shard of a stage ("motion", "features") lies."""
    return folder / stage / key[:2] / f"{key}.safetensors"


def stamp_of(**facts: object) -> str:
    """A short hash of everything that a shard's content depends on."""
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_shard(path: Path, arrays: Arrays, stamp: str, record: Record | None = None) -> None:
    """Write a shard aside, bring it to the disk, rename it.

    Raises:
        ArtifactUnavailable: the disk is full, or the folder cannot be written to.
    """
    part = path.with_name(f"{path.stem}.{os.getpid()}.part")
    # One entry: safetensors keeps several in no order, and equal shards have equal bytes.
    metadata = {HEADER: json.dumps({STAMP: stamp, RECORD: asdict(record) if record else None})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part, metadata=metadata)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactUnavailable(f"{path} cannot be written: {error}. Make room or choose another --out.") from error


def read_header(path: Path) -> dict[str, Any]:
    """Stamp and record of a shard; empty when there is none, or none that can be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            return header
    except (OSError, SafetensorError, ValueError):
        return {}


def read_record(path: Path, stamp: str) -> Record | None:
    """The record of a shard that has this stamp."""
    header = read_header(path)
    return parse_record(header[RECORD]) if header.get(STAMP) == stamp else None


def parse_record(document: dict[str, Any]) -> Record:
    """A record from its JSON."""
    clips = tuple(Clip(**{**clip, "facts": Facts(**clip["facts"])}) for clip in document["clips"])
    return Record(**{**document, "clips": clips})


@dataclass(frozen=True)
class Manifest:
    """The data set.

    Attributes:
        extractor: how motion was measured.
        geometry: how windows are cut.
        encoder: what made their features.
        motion_stamp: of the motion shards.
        features_stamp: of the feature shards.
        records: of all videos, also those without a clip.
        failed: source -> error code and message.
        duplicates: source -> the equal one that was used.
    """

    extractor: str
    geometry: Geometry
    encoder: EncoderFacts
    motion_stamp: str
    features_stamp: str
    records: tuple[Record, ...]
    failed: dict[str, str]
    duplicates: dict[str, str]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, renamed into place."""
    path = folder / MANIFEST
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
