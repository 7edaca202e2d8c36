"""The configuration of a training run: one frozen dataclass, from command line and JSON, saved with the run.

Values come from three places, later ones win: the defaults here, ``--config FILE.json``, the command line
(``--learning-rate 2e-4``, ``--set loss.velocity=0.3``). A key that does not exist is an error.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from shared.errors import ConfigurationError
from training.objective import LossWeights

Precision = Literal["no", "bf16", "fp16"]
SCRATCH_RATE, FINE_TUNING_RATE = 1.0e-3, 2.0e-4
FIXED = ("data", "shares", "init", "batch_size", "seed", "network")  # what a run that goes on must not change


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of a network that starts from random weights; see `services.motion_dit.model.DiTConfig`."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    mlp_ratio: int = 3
    sound_kernel: int = 5
    pose_noise_s: float = 0.6


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run; fields with help text are options of the command line."""

    data: tuple[str, ...] = field(metadata={"help": "folder of windows or shards; may be given several times"})
    run: str = field(metadata={"help": "folder of checkpoints, scalars and config.json; a run in it goes on"})
    minutes: float = field(default=0.0, metadata={"help": "length of the run by the clock; or"})
    steps: int = field(default=0, metadata={"help": "length of the run in optimizer steps"})
    init: str = field(
        default="", metadata={"help": "start from: embedded, a .safetensors, a run's folder or its .pt; else random"}
    )
    shares: tuple[float, ...] = field(
        default=(), metadata={"help": "share of each --data in a batch, in their order; default: by number of windows"}
    )
    batch_size: int = field(default=32, metadata={"help": "windows per process and forward pass"})
    accumulation: int = field(default=1, metadata={"help": "forward passes per optimizer step"})
    learning_rate: float = field(
        default=0.0, metadata={"help": f"peak; 0: {SCRATCH_RATE} from random weights, {FINE_TUNING_RATE} with --init"}
    )
    warm_up_steps: int = field(default=100, metadata={"help": "steps to the peak"})
    weight_decay: float = field(default=0.01, metadata={"help": "on matrices and kernels only"})
    clip_norm: float = field(default=1.0, metadata={"help": "largest norm of the gradient"})
    ema: float = field(default=0.999, metadata={"help": "decay of the average that is validated and exported"})
    mixed_precision: Precision = field(default="no", metadata={"help": "of forward passes: no, bf16 or fp16"})
    validate_every: int = field(default=250, metadata={"help": "steps between validations"})
    n_validation: int = field(default=256, metadata={"help": "held-out windows per validation"})
    save_every: int = field(default=250, metadata={"help": "steps between checkpoints"})
    log_every: int = field(default=20, metadata={"help": "steps between scalars"})
    workers: int = field(default=0, metadata={"help": "processes that load data, per training process"})
    threads: int = field(default=0, metadata={"help": "CPU threads of torch; 0: its own choice"})
    seed: int = field(default=5, metadata={"help": "of weights, order, noise"})
    network: NetworkSizes = field(default_factory=NetworkSizes)
    loss: LossWeights = field(default_factory=LossWeights)

    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate or (FINE_TUNING_RATE if self.init else SCRATCH_RATE)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as saved in config.json."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document


def check(config: TrainConfig) -> TrainConfig:
    """Return a configuration that can be run.

    Raises:
        ConfigurationError: names the first value that cannot be used.
    """
    if (config.minutes > 0) == (config.steps > 0):
        raise ConfigurationError(f"minutes {config.minutes} and steps {config.steps}; expected one of them, above 0")
    positive = ("batch_size", "accumulation", "warm_up_steps", "clip_norm", "validate_every", "n_validation",
                "save_every", "log_every")  # fmt: skip
    for name in positive:
        if getattr(config, name) <= 0:
            raise ConfigurationError(f"{name} is {getattr(config, name)}; expected a value above 0")
    if not 0.0 <= config.ema < 1.0:
        raise ConfigurationError(f"ema is {config.ema}; expected a value in [0, 1)")
    if config.mixed_precision not in get_args(Precision):
        raise ConfigurationError(
            f"mixed_precision is {config.mixed_precision!r}; expected one of {get_args(Precision)}"
        )
    if not config.data or not config.run:
        raise ConfigurationError("no --data or no --run; name the folders to read and to write")
    if config.shares and (len(config.shares) != len(config.data) or min(config.shares) <= 0):
        raise ConfigurationError(
            f"{len(config.shares)} shares {config.shares} for {len(config.data)} folders of data; expected one share "
            "above 0 for each"
        )
    return config


def from_arguments(arguments: Sequence[str], description: str) -> TrainConfig:
    """Read defaults, then the JSON file, then the command line.

    Raises:
        ConfigurationError: unknown keys, values of the wrong type, or a file that cannot be read.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="JSON file with any of these values")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as loss.velocity=0.3")
    for item in fields(TrainConfig):
        if "help" in item.metadata:
            flag, kind = "--" + item.name.replace("_", "-"), _scalar_type(item.type)
            if item.name in ("data", "shares"):
                parser.add_argument(flag, action="extend", nargs="+", type=kind, help=item.metadata["help"])
            else:
                parser.add_argument(flag, type=kind, help=item.metadata["help"])
    given = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    document = _read(given.pop("config")) if "config" in given else {}
    for text in given.pop("set"):
        _put(document, text)
    return check(from_json({**document, **given}))


def from_json(document: dict[str, Any]) -> TrainConfig:
    """Build a configuration from plain values; see `TrainConfig.as_json`.

    Raises:
        ConfigurationError: unknown keys or values of the wrong type.
    """
    config: TrainConfig = _merged(TrainConfig(data=(), run=""), document, "")
    return config


def changed(old: dict[str, Any], new: TrainConfig) -> list[str]:
    """What a run that goes on would do differently although it must not; empty if nothing."""
    now = new.as_json()
    return [f"{key} was {old.get(key)}, is {now[key]}" for key in FIXED if key != "init" and old.get(key) != now[key]]


def _merged(base: Any, document: dict[str, Any], prefix: str) -> Any:
    known = {item.name for item in fields(base)}
    if unknown := sorted(set(document) - known):
        raise ConfigurationError(
            f"unknown configuration keys {[prefix + key for key in unknown]}; known are {sorted(known)}"
        )
    return replace(base, **{key: _value(getattr(base, key), value, prefix + key) for key, value in document.items()})


def _value(old: Any, new: Any, name: str) -> Any:
    if is_dataclass(old) and isinstance(new, dict):
        return _merged(old, new, name + ".")
    if isinstance(old, tuple) and isinstance(new, list | tuple):
        return tuple(new)
    if isinstance(old, float) and isinstance(new, int | float) and not isinstance(new, bool):
        return float(new)
    if type(old) is not type(new):
        raise ConfigurationError(f"{name} is {new!r}; expected a value like {old!r}")
    return new


def _put(document: dict[str, Any], text: str) -> None:
    """Enter ``KEY.KEY=VALUE`` into nested dictionaries."""
    name, is_there, value = text.partition("=")
    *path, last = name.split(".")
    if not is_there:
        raise ConfigurationError(f"--set {text!r}; expected KEY=VALUE")
    for key in path:
        document = document.setdefault(key, {})
    try:
        document[last] = json.loads(value)
    except ValueError:
        document[last] = value


def _scalar_type(annotation: Any) -> type:
    text = str(annotation)
    return float if "float" in text else int if "int" in text else str


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} holds a {type(document).__name__}; expected a JSON object")
    return document
