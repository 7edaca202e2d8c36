"""What the motion DiT is trained for: whitened motion, the readouts that must be right, and the loss.

Flow matching with x-prediction (arXiv:2210.02747) on windows with context. In a growing share of steps the context is
what the network itself generated up to there, as when served (scheduled sampling, arXiv:1506.03099, on the outputs of
its own sampler). Knows nothing of optimisers or files.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.motion_dit.generator import EXPRESSION_TEMPERATURE, STEPS
from services.motion_dit.joint import return_from, without_jump
from services.motion_dit.model import MotionDiT
from services.motion_dit.sampler import denoise_in, smoothing
from shared.motion import EXP, PYR, SCALE, SLIDERS, basis, lip_opening, neutral_row
from shared.motion import T as TRANSLATION
from training.dataset import Batch
from training.handover import ContextNoise, spoil_context

FloatArray = NDArray[np.float32]

MIN_EXP_STD = 1e-4
FULL_PRESS = 0.4
WIDE_OPENING = 0.2
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
        p_pure_noise: share of windows trained at flow time 0 in particular.
        p_own_context: share of steps with self-generated context at the end of the run; it grows linearly from 0.
        velocity: weight of frame-to-frame differences.
        seam: weight of the frames right behind the context and of their steps, inside the velocity term.
        readout: weight of the readouts.
        closure: further weight of pressed lips in the readouts.
        vowel: the same of open lips, so that a vowel between two closures is not lost.
        touch: weight of any opening that is left where lips are pressed.
    """

    p_pure_noise: float = 0.25
    p_own_context: float = 0.6
    velocity: float = 0.5
    seam: float = 1.0
    readout: float = 1.0
    closure: float = 4.0
    vowel: float = 2.0
    touch: float = 0.4


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
    columns = []
    for name, weight in READOUT_WEIGHTS.items():
        column = lip_readout(decode) if name == "lips" else exp @ inverse[:, SLIDERS.index(name)]
        columns.append(np.sqrt(weight) * column / max(1e-9, float(np.linalg.norm(column))))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def lip_readout(rows: FloatArray) -> FloatArray:
    """The lip opening of rows (N, 70) without its dead zone, as a linear function of exp: (N,)."""
    far = 8.0 * basis()[0]
    opening: FloatArray = lip_opening((rows[:, EXP] + far).astype(np.float32)) - lip_opening(far[None])[0]
    return opening


