"""Train or fine-tune the motion network: one command, one process or many. START HERE for training on your own data.

    python -m training.train --data .cache/motion --run .cache/run --minutes 40
    python -m training.train --data SHARDS --init embedded --run RUN --minutes 10        # fine-tuning
    torchrun --nproc-per-node 4 -m training.train --data SHARDS --run RUN --steps 20000

A run that is in --run already goes on where it was saved. Scalars for TensorBoard, config.json, last.pt and best.pt
(lowest validation loss) are written there. The last line of output is one JSON object. docs/training.md is the guide.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, tqdm
from torch import Tensor

from shared.errors import ConfigurationError, NonFiniteOutput, TalkingHeadError
from training.checkpoints import BEST, LAST, load
from training.order import Sources
from training.start import open_data, start_model
from training.train_config import TrainConfig, changed, check, from_arguments
from training.trainer import Trainer

log = logging.getLogger(__name__)


def train(config: TrainConfig, accelerator: Accelerator, data: tuple[Sources, Sources]) -> dict[str, object]:
    """Run or continue a training; returns what main prints.

    Raises:
        TalkingHeadError: data, checkpoint and configuration do not fit, or the loss is not finite.
    """
    folder = Path(config.run)
    last = folder / LAST
    goes_on = last.exists()
    accelerator.wait_for_everyone()  # nobody may see a file that this run is about to write
    trainer = Trainer(config, start_model(config, data[0]), data, accelerator)
    if goes_on:
        _check_same(last, config)
        trainer.resume(last)
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        document = {"config": config.as_json(), "data": trainer.facts}
        (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        log.info("%s run %s at step %d: %s", "continuing" if goes_on else "new", folder, trainer.place.step, document)
    accelerator.init_trackers("scalars", init_kwargs={"tensorboard": {"purge_step": trainer.place.step + 1}})
    began = time.monotonic()
    _loop(trainer, folder)
    place = trainer.place
    return {
        "run": str(folder),
        "steps": place.step,
        "minutes": round(place.used_s / 60, 2),
        "minutes_now": round((time.monotonic() - began) / 60, 2),
        "windows": place.number * config.batch_size,
        "processes": accelerator.num_processes,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "validation": {name: round(value, 5) for name, value in place.validation.items()},
        "best": round(place.best, 5),
    }


def _loop(trainer: Trainer, folder: Path) -> None:
    config, accelerator = trainer.config, trainer.accelerator
    progress = trainer.progress()
    if trainer.place.step == 0:
        _validate(trainer, folder)
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}", leave=False) as bar:
        while progress < 1.0:
            losses = trainer.step(progress)
            progress = trainer.progress()
            step = trainer.place.step
            if step % config.log_every == 0 or progress >= 1.0:
                means = _means(accelerator, losses)
                accelerator.log({f"train/{name}": value for name, value in means.items()}, step=step)
                bar.set_postfix(
                    step=step, loss=f"{means['total']:.4f}", held=f"{trainer.place.validation['total']:.4f}"
                )
                bar.update(100 * progress - bar.n)
            if step % config.validate_every == 0 or progress >= 1.0:
                _validate(trainer, folder)
            if step % config.save_every == 0 or progress >= 1.0:
                trainer.save(folder / LAST)


def _validate(trainer: Trainer, folder: Path) -> None:
    """Measure the average on held-out windows; keep it if it is the best so far."""
    losses, place = trainer.validate(), trainer.place
    trainer.accelerator.log({f"held/{name}": value for name, value in losses.items()}, step=place.step)
    if trainer.accelerator.is_main_process:
        log.info("step %d, held out: %s", place.step, {name: round(value, 4) for name, value in losses.items()})
    if losses["total"] < place.best:
        place.best = losses["total"]
        trainer.save(folder / BEST)


def _means(accelerator: Accelerator, losses: dict[str, Tensor]) -> dict[str, float]:
    """Scalars averaged over processes.

    Raises:
        NonFiniteOutput: the loss is no number.
    """
    found = {name: float(accelerator.reduce(value.to(accelerator.device), "mean")) for name, value in losses.items()}
    if not math.isfinite(found["total"]):
        raise NonFiniteOutput(
            f"the training loss is {found['total']}; expected a finite number. Lower --learning-rate or --clip-norm, "
            "use bf16 or no instead of fp16, and look for broken rows in the data"
        )
    return found


def _check_same(path: Path, config: TrainConfig) -> None:
    """Refuse to continue a run with other data or another network."""
    if differences := changed(load(path).config, config):
        raise ConfigurationError(
            f"{path} is another run: {'; '.join(differences)}. Give the same values, or another --run (and --init "
            f"{path.parent} to start from its weights)"
        )


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Processes, device and precision, as torchrun, accelerate launch or neither started us.

    Raises:
        ConfigurationError: the precision is not possible here.
    """
    try:
        return Accelerator(
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.accumulation,
            log_with="tensorboard",
            project_dir=config.run,
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except ValueError as error:
        raise ConfigurationError(f"mixed precision {config.mixed_precision}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config = check(from_arguments(sys.argv[1:] if arguments is None else arguments, __doc__ or ""))
        if config.threads:
            torch.set_num_threads(config.threads)
        accelerator = make_accelerator(config)
        result = train(config, accelerator, open_data(config))
        accelerator.end_training()
    except TalkingHeadError as error:
        print(f"training.train: {error.message}", file=sys.stderr)
        return 2
    if accelerator.is_main_process:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
