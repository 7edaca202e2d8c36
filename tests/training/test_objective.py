from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.motion_dit.model import DiTConfig, MotionDiT
from shared.motion import EXP, ROW, lip_opening
from tests.training.test_dataset import _utterance, _windows
from training.dataset import Batch, motion_of
from training.labels import Segment
from training.objective import LossWeights, Objective, fit_normaliser, readouts, set_normaliser

CONFIG = DiTConfig(feature_size=5, hidden=32, layers=1, heads=2, pose_noise_s=0.6)


def _model(rows: NDArray[np.float32]) -> MotionDiT:
    torch.manual_seed(0)
    mean, decode = fit_normaliser(rows)
    model = MotionDiT(replace(CONFIG, latent_size=len(decode)))
    set_normaliser(model, mean, decode)
    return model


def _batch(n: int = 4) -> Batch:
    return _windows().batch(np.arange(n) % 3, np.random.default_rng(0))


def test_normalised_motion_is_white_and_comes_back() -> None:
    rows = _windows().rows()
    mean, decode = fit_normaliser(rows)
    encode = np.linalg.pinv(decode)
    latent = (rows - mean) @ encode
    assert decode.shape[1] == ROW
    assert np.allclose(np.sqrt(np.mean(latent**2, axis=0)), 1.0, atol=1e-3)
    assert np.allclose(mean + latent @ decode, rows, atol=2e-3)


def test_pose_coordinates_are_known() -> None:
    model = _model(_windows().rows())
    decode, is_pose = model.normaliser.decode_matrix.numpy(), model.normaliser.is_pose.numpy()
    assert not decode[is_pose][:, EXP].any()
    assert decode[~is_pose][:, EXP].any(axis=1).all()
    assert 3 <= is_pose.sum() <= 7


def test_the_lip_readout_is_the_lip_opening() -> None:
    rows = _windows().rows()
    mean, decode = fit_normaliser(rows)
    latent = torch.from_numpy(((rows - mean) @ np.linalg.pinv(decode)).astype(np.float32))
    readout = (latent @ readouts(decode))[:, 0].numpy()
    opening = lip_opening(rows[:, EXP])
    is_open = opening > 0.05
    assert np.corrcoef(readout[is_open], opening[is_open])[0, 1] > 0.999


def test_the_objective_reads_the_opening_with_its_dead_zone() -> None:
    rows = _windows().rows()
    model = _model(rows)
    objective = Objective(model, LossWeights())
    latent = model.normaliser.encode(torch.from_numpy(rows))
    read = (latent @ objective.opening + objective.opening_mean).clamp(min=0.0).numpy()
    np.testing.assert_allclose(read, lip_opening(rows[:, EXP]), atol=2e-3)


def test_pressed_lips_are_recognised_in_whitened_motion() -> None:
    segments = [Segment(0.4 * i, 0.4 * i + 0.4, v, ((v, 1.0),), 1.0, 0) for i, v in enumerate(["aa", "PP", "iy", "ou"])]
    rows = motion_of(replace(_utterance(), segments=segments), 40, [0])[0].rows
    model = _model(rows)
    latent = model.normaliser.encode(torch.from_numpy(rows))
    pressed = Objective(model, LossWeights()).pressed(latent[None])[0, :, 0].numpy()
    assert pressed.shape == (40,)
    assert pressed[11:13].min() > 0.9
    assert pressed[:8].max() < 0.1
    assert pressed[24:].max() < 0.1


@pytest.mark.parametrize("p_own_context", [0.0, 1.0])
def test_the_loss_falls_with_its_gradient_and_repeats_with_its_seed(p_own_context: float) -> None:
    torch.set_num_threads(1)
    batch, weights = _batch(), LossWeights(p_own_context=p_own_context)
    model = _model(_windows().rows())
    objective = Objective(model, weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss(step: int) -> torch.Tensor:
        losses: dict[str, torch.Tensor] = objective(model, batch, torch.Generator().manual_seed(step), 1.0)
        return losses["total"]

    first = loss(0)
    assert torch.equal(first, loss(0))
    for step in range(12):
        optimizer.zero_grad()
        loss(step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss(0).item() < 0.8 * first.item()


def test_the_networks_own_context_comes_with_a_target_that_goes_on_from_it() -> None:
    batch = _batch()
    model = _model(_windows().rows())
    with torch.no_grad():  # a network that always says the same, far from the truth
        model.final.bias.fill_(2.0)
    objective = Objective(model, LossWeights())
    clean = model.normaliser.encode(batch.rows)
    rest, past, target = objective._own_context(model, batch, clean, torch.Generator().manual_seed(1))
    assert past.shape[1] == CONFIG.context
    assert rest.features.shape[1] == CONFIG.context + target.shape[1] < batch.features.shape[1]
    n = target.shape[1]
    exp = ~model.normaliser.is_pose
    assert torch.allclose(past[..., exp], torch.full_like(past[..., exp], 2.0), atol=1e-4)
    gap = (target[:, 0] - past[:, -1]).abs() / (clean[:, -n] - past[:, -1]).abs().clamp(min=0.5)
    assert float(gap[:, exp].mean()) < 0.6  # the first step is a part of the way
    torch.testing.assert_close(target[:, -1][:, exp], clean[:, -1][:, exp], atol=1e-3, rtol=0)


def test_windows_shorter_than_usual_can_be_cut_too() -> None:
    batch = _batch()
    short = Batch(batch.features[:, :14], batch.rows[:, :14], batch.tracks[:, :14])
    model = _model(_windows().rows())
    losses = Objective(model, LossWeights(p_own_context=1.0))(model, short, torch.Generator().manual_seed(0), 1.0)
    assert torch.isfinite(losses["total"])
