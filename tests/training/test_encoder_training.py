# ruff: noqa: RUF001  phones are written in IPA letters
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.audio_encoder.model import load_encoder
from shared.timeline import Geometry
from training.augment import Augmentation
from training.corpus import Utterance, write_shard
from training.crops import Batch, Crops, prepare, speech_gain
from training.encoder_heads import load_with_heads
from training.labels import CLASSES, Phone, segments_of
from training.train_encoder import Recipe, export, load_run, loss_of, new_model, read_config, schedule, train


def utterance(index: int, voice: str = "rms", split: str = "train") -> Utterance:
    """One second of silence, one of a loud buzz labelled AA, one of silence."""
    rng = np.random.default_rng(index)
    buzz = np.sign(np.sin(2 * np.pi * (100.0 + 5 * index) * np.arange(16_000) / 16_000)) * 6000.0
    pcm = np.concatenate([np.zeros(16_000), buzz + rng.standard_normal(16_000) * 300.0, np.zeros(16_000)])
    segments = segments_of([Phone("", 0.0, 1.0), Phone("ɑː", 1.0, 2.0), Phone("", 2.0, 3.0)])
    return Utterance(f"u{index}", "flite", voice, split, "ah", index, pcm.astype(np.int16), segments)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    write_shard(folder, "shard-00000", [utterance(i) for i in range(6)])
    write_shard(folder, "held-00000", [utterance(9, "awb", "held")])
    return folder


def crops_of(corpus: Path, settings: Augmentation) -> Crops:
    return Crops(corpus, n_rows=4, n_frames=64, receptive_field=720, seed=1, settings=settings)


def test_gain_brings_speech_to_the_reference() -> None:
    pcm = (np.sign(np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000)) * 3276.8).astype(np.int16)
    assert speech_gain(pcm) == pytest.approx(2.0, rel=1e-3)
    assert speech_gain(np.zeros(16_000, np.int16)) == 1.0
    assert speech_gain(np.ones(16_000, np.int16)) == 100.0


def test_batches_are_seeded_and_in_shape(corpus: Path) -> None:
    first = [next(iter(crops_of(corpus, Augmentation()))) for _ in range(2)]
    assert first[0].wave.shape == (4, 63 * 320 + 720)
    assert first[0].classes.shape == first[0].openness.shape == (4, 64)
    assert torch.equal(first[0].wave, first[1].wave)
    assert torch.equal(first[0].classes, first[1].classes)


def test_labels_follow_the_sound_through_speed_and_cuts(corpus: Path) -> None:
    settings = Augmentation(
        p_speed=1.0, p_eq=0, p_low_pass=0, p_high_pass=0, p_reverb=0, p_noise=0, p_babble=0, p_music=0, p_mu_law=0,
        p_clip=0, p_cut=0.5, p_fill=0, p_no_speech=0, p_breath=0, p_breathy=0,
    )  # fmt: skip
    batches = iter(crops_of(corpus, settings))
    wrong = total = 0
    for _ in range(5):
        batch = next(batches)
        level = batch.wave.unfold(1, 720, 320)[..., 200:520].square().mean(-1).sqrt()
        loudest = level.amax(dim=1, keepdim=True)
        is_loud = (level > 0.3 * loudest) & (loudest > 0.005)
        wrong += int((is_loud != (batch.classes == CLASSES.index("AA"))).sum())
        total += batch.classes.numel()
    assert wrong / total < 0.03  # edges of the buzz


def test_background_without_speech_is_silence_as_loud_as_speech(corpus: Path) -> None:
    crops = crops_of(corpus, Augmentation(p_no_speech=1.0, p_breath=0, level_db=0.0))
    batches = [next(batch) for batch in [iter(crops)] for _ in range(4)]
    assert all((batch.classes == CLASSES.index("SIL")).all() for batch in batches)
    level = torch.cat([batch.wave.square().mean(1).sqrt() for batch in batches])
    assert level.median() > 0.05


