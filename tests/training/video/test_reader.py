from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.errors import ConfigurationError
from shared.motion import EXP, PYR, neutral_rows
from tests.training.video.conftest import SMALL
from training.video.features import window_features, window_starts
from training.video.process import encoder_of
from training.video.reader import open_shards, read_manifest
from training.video.shards import shard_path

RNG = np.random.default_rng(0)


def test_windows_are_the_clip_cut_as_served(shards: tuple[Path, dict[str, object]]) -> None:
    source = open_shards(shards[0], "held")
    ((key, clip),) = source.clips()
    arrays = load_file(shard_path(shards[0], "motion", key))
    starts = window_starts(clip.n_frames, SMALL)
    assert len(source) == len(starts) == source.facts.n_windows == 4
    batch = source.batch(np.arange(len(source)), RNG)
    assert batch.features.shape == (4, SMALL.length, source.facts.encoder.hidden_size + 1)
    assert batch.rows.shape == (4, SMALL.length, 70)
    assert batch.tracks.shape == (4, SMALL.length, 3)
    for i, start in enumerate(starts[1:], 1):
        part = slice(start - SMALL.context, start - SMALL.context + SMALL.length)
        assert (batch.rows[i].numpy() == arrays[f"{clip.name}.rows"][part]).all()
        assert (batch.tracks[i].numpy() == arrays[f"{clip.name}.tracks"][part]).all()
    again = window_features(arrays[f"{clip.name}.pcm"], clip.gain, starts, encoder_of(None).encoder, SMALL)
    assert (batch.features.numpy() == again.astype(np.float32)).all()


def test_the_first_window_starts_from_rest(shards: tuple[Path, dict[str, object]]) -> None:
    source = open_shards(shards[0], "held")
    rows = source.batch(np.array([0]), RNG).rows[0].numpy()
    assert (rows[: SMALL.context] == neutral_rows(SMALL.context)).all()
    assert (rows[SMALL.context, PYR] == 0).all()
    own = source.rows()[: SMALL.length - SMALL.context]
    assert (rows[SMALL.context :, EXP] == own[:, EXP]).all()
    assert (rows[-5:] == own[-5:]).all()


def test_windows_come_in_the_order_asked_for(shards: tuple[Path, dict[str, object]]) -> None:
    source = open_shards(shards[0], "held")
    one, other = source.batch(np.array([2, 1]), RNG), source.batch(np.array([1, 2, 2]), RNG)
    assert (one.rows[0] == other.rows[1]).all()
    assert (one.features[1] == other.features[0]).all()


def test_the_other_split_has_nothing_of_it(shards: tuple[Path, dict[str, object]]) -> None:
    source = open_shards(shards[0], "train")
    assert (len(source), source.facts.n_clips, source.facts.seconds) == (0, 0, 0.0)
    assert source.rows().shape == (0, 70)


@pytest.mark.parametrize("content", [None, "{", '{"format": "other"}', '{"format": "talkinghead-shards-1"}'])
def test_a_folder_without_a_good_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"manifest\.json"):
        open_shards(tmp_path, "train")


def test_a_missing_shard_is_named(shards: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((shards[0] / "manifest.json").read_bytes())
    key = next(record.key for record in read_manifest(tmp_path).records)
    with pytest.raises(ConfigurationError, match=key):
        open_shards(tmp_path, "held")


@pytest.mark.parametrize(("n_frames", "starts"), [(43, []), (44, [0]), (54, [0, 10]), (79, [0, 10]), (80, [0, 10, 36])])
def test_every_window_has_all_its_frames(n_frames: int, starts: list[int]) -> None:
    assert window_starts(n_frames, SMALL) == starts