class Objective(nn.Module):
    """The training loss; holds what does not change between steps, and no weights."""

    readouts: Tensor
    neutral: Tensor
    press: Tensor
    opening: Tensor
    is_pose: Tensor

    def __init__(self, model: MotionDiT, weights: LossWeights, noise: ContextNoise | None = None) -> None:
        super().__init__()
        self.weights, self.noise, self.config = weights, noise or ContextNoise(), model.config
        decode, mean = model.normaliser.decode_matrix.cpu().numpy(), model.normaliser.mean.cpu().numpy()
        press = np.linalg.pinv(basis().astype(np.float64))[:, SLIDERS.index("lip_press")].astype(np.float32)
        self.press_mean = float(mean[EXP] @ press)
        self.opening_mean = float(lip_readout(mean[None])[0]) + dead_zone()
        self.register_buffer("readouts", readouts(decode))
        self.register_buffer("press", torch.from_numpy(decode[:, EXP] @ press))
        self.register_buffer("opening", torch.from_numpy(lip_readout(decode)))
        self.register_buffer("neutral", model.normaliser.encode(torch.from_numpy(neutral_row())).detach())
        self.register_buffer("is_pose", model.normaliser.is_pose)

    def pressed(self, latent: Tensor) -> Tensor:
        """1 where whitened motion (B, N, L) presses the lips together, else 0, with a ramp: (B, N, 1)."""
        press: Tensor = ((latent @ self.press + self.press_mean) / FULL_PRESS).clamp(0.0, 1.0)[..., None]
        return press

    def forward(self, model: MotionDiT, batch: Batch, rng: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Losses of one batch; "total" is what is minimised.

        Args:
            model: the network.
            batch: windows.
            rng: of all draws, on the CPU.
            progress: of the run, 0 to 1.
        """
        with torch.autocast(batch.rows.device.type, enabled=False):
            clean = model.normaliser.encode(batch.rows)  # (B, N, L)
            if float(torch.rand((), generator=rng)) < progress * self.weights.p_own_context:
                batch, past, target = self._own_context(model, batch, clean, rng)
            else:
                past, target = spoil_context(clean, self.config.context, self.noise, self.is_pose, rng)
            x_0, t = self._noise(target, rng), self._times(len(target), rng).to(target.device)
            x_t = (1 - t)[:, None, None] * x_0 + t[:, None, None] * target  # (B, new, L)
            window = torch.cat([past, x_t], dim=1)  # (B, N, L)
        predicted = model(window, t, model.condition(batch.features, batch.tracks))[:, self.config.context :]
        with torch.autocast(batch.rows.device.type, enabled=False):
            return self._losses(predicted.float(), target, past[:, -1:])

    def _losses(self, predicted: Tensor, target: Tensor, last: Tensor) -> dict[str, Tensor]:
        weights, error = self.weights, predicted - target  # (B, new, L)
        x = error.square().mean()
        steps = torch.cat([torch.zeros_like(last), error], dim=1).diff(dim=1)
        joint = error[:, :SEAM_FRAMES].square().mean() + steps[:, :SEAM_FRAMES].square().mean()
        velocity = steps.square().mean() + weights.seam * joint
        pressed = self.pressed(target)
        opened = ((target @ self.opening + self.opening_mean) / WIDE_OPENING).clamp(0.0, 1.0)[..., None]
        emphasis = 1.0 + weights.closure * pressed + weights.vowel * opened
        readout = ((error @ self.readouts).square() * emphasis).mean()
        left_open = (predicted @ self.opening + self.opening_mean).clamp(min=0.0)[..., None] / 0.1
        touch = (left_open.square() * pressed.square()).mean()
        total = x + weights.velocity * velocity + weights.readout * readout + weights.touch * touch
        return {"total": total, "x": x, "velocity": velocity, "readout": readout, "touch": touch}

    def _times(self, n: int, rng: torch.Generator) -> Tensor:
        t = torch.rand(n, generator=rng)
        return torch.where(torch.rand(n, generator=rng) < self.weights.p_pure_noise, torch.zeros(()), t)

    def _noise(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Noise as the sampler draws it: white, smooth for pose."""
        white = torch.randn(like.shape, generator=rng).to(like.device)
        smooth = torch.from_numpy(smoothing(like.shape[1], self.config.pose_noise_s)).to(like.device) @ white
        return torch.where(self.is_pose, smooth, white)

    @torch.no_grad()
    def _own_context(
        self, model: MotionDiT, batch: Batch, clean: Tensor, rng: torch.Generator
    ) -> tuple[Batch, Tensor, Tensor]:
        """Cut each window in two; the network generates the first part, whose end is the context of the second.

        Returns:
            the second part with its context, (B, context, L) generated context, and the target that returns from it.
        """
        context, n_frames = self.config.context, clean.shape[1]
        longest = max(2, (n_frames - context - self.config.lookahead) * 2 // 3)
        n_new = int(torch.randint(max(1, longest // 4), longest, (), generator=rng))
        end = context + n_new  # of the first part
        seen = end + self.config.lookahead
        condition = model.condition(batch.features[:, :seen], batch.tracks[:, :seen])
        before = clean[:, :context]

        def denoise(x: Tensor, t: float) -> Tensor:
            predicted: Tensor = model(torch.cat([before, x], dim=1), x.new_full((len(x),), t), condition)
            return predicted[:, context:].float()

        x_0 = self._noise(clean[:, context:seen], rng)
        cooler = torch.where(self.is_pose, x_0, EXPRESSION_TEMPERATURE * x_0)
        drawn = denoise_in(STEPS, denoise, cooler, self.is_pose.float())
        past = torch.cat([before, without_jump(before, drawn, self.is_pose)], dim=1)[:, n_new:end]
        offset = past[:, -2:] - clean[:, end - 2 : end]
        target = clean[:, end:] + return_from(offset, n_frames - end, self.is_pose)
        rest = Batch(batch.features[:, n_new:], batch.rows[:, n_new:], batch.tracks[:, n_new:])
        return rest, past, target


def dead_zone() -> float:
    """The lip opening less its linear part, negative: what has to be overcome before the lips part."""
    far = 8.0 * basis()[0]
    once, twice = lip_opening(far[None])[0], lip_opening(2.0 * far[None])[0]
    return float(2.0 * once - twice)
