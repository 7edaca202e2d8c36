"""Train the shipped audio encoder: frame classes and mouth openness from augmented synthetic speech.

    python -m training.train_encoder --minutes 45            # resumes from .cache/encoder/last.pt
    python -m training.train_encoder --evaluate              # held-out voices, clean and noisy
    python -m training.train_encoder --export                # services/audio_encoder/embedded.*, data/encoder_heads.*
    python -m training.train_encoder --export FOLDER         # the same as a folder for TH_ENCODER_PATH

The learning rate follows the clock, not a step count: a run takes the minutes it is given, on any machine.
``--bfloat16`` is 1.5 times as fast on processors with avx512_bf16, and ten times slower elsewhere.
"""

import argparse
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from services.audio_encoder.checkpoint import EMBEDDED_CONFIG, EMBEDDED_WEIGHTS, build_model
from services.audio_encoder.frontend import receptive_field
from training.augment import Augmentation
from training.crops import Batch, Crops
from training.encoder_heads import HEADS_NAME, SHIPPED_HEADS, EncoderWithHeads, write_heads
from training.encoder_scores import report
from training.labels import CLASSES

log = logging.getLogger(__name__)

CONFIG = Path(__file__).parent / "data" / "encoder.json"
LIP_CLASS_WEIGHT = 1.5
SILENCE_WEIGHT = 0.5  # a vowel held long and taken for music shuts a talking mouth; the reverse costs less
LABEL_SMOOTHING = 0.05
OPENNESS_WEIGHT = 1.0


@dataclass(frozen=True)
class Recipe:
    """Numbers of a run."""

    minutes: float = 45.0
    n_rows: int = 16
    n_frames: int = 160
    learning_rate: float = 1.2e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    save_every_s: float = 60.0
    seed: int = 7
    dtype: torch.dtype = torch.float32


def loss_of(model: EncoderWithHeads, batch: Batch) -> Tensor:
    """Cross-entropy with more weight on closures and less on silence, plus Huber loss of openness."""
    weight = torch.ones(len(CLASSES))
    weight[[CLASSES.index("PP"), CLASSES.index("FF")]] = LIP_CLASS_WEIGHT
    weight[CLASSES.index("SIL")] = SILENCE_WEIGHT
    logits, openness = model(batch.wave)
    entropy = F.cross_entropy(
        logits.flatten(0, 1), batch.classes.flatten(), weight=weight, label_smoothing=LABEL_SMOOTHING
    )
    return entropy + OPENNESS_WEIGHT * F.smooth_l1_loss(openness, batch.openness, beta=0.1)


def train(corpus: Path, run: Path, recipe: Recipe, init: Path | None = None) -> None:
    """Train until the minutes are used up; continues an interrupted run.

    Args:
        corpus: folder of shards.
        run: folder of the checkpoint.
        recipe: numbers of the run.
        init: exported weights (.safetensors) that a new run starts from; its heads are new all the same.
    """
    run.mkdir(parents=True, exist_ok=True)
    config = read_config()
    torch.manual_seed(recipe.seed)
    model = new_model(config)
    if init is not None:
        model.encoder.load_state_dict(load_file(init))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    step, used_s = _resume(run / "last.pt", model, optimizer)
    field = receptive_field(config["conv_kernel"], config["conv_stride"])
    crops = Crops(corpus, recipe.n_rows, recipe.n_frames, field, recipe.seed + step, Augmentation())
    loader = DataLoader(crops, batch_size=None, num_workers=1, prefetch_factor=4)
    started = saved = time.monotonic()
    losses: list[float] = []
    for batch in loader:
        elapsed_s = used_s + time.monotonic() - started
        done = elapsed_s / (60.0 * recipe.minutes)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, done, recipe.warm_up_steps)
        losses.append(_step(model, optimizer, batch, recipe))
        step += 1
        if step % 100 == 0:
            log.info("step %d, %.1f min, loss %.3f", step, elapsed_s / 60, float(np.mean(losses[-100:])))
        if done >= 1.0 or time.monotonic() - saved > recipe.save_every_s:
            saved = time.monotonic()
            _save(run / "last.pt", model, optimizer, step, elapsed_s)
        if done >= 1.0:
            break


def schedule(step: int, done: float, warm_up_steps: int) -> float:
    """Factor of the learning rate: linear warm-up by steps, cosine to 1 % by the fraction ``done`` of the run."""
    cosine = 0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, done))))
    return min(1.0, (step + 1) / warm_up_steps) * cosine


def export(run: Path, folder: Path | None = None) -> None:
    """Write the encoder and its heads as float16 safetensors, and its configuration with the file's SHA-256.

    Args:
        run: folder of the checkpoint.
        folder: where to; without it the shipped files are replaced.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    config_path = EMBEDDED_CONFIG if folder is None else folder / "config.json"
    weights_path = EMBEDDED_WEIGHTS if folder is None else folder / "model.safetensors"
    model = load_run(run)
    state = {key: value.half().contiguous() for key, value in model.encoder.state_dict().items()}
    data = save(state, metadata={"format": "pt"})
    weights_path.write_bytes(data)
    weights_path.chmod(0o644)
    config = read_config() | {"sha256": hashlib.sha256(data).hexdigest()}
    config_path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    write_heads(model, config["sha256"], SHIPPED_HEADS if folder is None else folder / HEADS_NAME)


def load_run(run: Path) -> EncoderWithHeads:
    """The network with heads as last saved, in evaluation mode."""
    model = new_model(read_config())
    model.load_state_dict(torch.load(run / "last.pt", weights_only=True)["model"])
    return model.eval()


def new_model(config: dict[str, Any]) -> EncoderWithHeads:
    """An untrained encoder with heads."""
    return EncoderWithHeads(build_model(config), int(config["hidden_size"]))


def read_config() -> dict[str, Any]:
    """The configuration that training uses."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config


def _step(model: EncoderWithHeads, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe) -> float:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.dtype is torch.bfloat16):
        loss = loss_of(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return float(loss.detach())


def _resume(path: Path, model: EncoderWithHeads, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"]), float(saved["used_s"])


def _save(path: Path, model: EncoderWithHeads, optimizer: torch.optim.Optimizer, step: int, used_s: float) -> None:
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "used_s": used_s}, part)
    part.rename(path)


def main() -> None:
    """Train, evaluate or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--run", type=Path, default=Path(".cache/encoder"))
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--init", type=Path, help="exported weights (.safetensors) to start a new run from")
    parser.add_argument("--bfloat16", action="store_true", help="where the processor has avx512_bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--music", type=Path, help="folder of .wav to evaluate with, 16 kHz mono; else synthetic music")
    parser.add_argument("--export", nargs="?", const="", metavar="FOLDER")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    if not args.evaluate and args.export is None:
        dtype = torch.bfloat16 if args.bfloat16 else torch.float32
        recipe = Recipe(minutes=args.minutes, learning_rate=args.learning_rate, dtype=dtype)
        train(args.corpus, args.run, recipe, args.init)
    if args.export is not None:
        export(args.run, Path(args.export) if args.export else None)
    if args.evaluate:
        for line in report(load_run(args.run), args.corpus, args.music):
            print(line)


if __name__ == "__main__":
    main()
