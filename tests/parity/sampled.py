"""Compare tensors with goldens that are stored whole, or as a sample with statistics of all elements.

A large tensor ``K`` is stored as ``K#shape``, ``K#stride`` = s, ``K#sub`` = its elements ``[7::s]`` in C order,
``K#mean``, ``K#std``, and mostly ``K#chmean``, the mean per channel. A bound on every element bounds those of a mean
and of a deviation, so the statistics are held to it: an error between the sampled elements shows there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64]

FIRST_SAMPLE = 7
U8_OFF_BY_ONE_FRACTION = 0.005


@dataclass(frozen=True)
class Bound:
    """Largest absolute difference allowed of one element, and of the root mean square of all compared elements."""

    max: float
    rms: float = np.inf


def ratio(npz: Mapping[str, NDArray[Any]], key: str, ours: Tensor, bound: Bound) -> float:
    """Worst difference over its bound; a value that is not a number, or another shape, is infinitely far.

    Args:
        npz: the goldens.
        key: of the golden, without the suffixes.
        ours: the whole tensor.
        bound: of the differences.

    Raises:
        KeyError: there is no such golden.
    """
    values = ours.detach().cpu().numpy().astype(np.float64)
    if key in npz:
        stored = np.asarray(npz[key])
        return np.inf if stored.shape != values.shape else _ratio(values - stored, bound)
    if values.shape != tuple(npz[f"{key}#shape"]):
        return np.inf
    sampled = values.ravel()[FIRST_SAMPLE :: int(npz[f"{key}#stride"])]
    worst = _ratio(sampled - npz[f"{key}#sub"], bound)
    return max(worst, *(_ratio(difference, Bound(bound.max)) for difference in _statistics(npz, key, values)))


def frame_ratio(npz: Mapping[str, NDArray[Any]], key: str, stride: int, frame: NDArray[np.uint8]) -> float:
    """Share of a frame's bytes that are one off the sample ``key#sub``, over 0.5 %; more than one off is too far."""
    difference = np.abs(frame.ravel()[FIRST_SAMPLE::stride].astype(np.int16) - npz[f"{key}#sub"])
    share = float((difference != 0).mean()) / U8_OFF_BY_ONE_FRACTION
    return share if difference.max() <= 1 else max(share, float(difference.max()))


def _statistics(npz: Mapping[str, NDArray[Any]], key: str, values: Doubles) -> list[Doubles]:
    differences = [np.asarray(values.mean() - npz[f"{key}#mean"]), np.asarray(values.std() - npz[f"{key}#std"])]
    if f"{key}#chmean" in npz:
        stored = npz[f"{key}#chmean"]
        channel_axis = 1 if len(stored) == values.shape[1] else values.ndim - 1  # coordinates have theirs last
        others = tuple(axis for axis in range(values.ndim) if axis != channel_axis)
        differences.append(values.mean(axis=others) - stored)
    return differences


def _ratio(difference: Doubles, bound: Bound) -> float:
    worst = max(float(np.abs(difference).max()) / bound.max, float(np.sqrt(np.mean(difference**2))) / bound.rms)
    return worst if np.isfinite(difference).all() else np.inf
