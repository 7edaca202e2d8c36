from dataclasses import replace

import numpy as np
import torch

from services.motion_dit.model import DiTConfig
from shared.motion import EXP, ROW, lip_opening
from tests.training.test_dataset import _utterance, _windows
from training.dataset import motion_of
from training.labels import Segment
from training.objective import LossWeights, Objective, fit_normaliser, readouts
from training.train_dit import Recipe, start_run

CONFIG = DiTConfig(feature_size=5, hidden=32, layers=1, heads=2)


def test_normalised_motion_is_white_and_comes_back() -> None:
    rows = _windows().all_rows()
    mean, decode = fit_normaliser(rows)
    encode = np.linalg.pinv(decode)
    latent = (rows - mean) @ encode
    assert decode.shape[1] == ROW
    assert np.allclose(np.sqrt(np.mean(latent**2, axis=0)), 1.0, atol=1e-3)
    assert np.allclose(mean + latent @ decode, rows, atol=2e-3)


def test_the_lip_readout_is_the_lip_opening() -> None:
    rows = _windows().all_rows()
    mean, decode = fit_normaliser(rows)
    latent = torch.from_numpy(((rows - mean) @ np.linalg.pinv(decode)).astype(np.float32))
    readout = (latent @ readouts(decode))[:, 0].numpy()
    opening = lip_opening(rows[:, EXP])
    is_open = opening > 0.05
    assert np.corrcoef(readout[is_open], opening[is_open])[0, 1] > 0.999


def test_pressed_lips_are_recognised_in_whitened_motion() -> None:
    segments = [Segment(0.4 * i, 0.4 * i + 0.4, v, ((v, 1.0),), 1.0, 0) for i, v in enumerate(["aa", "PP", "iy", "ou"])]
    rows = motion_of(replace(_utterance(), segments=segments), 40, [0])[0].rows
    run = start_run(rows, CONFIG, Recipe())
    latent = run.model.normaliser.encode(torch.from_numpy(rows))
    pressed = Objective(run.model, LossWeights()).pressed(latent[None])[0, :, 0].numpy()
    assert pressed.shape == (40,)
    assert pressed[11:13].min() > 0.9
    assert pressed[:8].max() < 0.1
    assert pressed[24:].max() < 0.1
