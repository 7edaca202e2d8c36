"""What the motion DiT is trained for: whitened motion, the readouts that must be right, and the loss.

Flow matching with x-prediction (arXiv:2210.02747) on windows with context. Knows nothing of optimisers or files.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.motion_dit.model import MotionDiT
from shared.motion import EXP, PYR, SCALE, SLIDERS, basis, lip_opening, neutral_row
from shared.motion import T as TRANSLATION
from training.dataset import Batch, ContextNoise, spoil_context

FloatArray = NDArray[np.float32]

MIN_EXP_STD = 1e-4
FULL_PRESS = 0.4
SEAM_FRAMES = 3  # new frames right behind the context, which must go on from it
READOUT_WEIGHTS = {
    "lips": 3.0,
    "jaw_open": 1.0,
    "lip_press": 1.0,
    "blink_left": 1.0,
    "lip_pucker": 0.5,
    "lip_wide": 0.5,
}


@dataclass(frozen=True)
class LossWeights:
    """Numbers of the loss.

    Attributes:
        p_without_sound: share of windows that train the branch without sound (arXiv:2207.12598).
        p_pure_noise: share of windows trained at flow time 0 in particular.
        velocity: weight of frame-to-frame differences.
        seam: weight of the frames right behind the context, inside the velocity term.
        readout: weight of the readouts.
        closure: further weight of pressed lips in the readouts.
    """

    p_without_sound: float = 0.1
    p_pure_noise: float = 0.15
    velocity: float = 0.5
    seam: float = 1.0
    readout: float = 0.5
    closure: float = 3.0


def fit_normaliser(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Whiten rows: principal axes of exp, other columns by their own deviation; constant ones are dropped.

    Args:
        rows: (N, 70).

    Returns:
        mean (70,) and decode matrix (L, 70).
    """
    mean = neutral_row()
    mean[EXP] = rows[:, EXP].mean(axis=0)
    _, singular, axes = np.linalg.svd((rows - mean)[:, EXP].astype(np.float64), full_matrices=False)
    deviations = singular / np.sqrt(len(rows))
    directions: list[FloatArray] = []
    for deviation, axis in zip(deviations, axes, strict=True):
        if deviation > MIN_EXP_STD:
            direction = np.zeros(len(mean), np.float32)
            direction[EXP] = deviation * axis
            directions.append(direction)
    others = [SCALE, *range(TRANSLATION.start, TRANSLATION.stop), *range(PYR.start, PYR.stop)]
    for column in others:
        deviation = float(np.sqrt(np.mean((rows[:, column] - mean[column]) ** 2)))
        if deviation > 1e-6:
            directions.append(deviation * np.eye(len(mean), dtype=np.float32)[column])
    return mean.astype(np.float32), np.stack(directions)


def set_normaliser(model: MotionDiT, mean: FloatArray, decode: FloatArray) -> None:
    """Store the map and its pseudo-inverse in the model."""
    model.normaliser.mean.copy_(torch.from_numpy(mean))
    model.normaliser.decode_matrix.copy_(torch.from_numpy(decode))
    model.normaliser.encode_matrix.copy_(torch.from_numpy(np.linalg.pinv(decode.astype(np.float64)).astype(np.float32)))


def readouts(decode: FloatArray) -> Tensor:
    """Linear readouts of whitened motion that must be right (lip opening, some sliders), unit variance: (L, R)."""
    exp = decode[:, EXP].astype(np.float64)
    inverse = np.linalg.pinv(basis().astype(np.float64))
    far = 8.0 * basis()[0]
    columns = []
    for name, weight in READOUT_WEIGHTS.items():
        if name == "lips":
            column = lip_opening((exp + far).astype(np.float32)) - lip_opening(far[None])[0]
        else:
            column = exp @ inverse[:, SLIDERS.index(name)]
        columns.append(np.sqrt(weight) * column / max(1e-9, float(np.linalg.norm(column))))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


class Objective:
    """The training loss; holds what does not change between steps."""

    def __init__(self, model: MotionDiT, weights: LossWeights, noise: ContextNoise | None = None) -> None:
        self.weights, self.noise, self.context = weights, noise or ContextNoise(), model.config.context
        self.readouts = readouts(model.normaliser.decode_matrix.numpy())
        self.neutral = model.normaliser.encode(torch.from_numpy(neutral_row()))
        press = np.linalg.pinv(basis().astype(np.float64))[:, SLIDERS.index("lip_press")].astype(np.float32)
        self.press = torch.from_numpy(model.normaliser.decode_matrix.numpy()[:, EXP] @ press)
        self.press_mean = float(model.normaliser.mean.numpy()[EXP] @ press)

    def pressed(self, latent: Tensor) -> Tensor:
        """1 where whitened motion (B, N, L) presses the lips together, else 0, with a ramp: (B, N, 1)."""
        press: Tensor = ((latent @ self.press + self.press_mean) / FULL_PRESS).clamp(0.0, 1.0)[..., None]
        return press

    def __call__(self, model: MotionDiT, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """Losses of one batch; "total" is what is minimised."""
        weights, context = self.weights, self.context
        n_batch = len(batch.rows)
        clean = model.normaliser.encode(batch.rows)  # (B, N, L)
        past, target = spoil_context(clean, context, self.noise, self.neutral, rng)
        t = torch.rand(n_batch, generator=rng)
        t = torch.where(torch.rand(n_batch, generator=rng) < weights.p_pure_noise, torch.zeros(()), t)
        x_0 = torch.randn(target.shape, generator=rng)
        x_t = (1 - t)[:, None, None] * x_0 + t[:, None, None] * target  # (B, new, L)
        window = torch.cat([past, x_t], dim=1)  # (B, N, L)
        has_sound = torch.rand(n_batch, generator=rng) >= weights.p_without_sound
        predicted = model(window, t, model.condition(batch.features, batch.tracks, has_sound)).float()
        error = predicted[:, context:] - target  # (B, new, L)
        x = error.square().mean()
        seam = torch.cat([torch.zeros_like(error[:, :1]), error], dim=1)
        velocity = seam.diff(dim=1).square().mean() + weights.seam * error[:, :SEAM_FRAMES].square().mean()
        heard = has_sound.float()[:, None, None]
        emphasis = heard * (1.0 + weights.closure * self.pressed(target))
        readout = ((error @ self.readouts).square() * emphasis).mean()
        total = x + weights.velocity * velocity + weights.readout * readout
        return {"total": total, "x": x, "velocity": velocity, "readout": readout}
