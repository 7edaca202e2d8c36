"""The random source of the parity data: the same bits on every machine.

Only raw 64-bit words of PCG64, whose stream numpy guarantees, and exact float32 operations are used. The distribution
is uniform with mean 0 and variance 1: a Gaussian would need libm, which differs between machines.
"""

import math
import zlib

import numpy as np

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

SQRT_3 = np.float32(1.7320508)
FINE = np.float32(0.3)
COARSE_PX = 4


def draw(name: str, shape: tuple[int, ...], seed: int) -> Floats:
    """Uniform numbers of variance 1 that the name and the seed determine: float32, in C order, within +-1.732."""
    raw = np.random.PCG64(zlib.crc32(name.encode("ascii")) ^ seed).random_raw(math.prod(shape))
    z = (raw >> np.uint64(40)).astype(np.float32)  # an integer below 2^24: exact
    z *= np.float32(2**-23)
    z -= np.float32(1)
    z *= SQRT_3
    return z.reshape(shape)


def smooth(name: str, shape: tuple[int, ...], seed: int) -> Floats:
    """Coarse noise, a value per 4x4 pixels of the last two axes (each divisible by 4), plus fine noise."""
    coarse = draw(f"{name}/lo", (*shape[:-2], shape[-2] // COARSE_PX, shape[-1] // COARSE_PX), seed)
    coarse = coarse.repeat(COARSE_PX, axis=-1).repeat(COARSE_PX, axis=-2)
    return coarse + FINE * draw(f"{name}/hi", shape, seed)
