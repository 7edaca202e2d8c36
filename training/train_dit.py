"""Train the shipped motion DiT: flow matching with x-prediction on windows of synthetic speech.

    python -m training.features                             # once per encoder
    python -m training.train_dit --minutes 40               # resumes from .cache/motion/last.pt
    python -m training.evaluate                             # held-out voices
    python -m training.export                               # writes services/motion_dit/embedded.safetensors

The learning rate follows the clock, not a step count. Weights are averaged (EMA); the average is what is exported.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.motion_dit.model import DiTConfig, MotionDiT
from shared.motion import EXP, PYR, SCALE, SLIDERS, basis, lip_opening, neutral_row
from shared.motion import T as TRANSLATION
from shared.timeline import Geometry
from training.corpus import read_corpus
from training.dataset import Batch, ContextNoise, MotionWindows, spoil_context
from training.features import load_windows

log = logging.getLogger(__name__)

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
class Recipe:
    """Numbers of a run."""

    minutes: float = 40.0
    batch_size: int = 32
    learning_rate: float = 1.0e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.999
    p_without_sound: float = 0.1
    p_pure_noise: float = 0.15
    velocity_weight: float = 0.5
    seam_weight: float = 1.0
    readout_weight: float = 0.5
    closure_weight: float = 3.0
    save_every_s: float = 120.0
    seed: int = 5


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

    def __init__(self, model: MotionDiT, recipe: Recipe, noise: ContextNoise | None = None) -> None:
        self.recipe, self.noise, self.context = recipe, noise or ContextNoise(), model.config.context
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
        recipe, context = self.recipe, self.context
        n_batch = len(batch.rows)
        clean = model.normaliser.encode(batch.rows)  # (B, N, L)
        past, target = spoil_context(clean, context, self.noise, self.neutral, rng)
        t = torch.rand(n_batch, generator=rng)
        t = torch.where(torch.rand(n_batch, generator=rng) < recipe.p_pure_noise, torch.zeros(()), t)
        x_0 = torch.randn(target.shape, generator=rng)
        x_t = (1 - t)[:, None, None] * x_0 + t[:, None, None] * target  # (B, new, L)
        window = torch.cat([past, x_t], dim=1)  # (B, N, L)
        has_sound = torch.rand(n_batch, generator=rng) >= recipe.p_without_sound
        predicted = model(window, t, model.condition(batch.features, batch.tracks, has_sound)).float()
        error = predicted[:, context:] - target  # (B, new, L)
        x = error.square().mean()
        seam = torch.cat([torch.zeros_like(error[:, :1]), error], dim=1)
        velocity = seam.diff(dim=1).square().mean() + recipe.seam_weight * error[:, :SEAM_FRAMES].square().mean()
        heard = has_sound.float()[:, None, None]
        weight = heard * (1.0 + recipe.closure_weight * self.pressed(target))
        readout = ((error @ self.readouts).square() * weight).mean()
        total = x + recipe.velocity_weight * velocity + recipe.readout_weight * readout
        return {"total": total, "x": x, "velocity": velocity, "readout": readout}


class Averaged:
    """Exponential moving average of a model's weights, with a short memory at the beginning."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take the weights after a step into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                self.state[name].lerp_(value, 1 - decay)


@dataclass
class Run:
    """A training run in memory: what `save_run` writes and `resume_run` restores."""

    model: MotionDiT
    average: Averaged
    optimizer: torch.optim.Optimizer
    step: int = 0
    used_s: float = 0.0


def start_run(rows: FloatArray, config: DiTConfig, recipe: Recipe) -> Run:
    """A new run whose normaliser fits ``rows``."""
    torch.manual_seed(recipe.seed)
    mean, decode = fit_normaliser(rows)
    model = MotionDiT(replace(config, latent_size=len(decode)))
    set_normaliser(model, mean, decode)
    return Run(model, Averaged(model, recipe.ema), _optimizer(model, recipe))


