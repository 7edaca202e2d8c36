# ruff: noqa: RUF001  phones are written in IPA letters
import wave
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training.corpus import Utterance, write_shard
from training.encoder_scores import MARGINS, conditions, held_groups, lookahead, report, score, scores_of
from training.labels import CLASSES, OPENNESS, Phone, segments_of

SIL, PP, AA = (CLASSES.index(name) for name in ("SIL", "PP", "AA"))


def talk(index: int, voice: str = "awb", pause_s: float = 1.0) -> Utterance:
    """Silence, two seconds of a loud buzz labelled AA, silence."""
    buzz = np.sign(np.sin(2 * np.pi * (100.0 + 5 * index) * np.arange(32_000) / 16_000)) * 6000.0
    rest = np.zeros(int(16_000 * pause_s))
    phones = [Phone("", 0.0, pause_s), Phone("ɑː", pause_s, pause_s + 2.0), Phone("", pause_s + 2.0, 2 * pause_s + 2.0)]
    pcm = np.concatenate([rest, buzz, rest]).astype(np.int16)
    return Utterance(f"u{index}", "flite", voice, "held", "ah", index, pcm, segments_of(phones))


class Ear:
    """Calls every loud frame AA and every quiet one silence, by the level of its middle 20 ms."""

    def __init__(self, threshold: float = 0.03) -> None:
        self.threshold = threshold

    def __call__(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        level = sound.unfold(1, 720, 320)[..., 200:520].square().mean(-1).sqrt()
        guess = torch.where(level > self.threshold, AA, SIL)
        openness = torch.tensor(OPENNESS)[guess]
        return torch.nn.functional.one_hot(guess, len(CLASSES)).float(), openness


def test_scores_of_a_perfect_guess() -> None:
    truth = np.array([SIL, SIL, PP, CLASSES.index("FF"), AA, AA])
    openness = np.asarray(OPENNESS, np.float32)[truth]
    found = scores_of(truth, truth, openness, np.array([True, True, False, False, True, True]))
    assert astuple(found) == pytest.approx((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0))


def test_a_closure_far_from_any_bilabial_is_false() -> None:
    truth = np.array([AA, AA, AA, PP, SIL])
    guess = np.array([PP, AA, PP, PP, PP])
    found = scores_of(truth, guess, np.arange(5, dtype=np.float32), np.array([True, True, False, False, True]))
    assert found.false_closures == 0.5
    assert found.pp_precision == 0.25
    assert found.pp_recall == 1.0


def test_noise_is_heard_and_scored() -> None:
    utterances = [talk(i) for i in range(2)]
    adders = conditions({"awb": utterances})
    assert list(adders) == ["clean", "white", "babble", "music"]
    clean, noisy = (score(Ear(), utterances, adders[name]) for name in ("clean", "white"))
    assert clean.accuracy > 0.98
    assert clean.silence_recall > 0.98
    assert noisy.silence_recall < 0.1  # 10 dB below the speech is louder than the ear's threshold


def test_sound_after_the_cut_is_what_the_margin_gives() -> None:
    heard: list[int] = []

    def listen(sound: Tensor) -> tuple[Tensor, Tensor]:
        heard.append(sound.shape[1])
        return Ear()(sound)

    found = lookahead(listen, [talk(0, pause_s=2.0)])
    assert list(found) == list(MARGINS)
    assert min(found.values()) > 0.9
    assert (np.diff(heard[: len(MARGINS)]) == np.diff(MARGINS) * 640).all()


def test_the_report_has_every_condition_and_real_music(tmp_path: Path) -> None:
    write_shard(tmp_path, "held-00000", [talk(1), talk(2, "ked_diphone")])
    with wave.open(str(tmp_path / "tune.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(48_000) * 0.2) * 9000).astype("<i2").tobytes())
    assert list(held_groups(tmp_path)) == ["awb", "ked_diphone"]
    lines = list(report(Ear(), tmp_path, tmp_path))
    assert len(lines) == 2 * 4 + 4 + len(MARGINS)
    assert "no speech, music: called silence 0.000 of 1 pieces" in lines
