from pathlib import Path

import numpy as np
import pytest
import torch

from services.motion_dit.checkpoint import save_checkpoint
from shared.errors import ConfigurationError, ShapeError, WeightsMismatch
from shared.motion import EXP
from tests.training.tiny_training import tiny_config, tiny_data
from training.start import facts_of, open_data, open_source, span_of, start_model, widen


def test_a_fresh_network_expresses_its_data(tmp_path: Path) -> None:
    train, _ = tiny_data()
    model = start_model(tiny_config(tmp_path), train)
    span = span_of(model, train.parts[0].rows())
    assert span.exp_lost < 0.01
    assert span.lips_rms < 0.01
    assert span.latent_std[0] == pytest.approx(1.0, abs=0.05)


def test_motion_outside_a_networks_coordinates_is_measured(tmp_path: Path) -> None:
    train, _ = tiny_data()
    model = start_model(tiny_config(tmp_path), train)
    rows = train.parts[0].rows().copy()
    encode = model.normaliser.encode_matrix.numpy()[EXP]
    outside = np.linalg.svd(encode.T)[2][-1]  # a direction of expressions that the network cannot say
    spread = np.mean((rows[:, EXP] - rows[:, EXP].mean(axis=0)) ** 2)
    amount = np.random.default_rng(0).normal(size=(len(rows), 1)) * np.sqrt(63 * spread / 3)
    rows[:, EXP] += (amount * outside).astype(np.float32)
    assert span_of(model, rows).exp_lost == pytest.approx(0.25, abs=0.03)


def test_fine_tuning_starts_from_the_checkpoint_and_takes_the_look_ahead_of_the_data(tmp_path: Path) -> None:
    train, held = tiny_data()
    model = start_model(tiny_config(tmp_path, seed=8), train)
    path = tmp_path / "motion.safetensors"
    save_checkpoint(model, path)
    config = tiny_config(tmp_path, init=str(path))
    again = start_model(config, train)
    assert again.config.lookahead == train.parts[0].facts.geometry.lookahead
    for name, value in model.state_dict().items():
        exact = name.startswith("normaliser.")
        assert torch.equal(again.state_dict()[name], value if exact else value.half().float())
    assert facts_of(config, again, (train, held))["span"]["exp_lost"] < 0.01
    assert "span" not in facts_of(tiny_config(tmp_path), model, (train, held))


def test_coordinates_that_move_more_than_they_did_get_a_larger_unit(tmp_path: Path) -> None:
    train, _ = tiny_data()
    model, wide = (start_model(tiny_config(tmp_path), train) for _ in range(2))
    factors = torch.ones(model.config.latent_size)
    factors[[0, 3]] = torch.tensor([7.0, 2.0])
    latent = model.normaliser.encode(torch.from_numpy(train.parts[0].rows()))
    lively = model.normaliser.decode(latent * factors)
    widen(wide, lively.numpy())
    encoded = wide.normaliser.encode(lively)
    assert torch.allclose(encoded.square().mean(dim=0).sqrt(), torch.ones(len(factors)), atol=0.05)
    assert torch.allclose(wide.normaliser.decode(encoded), lively, atol=1e-3)
    ratio = wide.normaliser.decode_matrix.norm(dim=1) / model.normaliser.decode_matrix.norm(dim=1)
    assert torch.allclose(ratio, factors, rtol=0.05)
    assert ratio[[1, 2]].tolist() == [1.0, 1.0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), wide.parameters(), strict=True))


def test_data_that_a_network_cannot_read_is_refused(tmp_path: Path) -> None:
    train, _ = tiny_data()
    with pytest.raises(ShapeError, match="193"):
        start_model(tiny_config(tmp_path, init="embedded"), train)
    with pytest.raises(WeightsMismatch, match="nowhere"):
        start_model(tiny_config(tmp_path, init=str(tmp_path / "nowhere.pt")), train)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no training data"):
        open_source(tmp_path, "train")
    with pytest.raises(ConfigurationError, match="no training data"):
        open_data(tiny_config(tmp_path, data=(str(tmp_path / "missing"),)))
