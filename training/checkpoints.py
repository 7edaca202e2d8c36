"""The file of a run (``last.pt``, ``best.pt``) and the other files a run can start from.

A file holds what is needed to go on: weights, their average, optimizer, gradient scaler, steps, place in the data.
Random numbers are drawn from the seed and the place (``order.py``), so no generator's state has to be kept, for any
number of processes. Files are read without unpickling objects and are renamed into place.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.model import DiTConfig, MotionDiT
from shared.errors import WeightsMismatch

FORMAT = "talkinghead-motion-run-1"
LAST, BEST = "last.pt", "best.pt"


@dataclass(frozen=True)
class Saved:
    """What a file of a run holds.

    Attributes:
        network: sizes.
        model: weights as trained.
        average: their moving average, float32; what is validated and exported.
        optimizer: its state.
        scaler: the gradient scaler's state; empty unless fp16.
        config: of the run, plain values.
        facts: origin and counts of the data ("train", "held"), and "span" after fine-tuning.
        step: optimizer steps done.
        number: first micro-batch not used yet.
        used_s: time spent.
        initial: losses on held-out windows before the first step.
        validation: the same of the average, at the last validation.
        best: the lowest total of them so far; infinity before the first.
    """

    network: DiTConfig
    model: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    config: dict[str, Any]
    facts: dict[str, Any]
    step: int
    number: int
    used_s: float
    initial: dict[str, float]
    validation: dict[str, float]
    best: float

    def averaged_model(self) -> MotionDiT:
        """The network with the averaged weights, in evaluation mode."""
        model = MotionDiT(self.network)
        model.load_state_dict(self.average)
        return model.eval()


def save(saved: Saved, path: Path) -> None:
    """Write a file of a run, renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    document = {name: value for name, value in vars(saved).items() if name != "network"}
    torch.save({"format": FORMAT, "network": asdict(saved.network), **document}, part)
    part.replace(path)


def load(path: Path) -> Saved:
    """Read a file of a run on the CPU.

    Raises:
        WeightsMismatch: missing, damaged, or written by something else.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what zip, pickle and the system raise
        raise WeightsMismatch(
            f"cannot read the run {path}: {error}. Expected a file that training.train wrote."
        ) from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise WeightsMismatch(f"{path} is not of format {FORMAT!r}; expected a file that training.train wrote")
    try:
        return Saved(network=DiTConfig(**document.pop("network")), **document)
    except (KeyError, TypeError) as error:
        raise WeightsMismatch(f"{path} misses parts of a run: {error}") from error


def initial_model(init: str) -> MotionDiT:
    """The network that ``--init`` names: the shipped one, a checkpoint, or a run's average.

    Raises:
        WeightsMismatch: no such file, or it does not fit.
    """
    path = EMBEDDED if init == "embedded" else run_file(Path(init), BEST)
    return load_checkpoint(path) if path.suffix == ".safetensors" else load(path).averaged_model()


def run_file(run: Path, wanted: str) -> Path:
    """A file of a run: ``wanted`` of its folder, last.pt where that is missing; a path that is no folder as it is."""
    if not run.is_dir():
        return run
    return run / (wanted if (run / wanted).exists() else LAST)
