from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from services.motion_dit.checkpoint import load_checkpoint, save_checkpoint
from services.motion_dit.model import DiTConfig
from shared.timeline import Geometry
from tests.training.test_dataset import _utterance
from training.dataset import MotionWindows
from training.features import Windows
from training.train_dit import (
    Recipe,
    averaged_model,
    resume_run,
    save_run,
    schedule,
    start_run,
    train,
)

CONFIG = DiTConfig(feature_size=5, hidden=32, layers=1, heads=2)
RECIPE = Recipe(minutes=0.05, batch_size=4, warm_up_steps=5, save_every_s=1.0)


def _windows() -> MotionWindows:
    features = np.random.default_rng(0).normal(size=(4, 75, 5)).astype(np.float16)
    source = Windows(features, np.zeros(4, np.int64), np.array([0, 65, 30, 10]))
    return MotionWindows([_utterance()], [source], Geometry())


def test_training_lowers_the_loss_and_resumes(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    windows, path = _windows(), tmp_path / "last.pt"
    run = start_run(windows.all_rows(), CONFIG, RECIPE)
    before = {name: value.clone() for name, value in run.average.state.items()}
    train(run, windows, RECIPE, path)
    again = resume_run(path, RECIPE)
    assert again.step == run.step > 5
    assert again.used_s >= 3.0
    for name, value in run.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
    assert any(not torch.equal(before[name], value) for name, value in again.average.state.items())
    train(again, windows, replace(RECIPE, minutes=0.08), path)
    assert again.step > run.step


def test_the_average_is_exported(tmp_path: Path) -> None:
    run = start_run(_windows().all_rows(), CONFIG, RECIPE)
    run.average.state["final.bias"].add_(1.0)
    save_run(run, tmp_path / "last.pt")
    save_checkpoint(averaged_model(tmp_path / "last.pt"), tmp_path / "m.safetensors")
    model = load_checkpoint(tmp_path / "m.safetensors")
    assert torch.equal(model.final.bias, torch.ones_like(model.final.bias))


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [schedule(step, step / 100, 10) for step in range(101)]
    assert rates[0] == 0.1 * schedule(9, 0.0, 10)
    assert max(rates) < 1.0
    assert rates[100] < 0.02
