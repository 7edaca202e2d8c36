"""What stands before the first step: open the data, build or load the network, check that they fit each other."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.checkpoint import EMBEDDED_CONFIG
from services.motion_dit.model import DiTConfig, MotionDiT
from shared.bundles import LOUDNESS_COLUMNS
from shared.errors import ConfigurationError, ShapeError
from shared.motion import EXP, lip_opening
from training.checkpoints import initial_model
from training.features import ORIGIN
from training.objective import fit_normaliser, set_normaliser
from training.order import Sources
from training.sources import SourceFacts, Split, WindowSource
from training.train_config import TrainConfig

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]

SHARDS_INDEX = "manifest.json"
WIDE = 1.2  # root mean square of a coordinate above which its unit changes
FAR_OUTSIDE = 0.2  # share of the expression's variance that a fine-tuned network cannot say; above it a warning


@dataclass(frozen=True)
class Span:
    """How well a network's normaliser can express rows of new data.

    Attributes:
        exp_lost: share of the expression's variance that the projection removes, 0 to 1.
        lips_rms: root mean square change of the lip opening by the projection.
        latent_std: standard deviations of the coordinates, lowest and highest; 1 where the data is as lively as the one
            that the coordinates were fitted to.
    """

    exp_lost: float
    lips_rms: float
    latent_std: tuple[float, float]


def open_source(folder: Path, split: Split) -> WindowSource:
    """Windows of a folder, made by training.features or by training.video.

    Raises:
        ConfigurationError: not such a folder, or nothing in it.
    """
    if (folder / SHARDS_INDEX).exists():
        from training.video.reader import open_shards

        source: WindowSource = open_shards(folder, split)
    elif (folder / ORIGIN).exists():
        from training.dataset import open_windows

        source = open_windows(folder, split)
    else:
        raise ConfigurationError(
            f"no training data in {folder}: expected {SHARDS_INDEX} (python -m training.video) or {ORIGIN} "
            "(python -m training.features)"
        )
    if len(source) == 0:
        raise ConfigurationError(f"{folder} holds no windows of the split {split!r}; add clips or make it again")
    return source


def open_data(config: TrainConfig) -> tuple[Sources, Sources]:
    """All folders of a run: windows to learn from and windows held out.

    Raises:
        ConfigurationError: missing or empty data, or folders that do not go together.
    """
    train = [open_source(Path(folder), "train") for folder in config.data]
    held = [open_source(Path(folder), "held") for folder in config.data]
    first = train[0].facts
    for other in (source.facts for source in (*train, *held)):
        if (other.geometry, other.encoder.sha256) != (first.geometry, first.encoder.sha256):
            raise ConfigurationError(
                f"{other.folder} was cut as {other.geometry} with encoder {other.encoder.sha256[:8]}, {first.folder} "
                f"as {first.geometry} with {first.encoder.sha256[:8]}; make both with one encoder and geometry"
            )
    return Sources(train), Sources(held)


def start_model(config: TrainConfig, train: Sources) -> MotionDiT:
    """The network a run begins with: fresh and fitted to the data, or the one that ``--init`` names.

    Raises:
        WeightsMismatch: the file to start from cannot be read.
        ShapeError: it reads other features or windows than the data has.
        ConfigurationError: it was trained on the features of another encoder.
    """
    torch.manual_seed(config.seed)
    facts = train.parts[0].facts
    if not config.init:
        return _new_model(config, facts, np.concatenate([part.rows() for part in train.parts]))
    model = initial_model(config.init)
    check_fits(model.config, facts, config.init)
    if config.init == "embedded":
        _check_encoder(facts)
    again = MotionDiT(replace(model.config, lookahead=facts.geometry.lookahead))
    again.load_state_dict(model.state_dict())
    widen(again, np.concatenate([part.rows() for part in train.parts]))
    return again


def check_fits(network: DiTConfig, facts: SourceFacts, name: str) -> None:
    """Refuse data that a network cannot read.

    Raises:
        ShapeError: other feature size or context. (The look-ahead is the data's: no weight depends on it.)
    """
    found = (facts.encoder.hidden_size + LOUDNESS_COLUMNS, facts.geometry.context)
    expected = (network.feature_size, network.context)
    if found != expected:
        raise ShapeError(
            f"{facts.folder} has (feature size, context) {found}, the network of {name} reads {expected}; make the "
            "data with its encoder and geometry, or train from random weights"
        )


def widen(model: MotionDiT, rows: FloatArray) -> None:
    """Give coordinates in which new motion (N, 70) is larger than unit variance a larger unit, in place.

    A coordinate that hardly moved in the data it was fitted to can be ten times as large in other data and would then
    rule the loss, and lie far outside what the network has seen. Its unit becomes its root mean square in the new
    data, where that is above `WIDE`; the network reads and writes numbers of the size that it knows.
    """
    normaliser = model.normaliser
    rms = normaliser.encode(torch.from_numpy(rows)).square().mean(dim=0).sqrt()  # (L,)
    unit = torch.where(rms > WIDE, rms, 1.0)
    normaliser.decode_matrix.mul_(unit[:, None])
    normaliser.encode_matrix.div_(unit)
    if float(unit.max()) > 1.0:
        log.info("coordinates widened for this data by %s", [round(float(factor), 2) for factor in unit])


def span_of(model: MotionDiT, rows: FloatArray) -> Span:
    """Project rows (N, 70) onto what the network's normaliser can express, and compare."""
    latent = model.normaliser.encode(torch.from_numpy(rows))
    projected = model.normaliser.decode(latent).numpy()
    exp, back = rows[:, EXP], projected[:, EXP]
    spread = float(np.mean((exp - exp.mean(axis=0)) ** 2))
    lost = float(np.mean((exp - back) ** 2)) / max(spread, 1e-12)
    lips = float(np.sqrt(np.mean((lip_opening(exp) - lip_opening(back)) ** 2)))
    deviations = latent.std(dim=0)
    return Span(round(lost, 4), round(lips, 4), (round(float(deviations.min()), 3), round(float(deviations.max()), 3)))


def facts_of(config: TrainConfig, model: MotionDiT, data: tuple[Sources, Sources]) -> dict[str, Any]:
    """Origin and counts of the data and, for a network that existed before, its `Span`; plain values for the run."""
    facts: dict[str, Any] = {
        name: [part.facts.as_json() for part in sources.parts]
        for name, sources in zip(("train", "held"), data, strict=True)
    }
    if config.init:
        span = span_of(model, np.concatenate([part.rows() for part in data[0].parts]))
        facts["span"] = asdict(span)
        if span.exp_lost > FAR_OUTSIDE:
            log.warning(
                "%.0f %% of the expression's variance lies outside the network's coordinates and will not be learnt; "
                "train from random weights (no --init) to keep it",
                100 * span.exp_lost,
            )
    return facts


def _new_model(config: TrainConfig, facts: SourceFacts, rows: FloatArray) -> MotionDiT:
    mean, decode = fit_normaliser(rows)
    model = MotionDiT(
        DiTConfig(
            context=facts.geometry.context,
            lookahead=facts.geometry.lookahead,
            feature_size=facts.encoder.hidden_size + LOUDNESS_COLUMNS,
            latent_size=len(decode),
            **asdict(config.network),
        )
    )
    set_normaliser(model, mean, decode)
    return model


def _check_encoder(facts: SourceFacts) -> None:
    shipped = json.loads(EMBEDDED_CONFIG.read_text(encoding="utf-8"))["sha256"]
    if facts.encoder.sha256 != shipped:
        raise ConfigurationError(
            f"{facts.folder} was made with encoder {facts.encoder.sha256[:8]}, the embedded motion model reads "
            f"{shipped[:8]}; make the data again with the shipped encoder, or start from the network trained on yours"
        )
