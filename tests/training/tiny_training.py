"""A source of windows made from a formula, and a small configuration: what tests of the trainer share."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.motion import EXP, PYR, ROW, basis
from shared.timeline import Geometry
from training.dataset import Batch
from training.order import Sources
from training.sources import EncoderFacts, SourceFacts
from training.train_config import NetworkSizes, TrainConfig

FEATURES = 5
GEOMETRY = Geometry(context=4, hop=46, margin=2, lookahead=2)
NETWORK = NetworkSizes(hidden=16, layers=1, heads=2, mlp_ratio=1, sound_kernel=3)


class TinySource:
    """Windows whose lips follow their features; remembers nothing."""

    def __init__(self, n_windows: int, seed: int, sha256: str = "00", folder: str = "tiny") -> None:
        encoder = EncoderFacts("tiny", sha256, FEATURES - 1, 400)
        self.facts = SourceFacts("synthetic", folder, 1, n_windows, n_windows * 1.84, GEOMETRY, encoder)
        rng = np.random.default_rng(seed)
        self.features = rng.normal(size=(n_windows, GEOMETRY.length, FEATURES)).astype(np.float32)
        self.motion = np.zeros((n_windows, GEOMETRY.length, ROW), np.float32)
        n_sliders = len(basis())
        self.motion[..., EXP] = np.tanh(self.features) @ rng.normal(size=(FEATURES, n_sliders)) @ basis() * 0.3
        self.motion[..., PYR] = 2.0 * self.features[..., :3]
        self.motion[..., EXP.stop] = 1.0

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        tracks = rng.random((len(indices), GEOMETRY.length, 3)).astype(np.float32)
        return Batch(*(torch.from_numpy(a) for a in (self.features[indices], self.motion[indices], tracks)))

    def rows(self) -> NDArray[np.float32]:
        return self.motion.reshape(-1, ROW)


def tiny_data() -> tuple[Sources, Sources]:
    """Training and held-out windows of the same rule."""
    whole = TinySource(30, seed=1)
    held = TinySource(6, seed=1)
    held.features, held.motion = whole.features[24:], whole.motion[24:]
    train = TinySource(24, seed=1)
    train.features, train.motion = whole.features[:24], whole.motion[:24]
    return Sources([train]), Sources([held])


def tiny_config(run: Path, **changes: object) -> TrainConfig:
    """A run of a few steps."""
    values: dict[str, object] = {
        "data": ("tiny",), "run": str(run), "steps": 6, "batch_size": 4, "warm_up_steps": 2, "network": NETWORK,
        "validate_every": 3, "n_validation": 6, "save_every": 3, "log_every": 1, "learning_rate": 3e-3, "ema": 0.9,
        **changes,
    }  # fmt: skip
    return TrainConfig(**values)  # type: ignore[arg-type]
