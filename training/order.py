"""Which windows each step sees: seeded, without repeats, the same on one process or many.

A run is one long list of micro-batches. Number m holds windows [m B, (m + 1) B) of an endless order; step s of a run
with W processes and A accumulations uses numbers [s A W, (s + 1) A W), and process r takes every W-th of them. So
nothing is seen twice within an epoch whatever W is, W x A may be split in any way without changing the result, and a
place in the data is one integer. Randomness of a micro-batch (head variant, noise) is drawn from (seed, m) alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from training.dataset import Batch
from training.sources import WindowSource

Indices = NDArray[np.int64]

CYCLE = 100  # places after which the mixture of shares repeats
DATA_STREAM, NOISE_STREAM = 0, 1


class Sources:
    """Several sources read as one; window i of the whole belongs to the source whose range holds i."""

    def __init__(self, parts: Sequence[WindowSource]) -> None:
        self.parts = tuple(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Windows of any sources, grouped by source."""
        owner = np.searchsorted(self.starts, indices, side="right") - 1
        found = [self.parts[part].batch(indices[owner == part] - self.starts[part], rng) for part in sorted(set(owner))]
        return Batch(*(torch.cat([getattr(b, name) for b in found]) for name in ("features", "rows", "tracks")))


@dataclass(frozen=True)
class Order:
    """The endless order of windows.

    Attributes:
        sizes: windows of each source.
        shares: share of each source in the order; empty: all windows equally often.
        seed: of the shuffling.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]
    seed: int

    def windows(self, first: int, count: int) -> Indices:
        """Places [first, first + count) of the order, as indices into all sources together: (count,) int64."""
        places = np.arange(first, first + count)
        if not self.shares:
            return self._shuffled(places, 0, sum(self.sizes))
        pattern = self._pattern()
        source = pattern[places % CYCLE]
        out = np.zeros(count, np.int64)
        offset = 0
        for index, size in enumerate(self.sizes):
            before = np.cumsum(pattern == index) - (pattern == index)  # places of this source before, in a cycle
            mine = source == index
            ordinal = places[mine] // CYCLE * int(np.sum(pattern == index)) + before[places[mine] % CYCLE]
            out[mine] = offset + self._shuffled(ordinal, index, size)
            offset += size
        return out

    def _pattern(self) -> Indices:
        """Which source each place of a cycle reads: (CYCLE,), at least one place for every source."""
        ends = np.round(np.cumsum(self.shares) / sum(self.shares) * CYCLE).astype(np.int64)
        counts = np.maximum(1, np.diff(ends, prepend=0))
        counts[np.argmax(counts)] -= counts.sum() - CYCLE
        pattern = np.repeat(np.arange(len(counts)), counts)
        return np.random.default_rng([self.seed, CYCLE]).permutation(pattern)

    def _shuffled(self, ordinals: Indices, stream: int, size: int) -> Indices:
        """The ordinals' windows: epoch e is a permutation drawn from (seed, stream, e)."""
        out = np.zeros(len(ordinals), np.int64)
        epochs = ordinals // size
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.seed, stream, int(epoch)]).permutation(size)
            out[epochs == epoch] = order[ordinals[epochs == epoch] % size]
        return out


class MicroBatches(Dataset[tuple[int, Batch]]):
    """Micro-batch m of a run with its number; what the DataLoader's workers call."""

    def __init__(self, sources: Sources, order: Order, batch_size: int) -> None:
        self.sources, self.order, self.batch_size = sources, order, batch_size

    def __getitem__(self, number: int) -> tuple[int, Batch]:
        indices = self.order.windows(number * self.batch_size, self.batch_size)
        return number, self.sources.batch(indices, np.random.default_rng([self.order.seed, DATA_STREAM, number]))


def numbers_of_rank(first: int, rank: int, n_processes: int) -> range:
    """The micro-batches of one process from ``first`` on, practically without end."""
    return range(first + rank, 2**62, n_processes)


def noise_of(seed: int, number: int) -> torch.Generator:
    """The generator of a micro-batch's noise."""
    state = np.random.SeedSequence([seed, NOISE_STREAM, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    tensors: list[Tensor] = [getattr(batch, name).to(device) for name in ("features", "rows", "tracks")]
    return Batch(*tensors)
