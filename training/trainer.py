"""Steps of a training run: forward, backward, average, validation, saving, going on. Knows no command line.

accelerate places tensors, runs processes together and scales fp16 gradients. Everything random comes from `order.py`,
so a run that was interrupted gives bit for bit the losses of one that was not (length in steps, same machine).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from services.motion_dit.model import MotionDiT
from training.checkpoints import Saved, load, save
from training.dataset import Batch
from training.objective import Objective
from training.order import MicroBatches, Order, Sources, noise_of, numbers_of_rank, on_device
from training.start import facts_of
from training.train_config import TrainConfig

VALIDATION_STREAM = 2**40  # micro-batch numbers whose noise no training step draws


class Loss(nn.Module):
    """Network and objective as one module, so that a distributed wrapper sees one forward pass."""

    def __init__(self, model: MotionDiT, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, noise: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Losses of a batch; "total" is minimised."""
        losses: dict[str, Tensor] = self.objective(self.model, batch, noise, progress)
        return losses


@dataclass
class Place:
    """How far a run is."""

    step: int = 0
    number: int = 0
    used_s: float = 0.0
    initial: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    best: float = float("inf")


class Trainer:
    """A run in memory.

    Args:
        config: of the run.
        model: its network, with its normaliser; random, or from a checkpoint.
        data: windows to learn from, and windows to validate on.
        accelerator: of this process.
    """

    def __init__(
        self, config: TrainConfig, model: MotionDiT, data: tuple[Sources, Sources], accelerator: Accelerator
    ) -> None:
        train, self.held = data
        self.config, self.accelerator = config, accelerator
        self.facts = facts_of(config, model, data)
        self.place = Place()
        self.model = model.to(accelerator.device)
        self.average = average_of(self.model, config.ema)
        self.objective = Objective(self.model, config.loss).to(accelerator.device)
        optimizer = torch.optim.AdamW(parameter_groups(self.model, config.weight_decay), betas=(0.9, 0.98))
        self.loss, self.optimizer = accelerator.prepare(Loss(self.model, self.objective), optimizer)
        sizes = tuple(len(part) for part in train.parts)
        self.data = MicroBatches(train, Order(sizes, config.shares, config.seed), config.batch_size)
        self._clock = time.monotonic()
        self._batches: Iterator[tuple[int, Batch]] | None = None

    def resume(self, path: Path) -> None:
        """Go on from a file of this run; call before the first step.

        Raises:
            WeightsMismatch: the file cannot be read.
        """
        saved = load(path)
        self.model.load_state_dict(saved.model)
        self.average.module.load_state_dict(saved.average)
        self.average.n_averaged.fill_(saved.step)
        self.optimizer.load_state_dict(saved.optimizer)
        if self.accelerator.scaler is not None and saved.scaler:
            self.accelerator.scaler.load_state_dict(saved.scaler)
        self.place = Place(saved.step, saved.number, saved.used_s, saved.initial, saved.validation, saved.best)

    def save(self, path: Path) -> None:
        """Write the state of the run; one process writes, the others wait."""
        if self.accelerator.is_main_process:
            place, scaler = self.place, self.accelerator.scaler
            save(
                Saved(
                    network=self.model.config,
                    model=_on_cpu(self.model),
                    average=_on_cpu(self.average.module),
                    optimizer=self.optimizer.state_dict(),
                    scaler={} if scaler is None else scaler.state_dict(),
                    config=self.config.as_json(),
                    facts=self.facts,
                    step=place.step,
                    number=place.number,
                    used_s=place.used_s,
                    initial=place.initial,
                    validation=place.validation,
                    best=place.best,
                ),
                path,
            )
        self.accelerator.wait_for_everyone()

    def progress(self) -> float:
        """How much of the run is done, 0 to 1; by the first process's clock if the run has minutes."""
        now = time.monotonic()
        self.place.used_s += now - self._clock
        self._clock = now
        if self.config.steps:
            return min(1.0, self.place.step / self.config.steps)
        done = torch.tensor(self.place.used_s / (60.0 * self.config.minutes), device=self.accelerator.device)
        return min(1.0, float(broadcast(done)))

    def step(self, progress: float) -> dict[str, Tensor]:
        """One optimizer step: mean losses of this process, norm of the gradient, learning rate."""
        config = self.config
        rate = config.peak_rate() * rate_factor(self.place.step, progress, config.warm_up_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self._batches is None:
            self._batches = self._load()
        found: list[dict[str, Tensor]] = []
        norm = torch.zeros(())
        for _ in range(config.accumulation):
            number, batch = next(self._batches)
            with self.accelerator.accumulate(self.loss):
                noise = noise_of(config.seed, number)
                losses = self.loss(on_device(batch, self.accelerator.device), noise, progress)
                self.accelerator.backward(losses["total"])
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            found.append({name: value.detach() for name, value in losses.items()})
        self.place.step += 1
        self.place.number += config.accumulation * self.accelerator.num_processes
        self.average.update_parameters(self.model)
        mean = {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}
        return {**mean, "gradient_norm": norm, "learning_rate": torch.tensor(rate)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the averaged weights on the held-out windows, the same windows and noise every time."""
        size, rank, n_ranks = self.config.batch_size, self.accelerator.process_index, self.accelerator.num_processes
        order = Order((len(self.held),), (), self.config.seed)
        batches = MicroBatches(self.held, order, min(size, len(self.held)))
        n_batches = -(-min(self.config.n_validation, len(self.held)) // batches.batch_size)
        sums: dict[str, Tensor] = {}
        for number in range(rank, -(-n_batches // n_ranks) * n_ranks, n_ranks):  # all ranks the same count
            _, batch = batches[number % n_batches]
            noise = noise_of(self.config.seed, VALIDATION_STREAM + number % n_batches)
            losses = self.objective(self.average.module, on_device(batch, self.accelerator.device), noise, 1.0)
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value * float(number < n_batches)
        means = {name: float(self.accelerator.reduce(value, "sum")) / n_batches for name, value in sums.items()}
        self.place.validation = means
        self.place.initial = self.place.initial or means
        return means

    def _load(self) -> Iterator[tuple[int, Batch]]:
        numbers = numbers_of_rank(self.place.number, self.accelerator.process_index, self.accelerator.num_processes)
        if not self.config.workers:
            return (self.data[number] for number in numbers)
        loader: DataLoader[tuple[int, Batch]] = DataLoader(
            self.data, batch_size=None, sampler=numbers, num_workers=self.config.workers, collate_fn=_as_it_is
        )
        return iter(loader)


def rate_factor(step: int, progress: float, warm_up_steps: int) -> float:
    """Factor of the learning rate: linear warm-up by steps, then a cosine to 1 % over the run."""
    cosine = 0.01 + 0.99 * 0.5 * (1.0 + torch.cos(torch.tensor(torch.pi * min(1.0, progress))).item())
    return min(1.0, (step + 1) / warm_up_steps) * cosine


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; biases, norms, embeddings and single vectors do not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings]
    kept = [p for p in model.parameters() if p.ndim < 2 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Moving average of the weights, float32, of short memory at first: decay_n = min(decay, (1 + n) / (10 + n))."""

    def mixed(averaged: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        return averaged.lerp(current, 1.0 - min(decay, (1.0 + float(n)) / (10.0 + float(n))))

    return AveragedModel(model, avg_fn=mixed).eval().requires_grad_(False)


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def _as_it_is(item: Any) -> Any:
    return item
