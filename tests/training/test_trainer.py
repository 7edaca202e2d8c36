from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from services.motion_dit.model import MotionDiT
from shared.errors import WeightsMismatch
from tests.training.tiny_training import tiny_config, tiny_data
from training.checkpoints import LAST, initial_model, load
from training.start import start_model
from training.train_config import TrainConfig
from training.trainer import Trainer, average_of, parameter_groups, rate_factor


def _trainer(config: TrainConfig) -> Trainer:
    torch.set_num_threads(1)
    data = tiny_data()
    return Trainer(
        config, start_model(config, data[0]), data, Accelerator(gradient_accumulation_steps=config.accumulation)
    )


def _losses(trainer: Trainer, n_steps: int) -> list[float]:
    return [float(trainer.step(trainer.progress())["total"]) for _ in range(n_steps)]


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_a_run_that_was_interrupted_gives_the_losses_of_one_that_was_not(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    whole = _trainer(config)
    expected = _losses(whole, 6)
    first = _trainer(config)
    found = _losses(first, 3)
    first.validate()
    first.save(tmp_path / LAST)
    again = _trainer(config)
    again.resume(tmp_path / LAST)
    found += _losses(again, 3)
    assert found == expected
    assert len(set(found)) == 6
    assert (again.place.step, again.place.number) == (6, 6)
    for mine, theirs in zip(_tensors(again.model), _tensors(whole.model), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(_tensors(again.average.module), _tensors(whole.average.module), strict=True):
        assert torch.equal(mine, theirs)


def test_a_few_windows_are_learnt_by_heart(tmp_path: Path) -> None:
    trainer = _trainer(tiny_config(tmp_path, steps=80, batch_size=8, learning_rate=1e-2))
    before = trainer.validate()["total"]
    losses = _losses(trainer, 80)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert trainer.validate()["total"] < 0.8 * before


def test_accumulated_batches_are_the_mean_of_their_parts(tmp_path: Path) -> None:
    trainer = _trainer(tiny_config(tmp_path, accumulation=3))
    losses = trainer.step(0.0)
    assert trainer.place.number == 3
    separate = _trainer(tiny_config(tmp_path, learning_rate=1e-12))
    parts = _losses(separate, 3)
    assert float(losses["total"]) == pytest.approx(sum(parts) / 3, rel=1e-5)


def test_the_average_forgets_early_weights_quickly_and_late_ones_slowly() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = average_of(model, 0.9)
    (weight,) = average.module.parameters()
    values = [3.0, 5.0, -1.0]
    expected = values[0]
    for n, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        if n:
            decay = min(0.9, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * value
    assert float(weight) == pytest.approx(expected)
    average.n_averaged += 1000
    nn.init.constant_(model.weight, 0.0)
    average.update_parameters(model)
    assert float(weight) == pytest.approx(0.9 * expected)
    assert weight.dtype == torch.float32


def test_only_matrices_and_kernels_decay(tmp_path: Path) -> None:
    model = start_model(tiny_config(tmp_path), tiny_data()[0])
    decayed, kept = parameter_groups(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    kept_names = {names[id(p)] for p in kept["params"]}  # type: ignore[attr-defined]
    decayed_names = {names[id(p)] for p in decayed["params"]}  # type: ignore[attr-defined]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert not any(name.endswith("bias") for name in decayed_names)
    assert {"place.weight", "final.bias"} <= kept_names
    assert {"sound.first.weight", "final.weight"} <= decayed_names
    assert kept_names | decayed_names == set(names.values())


def test_validation_sees_the_same_windows_and_noise_every_time(tmp_path: Path) -> None:
    trainer = _trainer(tiny_config(tmp_path))
    first = trainer.validate()
    assert trainer.validate() == first
    _losses(trainer, 2)
    assert trainer.validate() != first


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    trainer = _trainer(tiny_config(tmp_path, clip_norm=1e-3))
    assert float(trainer.step(0.0)["gradient_norm"]) > 0.1
    moments = [state["exp_avg"].square().sum() for state in trainer.optimizer.state.values()]
    assert float(torch.stack(moments).sum().sqrt()) == pytest.approx(0.1 * 1e-3, rel=1e-3)  # (1 - beta_1) g


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [rate_factor(step, step / 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) < 1.0
    assert rates[100] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_run_is_where_another_begins(tmp_path: Path) -> None:
    trainer = _trainer(tiny_config(tmp_path))
    _losses(trainer, 3)
    trainer.save(tmp_path / LAST)
    model = initial_model(str(tmp_path))
    assert isinstance(model, MotionDiT)
    for mine, theirs in zip(_tensors(model), _tensors(trainer.average.module), strict=True):
        assert torch.equal(mine, theirs)
    other = start_model(tiny_config(tmp_path / "b", init=str(tmp_path)), tiny_data()[0])
    for mine, theirs in zip(_tensors(other), _tensors(trainer.average.module), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("data", [b"", b"no run", None])
def test_a_damaged_run_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / LAST
    if data is None:
        torch.save({"format": "another"}, path)
    else:
        path.write_bytes(data)
    with pytest.raises(WeightsMismatch, match=r"last\.pt"):
        load(path)
