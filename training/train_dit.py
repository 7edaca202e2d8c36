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
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.motion_dit.model import DiTConfig, MotionDiT
from shared.timeline import Geometry
from training.corpus import read_corpus
from training.dataset import Batch, MotionWindows
from training.features import load_windows
from training.objective import LossWeights, Objective, fit_normaliser, set_normaliser

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]


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
    save_every_s: float = 120.0
    seed: int = 5
    loss: LossWeights = field(default_factory=LossWeights)


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
    objective = Objective(run.model, recipe.loss)
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
