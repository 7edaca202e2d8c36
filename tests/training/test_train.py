import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shared.errors import ConfigurationError
from tests.training.tiny_training import tiny_config, tiny_data
from training.checkpoints import BEST, LAST, load
from training.train import main, make_accelerator, train
from training.train_config import TrainConfig


def _train(config: TrainConfig) -> dict[str, object]:
    torch.set_num_threads(1)
    accelerator = make_accelerator(config)
    result = train(config, accelerator, tiny_data())
    for tracker in accelerator.trackers:
        tracker.finish()
    return result


def test_a_run_leaves_its_files_and_goes_on_where_it_was(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "run", steps=3)
    first = _train(config)
    saved = load(tmp_path / "run" / LAST)
    assert (first["steps"], first["windows"], saved.step) == (3, 12, 3)
    assert saved.facts["train"][0]["n_windows"] == 24
    assert load(tmp_path / "run" / BEST).best == min(saved.initial["total"], saved.validation["total"])
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["config"] == config.as_json()

    second = _train(replace(config, steps=5))
    assert (second["steps"], second["windows"]) == (5, 20)
    assert load(tmp_path / "run" / LAST).initial == saved.initial
    (scalars,) = {path.parent for path in (tmp_path / "run").rglob("events.*") if path.parent.name == "scalars"}
    events = EventAccumulator(str(scalars)).Reload()
    assert [event.step for event in events.Scalars("train/total")] == [1, 2, 3, 4, 5]
    assert [event.step for event in events.Scalars("held/total")] == [0, 3, 5]

    with pytest.raises(ConfigurationError, match="batch_size was 4, is 2"):
        _train(replace(config, steps=6, batch_size=2))


def test_what_cannot_be_trained_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nothing"), "--run", str(tmp_path), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert "nothing" in error
    assert "training.video" in error
    assert "Traceback" not in error
    assert main(["--data", str(tmp_path), "--run", str(tmp_path), "--steps", "1", "--set", "los.x=1"]) == 2
    assert "los" in capsys.readouterr().err
