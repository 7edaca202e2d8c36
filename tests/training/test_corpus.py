# ruff: noqa: RUF001  phones are written in IPA letters
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigurationError
from training.corpus import (
    ENGLISH,
    HELD_SHARE,
    HELD_VARIANTS,
    OTHERS,
    SLOW_SHARE,
    TRAIN_SHARE,
    VARIANTS,
    join,
    make_shard,
    missing_shards,
    read_corpus,
    write_shard,
)
from training.crops import MIX
from training.espeak import RATE_HZ, Espeak, EspeakVoice, Speech, repair
from training.festvox import festival, flite, timed_phones
from training.labels import CLASSES, Phone
from training.texts import draw_text, load_texts

needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
needs_festival = pytest.mark.skipif(not shutil.which("festival"), reason="festival is not installed")
needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
VOICE = EspeakVoice("en-us", 170, 50, 50)


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def names(speech: Speech) -> list[str]:
    return [p.name for p in speech.phones if p.name]


@needs_espeak
def test_espeak_phones_cover_the_sound(espeak: Espeak) -> None:
    speech = espeak.speak("Bob moved.", VOICE)
    assert names(speech) == ["b", "ɑː", "b", "m", "uː", "v", "d"]
    assert all(a.end_s == b.start_s for a, b in pairwise(speech.phones))
    assert speech.phones[0].start_s == 0.0
    assert speech.phones[-1].end_s == pytest.approx(len(speech.wave) / 16_000, abs=1e-3)


@needs_espeak
def test_a_closure_belongs_to_the_stop(espeak: Espeak) -> None:
    speech = espeak.speak("A paper.", VOICE)
    stop = next(p for p in speech.phones if p.name == "p")
    closure = speech.wave[int(stop.start_s * 16_000) + 80 : int(stop.start_s * 16_000) + 480]
    assert stop.end_s - stop.start_s > 0.06
    assert np.abs(closure).max() < 0.02 * np.abs(speech.wave).max()


@needs_espeak
def test_a_pause_between_sentences_is_silence(espeak: Espeak) -> None:
    speech = espeak.speak("My boat, happily.", VOICE)
    pauses = [p for p in speech.phones if not p.name and p.start_s > 0.1]
    assert pauses
    assert pauses[0].end_s - pauses[0].start_s > 0.1


@needs_espeak
def test_an_unknown_voice_is_our_error(espeak: Espeak) -> None:
    with pytest.raises(ConfigurationError, match="knows no voice"):
        espeak.speak("Hello.", EspeakVoice("xx-nowhere", 170, 50, 50))


def test_a_closure_is_never_a_whole_phone() -> None:
    pcm = np.zeros(RATE_HZ, np.int16)
    pcm[0] = 10_000
    phones = [Phone("a", 0.0, 0.4), Phone("p", 0.4, 0.5), Phone("", 0.5, 1.0)]
    fixed = repair(phones, pcm)
    assert fixed[0].end_s == fixed[1].start_s == pytest.approx(0.27, abs=0.006)


@needs_flite
def test_flite_phones_cover_the_sound() -> None:
    speech = flite("Five boats.", "kal16", 1.0, 1.0)
    assert names(speech)[:3] == ["f", "aɪ", "v"]
    assert len(speech.wave) > 8000


@needs_festival
def test_festival_phones_cover_the_sound() -> None:
    speeches = festival(["Five boats.", 'Say "my".'], "ked_diphone")
    assert [names(s)[0] for s in speeches] == ["f", "s"]


def test_an_unknown_phone_is_our_error() -> None:
    with pytest.raises(ConfigurationError, match="unknown phone 'qq'"):
        timed_phones([("qq", 0.1)])


def test_texts_are_seeded_and_need_no_packages(tmp_path: Path) -> None:
    own = load_texts(tmp_path / "no", tmp_path / "none")
    assert len(own.sentences) >= 30
    draws = [[draw_text(own, np.random.default_rng(seed)) for _ in range(20)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_joined_sentences_have_silence_around_and_between() -> None:
    tone = Speech(np.ones(8000, np.float32) * 0.1, [Phone("m", 0.0, 0.4)])
    pcm, phones = join([tone, tone], np.random.default_rng(3))
    assert [p.name for p in phones] == ["", "m", "", "", "m", "", ""]
    assert phones[-1].end_s == pytest.approx(len(pcm) / 16_000)
    assert 0.1 <= phones[0].end_s <= 1.0
    assert not pcm[: int(phones[0].end_s * 16_000)].any()
    assert pcm[int(phones[1].start_s * 16_000) + 10] > 0


@needs_espeak
@needs_flite
@needs_festival
def test_a_shard_repeats_itself_and_survives_its_files(espeak: Espeak, tmp_path: Path) -> None:
    texts = load_texts()
    shard = make_shard("held", 7, espeak, texts, shard_s=4.0)
    again = make_shard("held", 7, espeak, texts, shard_s=4.0)
    write_shard(tmp_path, "held-00000", shard)
    back = read_corpus(tmp_path, "held")
    assert read_corpus(tmp_path, "train") == []
    assert {u.engine for u in back} == {"espeak", "flite", "festival"}
    for one, two, three in zip(shard, again, back, strict=True):
        assert one.text == two.text == three.text
        assert one.pcm.tobytes() == three.pcm.tobytes()
        assert [s.phone for s in one.segments] == [s.phone for s in two.segments]
        if one.engine == "espeak":  # carries some timing from one utterance to the next
            assert len(two.pcm) == pytest.approx(len(one.pcm), rel=0.01)
        else:
            assert one.pcm.tobytes() == two.pcm.tobytes()
        assert [s.cls for s in one.segments] == [s.cls for s in three.segments]
        assert three.segments[0].start_s == 0.0
        assert three.segments[-1].end_s == pytest.approx(len(three.pcm) / 16_000, abs=1e-4)
        assert CLASSES[three.segments[0].cls] == CLASSES[three.segments[-1].cls] == "SIL"


def test_held_voices_are_never_trained_on() -> None:
    assert not set(HELD_VARIANTS) & set(VARIANTS)
    assert set(HELD_SHARE) & set(TRAIN_SHARE) == {"espeak"}
    assert set(MIX) == set(TRAIN_SHARE)
    for share in (TRAIN_SHARE, SLOW_SHARE, HELD_SHARE, MIX):
        assert sum(share.values()) == pytest.approx(1.0)


def test_only_missing_shards_are_made_and_held_ones_first(tmp_path: Path) -> None:
    (tmp_path / "held-00001.jsonl").touch()
    shards = missing_shards(tmp_path, {"held": 2, "train": 2}, seed=3)
    assert [(kind, path.name) for kind, _, path in shards] == [
        ("held", "held-00000.jsonl"), ("train", "shard-00000.jsonl"), ("train", "shard-00001.jsonl"),
    ]  # fmt: skip
    assert len({seed for _, seed, _ in missing_shards(tmp_path, {"held": 90, "train": 90, "slow": 90}, 3)}) == 269


@needs_espeak
def test_every_language_exists(espeak: Espeak) -> None:
    for language in (*ENGLISH, *OTHERS):
        assert names(espeak.speak("Mama.", EspeakVoice(language, 170, 50, 50)))
