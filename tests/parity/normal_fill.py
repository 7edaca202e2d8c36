"""Synthetic weights of the motion networks (JoyVASA, Ditto): every tensor follows from its name, its shape and a seed.

Unlike those of `tests.parity.fill` the numbers are Gaussian. numpy promises the raw words of PCG64 for ever, its
normal sampler it does not: so the reference data stores the CRC32 of every tensor, and `differing` compares before a
network is blamed.
"""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

UNSCALED = frozenset(
    {"start_audio_feat", "start_motion_feat", "null_audio_feat", "null_cond_embed", "null_cond_hidden"}
)
SPREAD = np.float32(0.02)


def normal_weights(network: str, shapes: Mapping[str, Shape], seed: int) -> dict[str, Floats]:
    """Weights of a network of any size.

    Args:
        network: its name, e.g. ``ditto_lmdm``; names the random streams.
        shapes: shape of every parameter; buffers are computed, never drawn.
        seed: of the random source.
    """
    return {key: normal_weight(network, key, shape, seed) for key, shape in shapes.items()}


def normal_weight(network: str, key: str, shape: Shape, seed: int) -> Floats:
    """One parameter, float32: tokens unscaled, matrices with unit gain, biases near 0, gains of norms near 1."""
    source = np.random.Generator(np.random.PCG64(zlib.crc32(f"{network}/{key}".encode("ascii")) ^ seed))
    z: Floats = source.standard_normal(shape, dtype=np.float32)
    if key in UNSCALED:
        return z
    if len(shape) > 1:
        return z * np.float32(1.0 / math.sqrt(math.prod(shape[1:])))
    if "bias" in key.rpartition(".")[2]:  # also in_proj_bias
        return SPREAD * z
    return np.float32(1.0) + SPREAD * z


def differing(weights: Mapping[str, Floats], stored: Mapping[str, Sequence[object]]) -> list[str]:
    """Keys whose shape or CRC32 is not the stored ``[shape, crc]``, or that only one side has."""
    found = {key: [list(array.shape), zlib.crc32(array.tobytes())] for key, array in weights.items()}
    return sorted(key for key in found.keys() | stored.keys() if found.get(key) != stored.get(key))
