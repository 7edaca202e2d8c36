import json
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from training.train_config import FINE_TUNING_RATE, SCRATCH_RATE, TrainConfig, changed, from_arguments, from_json

NEEDED = ["--data", "a", "--run", "r", "--steps", "10"]


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"batch_size": 7, "seed": 9, "loss": {"velocity": 0.25}, "network": {"layers": 2}}))
    config = from_arguments([*NEEDED, "--data", "b", "--config", str(path), "--seed", "11"], "")
    assert config.data == ("a", "b")
    assert (config.batch_size, config.seed, config.steps) == (7, 11, 10)
    assert (config.loss.velocity, config.network.layers) == (0.25, 2)
    assert config.network.heads == TrainConfig((), "").network.heads
    config = from_arguments(
        [*NEEDED, "--config", str(path), "--set", "loss.velocity=2", "--set", "network.heads=6"], ""
    )
    assert (config.loss.velocity, config.network.heads, config.network.layers) == (2.0, 6, 2)


def test_a_saved_configuration_is_read_back() -> None:
    config = from_arguments([*NEEDED, "--data", "b", "--shares", "1", "3", "--ema", "0.5"], "")
    assert from_json(json.loads(json.dumps(config.as_json()))) == config
    assert config.shares == (1.0, 3.0)


def test_fine_tuning_learns_slower() -> None:
    assert from_arguments(NEEDED, "").peak_rate() == SCRATCH_RATE
    assert from_arguments([*NEEDED, "--init", "embedded"], "").peak_rate() == FINE_TUNING_RATE
    assert from_arguments([*NEEDED, "--learning-rate", "0.5"], "").peak_rate() == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "a", "--run", "r"], "minutes"),
        ([*NEEDED, "--minutes", "3"], "minutes"),
        (["--run", "r", "--steps", "1"], "--data"),
        ([*NEEDED, "--batch-size", "0"], "batch_size"),
        ([*NEEDED, "--ema", "1"], "ema"),
        ([*NEEDED, "--mixed-precision", "int4"], "int4"),
        ([*NEEDED, "--shares", "0.5", "0.5"], "shares"),
        ([*NEEDED, "--set", "loss.nothing=1"], r"loss\.nothing"),
        ([*NEEDED, "--set", "batchsize=1"], "batchsize"),
        ([*NEEDED, "--set", "batch_size=big"], "batch_size"),
        ([*NEEDED, "--set", "loss=3"], "loss"),
        ([*NEEDED, "--set", "loss"], "KEY=VALUE"),
        ([*NEEDED, "--config", "nowhere.json"], "nowhere"),
    ],
)
def test_what_cannot_be_run_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_arguments(arguments, "")


def test_a_run_goes_on_with_the_same_data_and_network_only() -> None:
    config = from_arguments(NEEDED, "")
    old = config.as_json()
    assert changed(old, from_arguments([*NEEDED[:-1], "99", "--learning-rate", "1e-4", "--workers", "2"], "")) == []
    other = from_arguments([*NEEDED, "--data", "b", "--set", "network.layers=1"], "")
    assert len(changed(old, other)) == 2
