"""Stored reference results, compared one by one; what nobody compared is noticed."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.parity.sampled import U8_OFF_BY_ONE_FRACTION

Value = Tensor | NDArray[Any] | float

NOT_FINITE = 1e9  # stands for infinity in a report


class UnusableGoldens(Exception):
    """A file of the reference data is missing or broken."""


def read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file.

    Raises:
        UnusableGoldens: it is not there or no npz of plain arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return dict(npz)
    except FileNotFoundError as error:
        raise UnusableGoldens(f"{path} is missing; expected the reference data of this seed") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise UnusableGoldens(f"{path} cannot be read as npz: {error}") from error


class Goldens:
    """Reads inputs, compares results, and remembers both.

    Args:
        npz: key -> array.
    """

    def __init__(self, npz: Mapping[str, NDArray[Any]]) -> None:
        self._npz = npz
        self._used: set[str] = set()
        self._worst: dict[str, float] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._npz

    def array(self, key: str) -> NDArray[Any]:
        """A stored input or result."""
        self._used.add(key)
        return np.asarray(self._npz[key])

    def tensor(self, key: str) -> Tensor:
        """A stored input, as a tensor."""
        return torch.from_numpy(self.array(key).copy())

    def near(self, group: str, ours: Value, key: str, bound: float | NDArray[np.float64]) -> None:
        """Note how far ours is from a stored result, in units of the bound; NaN is infinitely far."""
        self._note(group, float(np.max(self._difference(ours, key) / bound, initial=0.0)))

    def near_bytes(self, group: str, ours: Value, key: str) -> None:
        """Note the share of bytes that are one off a stored image, over 0.5 %; more than one off is too far."""
        difference = self._difference(ours, key)
        share = float(np.mean(difference > 0)) / U8_OFF_BY_ONE_FRACTION
        self._note(group, share if difference.max() <= 1 else max(share, float(difference.max())))

    def same(self, group: str, ours: Value, key: str) -> None:
        """Note whether ours equals a stored result: 0, or infinitely far."""
        self._note(group, 0.0 if float(np.max(self._difference(ours, key), initial=0.0)) == 0.0 else np.inf)

    def finish(self) -> dict[str, float]:
        """Worst ratio per group.

        Raises:
            AssertionError: keys that nobody read.
        """
        unread = sorted(set(self._npz) - self._used)
        if unread:
            raise AssertionError(f"golden keys that were not compared: {unread[:5]} and {len(unread)} in all")
        return dict(self._worst)

    def _difference(self, ours: Value, key: str) -> NDArray[np.float64]:
        stored = self.array(key).astype(np.float64)
        values = np.asarray(ours.detach().numpy() if isinstance(ours, Tensor) else ours).astype(np.float64)
        if values.shape != stored.shape:
            raise AssertionError(f"{key}: shape {values.shape}, stored {stored.shape}")
        difference: NDArray[np.float64] = np.abs(values - stored)
        return difference

    def _note(self, group: str, ratio: float) -> None:
        self._worst[group] = max(self._worst.get(group, 0.0), np.inf if np.isnan(ratio) else ratio)