def save_run(run: Run, path: Path) -> None:
    """Write everything needed to go on, renamed into place."""
    part = path.with_suffix(".part")
    torch.save(
        {
            "config": vars(run.model.config),
            "model": run.model.state_dict(),
            "average": run.average.state,
            "optimizer": run.optimizer.state_dict(),
            "step": run.step,
            "used_s": run.used_s,
        },
        part,
    )
    part.rename(path)


def resume_run(path: Path, recipe: Recipe) -> Run:
    """Restore what `save_run` wrote."""
    saved = torch.load(path, weights_only=True)
    model = MotionDiT(DiTConfig(**saved["config"]))
    model.load_state_dict(saved["model"])
    run = Run(model, Averaged(model, recipe.ema), _optimizer(model, recipe), saved["step"], saved["used_s"])
    run.average.state = saved["average"]
    run.optimizer.load_state_dict(saved["optimizer"])
    return run


def averaged_model(path: Path) -> MotionDiT:
    """The averaged weights of a saved run, ready for use."""
    saved = torch.load(path, weights_only=True)
    model = MotionDiT(DiTConfig(**saved["config"]))
    model.load_state_dict(saved["average"])
    return model.eval()


def train(run: Run, windows: MotionWindows, recipe: Recipe, path: Path) -> None:
    """Train until the minutes are used up, saving now and then."""
    objective = Objective(run.model, recipe)
    rng = torch.Generator().manual_seed(recipe.seed + run.step)
    began, saved = time.monotonic(), time.monotonic()
    start_s = run.used_s
    history: list[dict[str, float]] = []
    for batch in windows.batches(recipe.batch_size, recipe.seed + run.step):
        run.used_s = start_s + time.monotonic() - began
        done = run.used_s / (60.0 * recipe.minutes)
        for group in run.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(run.step, done, recipe.warm_up_steps)
        history.append(_step(run, objective, batch, recipe, rng))
        if run.step % 100 == 0:
            recent = {k: round(float(np.mean([h[k] for h in history[-100:]])), 4) for k in history[-1]}
            log.info("step %d, %.1f min, %s", run.step, run.used_s / 60, json.dumps(recent))
        if done >= 1.0 or time.monotonic() - saved > recipe.save_every_s:
            saved = time.monotonic()
            save_run(run, path)
        if done >= 1.0:
            return


def schedule(step: int, done: float, warm_up_steps: int) -> float:
    """Factor of the learning rate: linear warm-up by steps, then a cosine to 1 % over the run."""
    cosine = 0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, done))))
    return min(1.0, (step + 1) / warm_up_steps) * cosine


def _step(run: Run, objective: Objective, batch: Batch, recipe: Recipe, rng: torch.Generator) -> dict[str, float]:
    run.optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        losses = objective(run.model, batch, rng)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip_norm)
    run.optimizer.step()
    run.step += 1
    run.average.update(run.model, run.step)
    return {name: float(value.detach()) for name, value in losses.items()}


def _optimizer(model: MotionDiT, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )


def main() -> None:
    """Train or continue a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--run", type=Path, default=Path(".cache/motion"))
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--stride", type=int, default=1, help="every n-th training utterance, as in training.features")
    parser.add_argument("--init", type=Path, help="start from the weights of another run's last.pt")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    recipe = Recipe(minutes=args.minutes, learning_rate=args.learning_rate)
    utterances = read_corpus(args.corpus, "train")[:: args.stride]
    phases = [load_windows(path) for path in sorted(args.run.glob("train-*.npz"))]
    windows = MotionWindows(utterances, phases, Geometry())
    log.info("%d windows of %d utterances", sum(len(p.features) for p in phases), len(windows.motions))
    path = args.run / "last.pt"
    if path.exists():
        run = resume_run(path, recipe)
    elif args.init:
        source = resume_run(args.init, recipe)
        source.model.load_state_dict(source.average.state)
        run = Run(source.model, source.average, _optimizer(source.model, recipe))
    else:
        config = DiTConfig(feature_size=phases[0].features.shape[-1])
        run = start_run(windows.all_rows(), config, recipe)
    train(run, windows, recipe, path)


if __name__ == "__main__":
    main()