@pytest.mark.parametrize(("p_breath", "breathes"), [(1.0, True), (0.0, False)])
def test_breaths_sound_in_pauses(corpus: Path, p_breath: float, breathes: bool) -> None:
    quiet: dict[str, Any] = {f.name: 0.0 for f in fields(Augmentation) if f.name.startswith("p_")}
    batch = next(iter(crops_of(corpus, Augmentation(level_db=0.0, **quiet | {"p_breath": p_breath}))))
    for wave, classes in zip(batch.wave, batch.classes, strict=True):
        level = wave.unfold(0, 720, 320)[:, 200:520].square().mean(-1).sqrt()
        pause = level[classes == CLASSES.index("SIL")]
        if pause.numel() > 30:  # of which at least 15 in one pause
            assert (int((pause > 1e-4).sum()) > 8) == breathes


def test_missed_closures_cost_more_and_missed_silence_less() -> None:
    model = new_model(read_config())
    for p in (model.classify.weight, model.classify.bias, model.open.weight, model.open.bias):
        torch.nn.init.zeros_(p)
    model.classify.bias.data[CLASSES.index("AX")] = 5.0
    wave, openness = torch.zeros(1, 720 + 9 * 320), torch.zeros(1, 10)
    losses = []
    for missed in ("PP", "FF", "DD", "SIL"):
        classes = torch.full((1, 10), CLASSES.index("AX"))
        classes[0, 5:] = CLASSES.index(missed)
        losses.append(float(loss_of(model, Batch(wave, classes, openness)).detach()))
    assert losses[0] == pytest.approx(losses[1])
    assert losses[1] > 1.1 * losses[2] > 1.2 * losses[3]


def test_the_learning_rate_warms_up_and_falls_to_one_percent() -> None:
    assert schedule(0, 0.0, 100) == pytest.approx(0.01)
    assert schedule(500, 0.0, 100) == pytest.approx(1.0)
    assert schedule(500, 0.5, 100) == pytest.approx(0.505)
    assert schedule(500, 1.5, 100) == pytest.approx(0.01)


def test_a_short_run_saves_resumes_exports_and_scores(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = Recipe(minutes=0.02, n_rows=2, n_frames=32)
    train(corpus, run, recipe)
    first = torch.load(run / "last.pt", weights_only=True)["step"]
    train(corpus, run, Recipe(minutes=0.04, n_rows=2, n_frames=32))
    assert torch.load(run / "last.pt", weights_only=True)["step"] > first
    folder = tmp_path / "exported"
    export(run, folder)
    rows = load_encoder(folder).encode(np.zeros(61_200, np.float32), 1.0, Geometry())
    assert rows.shape == (75, 193)
    wave = torch.randn(1, 16_000)
    for shipped, trained in zip(load_with_heads(folder)(wave), load_run(run)(wave), strict=True):
        torch.testing.assert_close(shipped, trained, atol=0.03, rtol=0.03)


def test_a_run_starts_from_exported_weights_where_asked(corpus: Path, tmp_path: Path) -> None:
    recipe = Recipe(minutes=1e-6, n_rows=1, n_frames=8, learning_rate=0.0)
    train(corpus, tmp_path / "first", recipe)
    export(tmp_path / "first", tmp_path / "exported")
    train(corpus, tmp_path / "second", Recipe(1e-6, 1, 8, 0.0, seed=8), tmp_path / "exported" / "model.safetensors")
    one, two = (load_run(tmp_path / name).state_dict() for name in ("first", "second"))
    key = "encoder.encoder.layers.0.attention.k_proj.weight"
    torch.testing.assert_close(one[key], two[key], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(one["classify.weight"], two["classify.weight"], atol=1e-2)


def test_preparing_labels_every_five_milliseconds() -> None:
    sound = prepare(utterance(0))
    assert len(sound.grid) == 600
    assert (np.flatnonzero(sound.grid)[[0, -1]] == [200, 399]).all()
