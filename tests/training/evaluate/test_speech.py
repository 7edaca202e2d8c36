from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.motion import neutral_rows
from training.corpus import Utterance, write_shard
from training.evaluate.held_out import group_of, held_out, target_rows
from training.evaluate.speech import ALL, by_group, lips
from training.labels import CLASSES, Segment


def _utterance(name: str, engine: str, voice: str, split: str = "held", seconds: float = 6.0) -> Utterance:
    """Silence, then syllables ba of 0.4 s."""
    said = [("sil", 1.0)]
    while sum(duration for _, duration in said) < seconds - 1.0:
        said += [("PP", 0.12), ("aa", 0.28)]
    said.append(("sil", seconds - sum(duration for _, duration in said)))
    at, segments = 0.0, []
    for viseme, duration in said:
        segments.append(Segment(at, at + duration, viseme, ((viseme, 1.0),), 1.0, CLASSES.index("SIL")))
        at += duration
    level = np.random.default_rng(len(name)).normal(size=round(seconds * 16_000)) * 2000
    return Utterance(name, engine, voice, split, "ba ba", 7, level.astype(np.int16), segments)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    spoken = [
        _utterance("a", "flite", "awb"),
        _utterance("b", "flite", "awb"),
        _utterance("c", "espeak", "en+m5"),
        _utterance("d", "espeak", "en-us+f4"),
        _utterance("e", "flite", "awb", seconds=4.0),
        _utterance("f", "flite", "rms", split="train"),
    ]
    write_shard(tmp_path, "held-00000", spoken)
    return tmp_path


def test_only_long_held_out_speech_counts_and_every_group_gets_its_share(corpus: Path) -> None:
    assert sorted(u.id for u in held_out(corpus, 10)) == ["a", "b", "c", "d"]
    few = held_out(corpus, 2)
    assert sorted(group_of(u) for u in few) == ["espeak variants", "flite awb"]
    assert [u.id for u in held_out(corpus, 10, voice="awb")] == ["a", "b"]


def test_a_corpus_without_held_out_speech_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"training\.corpus"):
        held_out(tmp_path / "none", 10)
    with pytest.raises(ConfigurationError, match="nobody"):
        held_out(corpus, 10, voice="nobody")


def test_the_rules_on_true_labels_score_full_marks_and_closed_lips_none(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = by_group(held_out(corpus, 10))
    truth = {u.pcm.tobytes(): target_rows(u) for part in groups.values() for u in part}

    def perfect(pcm: NDArray[np.int16], seed: int) -> NDArray[np.float32]:
        return truth[pcm.tobytes()]

    def mute(pcm: NDArray[np.int16], seed: int) -> NDArray[np.float32]:
        rows = neutral_rows(-(-len(pcm) // 640))
        rows[:, 58] = 1e-4 * seed  # something that moves, but parts no lips
        return rows

    good, bad = lips(groups, perfect, "truth"), lips(groups, mute, "nobody")
    for row in good.values():
        assert row["bilabials_at_0"] == row["open_vowels_wide"] == row["closed_in_silence"] == 1.0
        assert row["target_correlation"] == pytest.approx(1.0)
    assert bad[ALL]["open_vowels_wide"] == 0.0
    assert bad[ALL]["target_open_vowels_wide"] == 1.0
    assert good[ALL]["n_bilabials"] == 40
    assert "Lips on known phones by nobody" in capsys.readouterr().out
