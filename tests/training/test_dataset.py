from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import ConfigurationError
from shared.motion import EXP, PYR, lip_opening, neutral_rows
from shared.timeline import Geometry
from training.corpus import Utterance, write_shard
from training.dataset import MotionWindows, motion_of, open_windows
from training.features import Origin, Windows, load_origin, save_origin, save_windows
from training.labels import Segment
from training.scenes import idle_clips
from training.sources import EncoderFacts

GEOMETRY = Geometry()


def _utterance() -> Utterance:
    pcm = (8000 * np.sin(np.arange(48_000) / 10)).astype(np.int16)
    segments = [
        Segment(0.0, 0.5, "", (("sil", 1.0),), 1.0, 0),
        Segment(0.5, 2.5, "a", (("aa", 1.0),), 1.0, 9),
        Segment(2.5, 3.0, "", (("sil", 1.0),), 1.0, 0),
    ]
    return Utterance("u", "espeak", "v", "train", "", 4, pcm, segments)


def _windows() -> MotionWindows:
    features = np.zeros((3, 75, 5), np.float16)
    features[:, :, 0] = np.arange(3)[:, None]
    source = Windows(features, np.zeros(3, np.int64), np.array([0, 65, 30]))
    return MotionWindows([_utterance()], [source], GEOMETRY, n_heads=2)


def test_window_zero_starts_from_neutral_rows_and_no_events() -> None:
    batch = _windows().batch(np.array([0]), np.random.default_rng(0))
    assert batch.rows.shape == (1, 75, 70)
    assert np.array_equal(batch.rows[0, :10].numpy(), neutral_rows(10))
    assert not batch.tracks[0, :10].any()


def test_context_is_the_motion_before_the_window() -> None:
    windows = _windows()
    batch = windows.batch(np.array([1, 2]), np.random.default_rng(0))
    heads = np.random.default_rng(0).integers(2, size=2)
    first, second = (windows.motions[0][int(head)] for head in heads)
    assert np.array_equal(batch.rows[0].numpy(), first.rows[55:130])
    assert np.array_equal(batch.rows[1].numpy(), second.rows[20:95])
    assert np.array_equal(batch.tracks[1].numpy(), second.tracks[20:95])
    assert float(batch.features[1, 0, 0]) == 2.0


def test_windows_of_several_phases_are_counted_through() -> None:
    one = _windows().windows[0]
    other = replace(one, features=one.features + np.float16(10))
    windows = MotionWindows([_utterance()], [one, other], GEOMETRY, n_heads=1)
    assert len(windows) == 6
    batch = windows.batch(np.array([2, 3, 5]), np.random.default_rng(0))
    assert batch.features[:, 0, 0].tolist() == [2.0, 10.0, 12.0]


def test_looking_ahead_lengthens_the_windows() -> None:
    source = _windows().windows[0]
    longer = replace(source, features=np.pad(source.features, ((0, 0), (0, 4), (0, 0))))
    windows = MotionWindows([_utterance()], [longer], Geometry(lookahead=4), n_heads=1)
    batch = windows.batch(np.array([1]), np.random.default_rng(0))
    assert batch.rows.shape == (1, 79, 70)
    assert np.array_equal(batch.rows[0].numpy(), windows.motions[0][0].rows[55:134])


def test_features_on_disk_are_opened_with_the_clips_they_were_made_from(tmp_path: Path) -> None:
    corpus, folder = tmp_path / "corpus", tmp_path / "features"
    corpus.mkdir()
    write_shard(corpus, "shard-00000", [replace(_utterance(), id=f"u{i}") for i in range(4)])
    origin = Origin(str(corpus), 2, 2, 11, 4, EncoderFacts("embedded", "0", 4, 720))
    save_origin(origin, folder)
    assert load_origin(folder) == origin
    with pytest.raises(ConfigurationError, match="no features"):
        open_windows(folder, "train")
    features = np.zeros((2, 79, 5), np.float16)
    save_windows(Windows(features, np.array([0, 1]), np.array([0, 65])), folder / "train-0.npz")
    windows = open_windows(folder, "train")
    assert (len(windows), windows.facts.n_clips, windows.facts.geometry.lookahead) == (2, 2, 4)
    assert windows.batch(np.array([0, 1]), np.random.default_rng(0)).rows.shape == (2, 79, 70)


def test_nobody_speaks_in_an_idle_clip() -> None:
    for clip in idle_clips(3, seed=1):
        motion = motion_of(clip, 150, [0])[0]
        assert lip_opening(motion.rows[:, EXP]).max() == 0
        assert motion.rows[:, PYR].std() > 0.1


def test_motion_follows_the_labels_and_ends_in_silence() -> None:
    motion = motion_of(_utterance(), 160, [0])[0]
    opening = lip_opening(motion.rows[:, EXP])
    assert opening[20:55].min() > 0.2
    assert opening[80:].max() == 0


def test_batches_repeat_with_their_seed() -> None:
    windows, indices = _windows(), np.arange(3)
    one, again = (windows.batch(indices, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one.rows, again.rows)
    others = [windows.batch(indices, np.random.default_rng(seed)).rows for seed in range(4, 10)]
    assert any(not torch.equal(one.rows, other) for other in others)
