"""W and G on one CPU thread: the reference against the optimised networks, taking turns in one process.

Times are processor seconds of this process, which other work on the machine disturbs least. A matrix product is timed
before every turn, so that a figure can be compared with one of another machine.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from tests.parity.draw import draw, smooth

T = TypeVar("T")

MATMUL_SIZE = 2048
MATMUL_REPEATS = 4
SEED = 0
G_GFLOP = 891.6  # official G, two per multiply and add
FRAME_GFLOP = 342.1 + G_GFLOP  # official W and G
# Processor seconds of the official code on one thread of a 2.5 GHz Xeon with AVX-512 (G: 12.0 to 12.9), taken when the
# reference outputs of tests/data/parity were made. The rate of a matrix product was not noted then; G alone ran at
# 891.6 GFLOP in 12.0 s, so that it was no lower than that.
OFFICIAL_W_S, OFFICIAL_G_S = 7.3, 12.0
MAX_DIFFERENCE, MAX_RMS_DIFFERENCE = 1e-4, 1e-5  # parity bounds of W and G one after the other


@dataclass(frozen=True)
class Inputs:
    """One frame: volume f_s (1, 32, 16, 64, 64), key points x_s and x_d (1, 21, 3)."""

    f_s: Tensor
    x_s: Tensor
    x_d: Tensor


@dataclass(frozen=True)
class Turn:
    """Processor seconds of one turn, and optimised minus reference image."""

    matmul_s: float
    w_s: float
    g_s: float
    optimised_s: float
    difference: Tensor


TIMES = ("matmul_s", "w_s", "g_s", "optimised_s")


def compare_on_cpu(networks: Networks, n_turns: int) -> dict[str, object]:
    """Seconds per frame of both, and how much their images differ.

    Args:
        networks: at the official size; on the CPU.
        n_turns: measured frames of each.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return _compare(networks, n_turns)
    finally:
        torch.set_num_threads(n_threads)


def frame_inputs() -> Inputs:
    """A synthetic portrait and a moved face: the same bits everywhere."""
    x_s = np.float32(0.35) * draw("input/fast/kp_source", (1, 21, 3), SEED)
    x_d = x_s + np.float32(0.05) * draw("input/fast/kp_delta", (1, 21, 3), SEED)
    f_s = smooth("input/W/feature_3d", (1, 32, 16, 64, 64), SEED)
    return Inputs(torch.from_numpy(f_s), torch.from_numpy(x_s), torch.from_numpy(x_d))


def _compare(networks: Networks, n_turns: int) -> dict[str, object]:
    inputs = frame_inputs()
    fast = FastSynthesis.from_networks(networks.W, networks.G, FastOptions.for_device(torch.device("cpu")))
    state = fast.source(inputs.f_s, inputs.x_s)
    a, b = torch.randn(2, MATMUL_SIZE, MATMUL_SIZE).unbind()
    turns = []
    for _ in range(n_turns + 1):  # the first one warms up
        matmul_s, _ = cpu_seconds(lambda: [a @ b for _ in range(MATMUL_REPEATS)])
        w_s, warped = cpu_seconds(lambda: networks.W(inputs.f_s, kp_driving=inputs.x_d, kp_source=inputs.x_s))
        g_s, image = cpu_seconds(partial(networks.G, warped.out))
        optimised_s, fast_image = cpu_seconds(lambda: fast(state, inputs.x_d))
        turns.append(Turn(matmul_s, w_s, g_s, optimised_s, fast_image - image))
    return _report(turns[1:])


def _report(turns: list[Turn]) -> dict[str, object]:
    median = {name: statistics.median(getattr(turn, name) for turn in turns) for name in TIMES}
    reference_s = median["w_s"] + median["g_s"]
    ratios = [turn.optimised_s / (turn.w_s + turn.g_s) for turn in turns]
    worst = max(float(turn.difference.abs().max()) for turn in turns)
    rms = max(float(turn.difference.square().mean().sqrt()) for turn in turns)
    return {
        "threads": 1,
        "turns": len(turns),
        "reference_w_cpu_s": round(median["w_s"], 2),
        "reference_g_cpu_s": round(median["g_s"], 2),
        "reference_cpu_s_per_frame": round(reference_s, 2),
        "optimised_cpu_s_per_frame": round(median["optimised_s"], 2),
        "optimised_over_reference": round(statistics.median(ratios), 3),
        "optimised_over_reference_worst_turn": round(max(ratios), 3),
        "image_difference_max": worst,
        "image_difference_rms": rms,
        "images_are_equal_within_bounds": worst <= MAX_DIFFERENCE and rms <= MAX_RMS_DIFFERENCE,
        **_against_official(reference_s, MATMUL_REPEATS * 2 * MATMUL_SIZE**3 / median["matmul_s"] / 1e9),
    }


def _against_official(reference_s: float, matmul_gflops: float) -> dict[str, object]:
    """The reference against the official code, whose time was taken elsewhere; rates of a matrix product scale it."""
    official_s, official_gflops = OFFICIAL_W_S + OFFICIAL_G_S, G_GFLOP / OFFICIAL_G_S
    rate_gflops = FRAME_GFLOP / reference_s
    scaled = reference_s * matmul_gflops / (official_s * official_gflops)
    return {
        "matmul_gflops": round(matmul_gflops, 1),
        "reference_gflops": round(rate_gflops, 1),
        "reference_over_matmul_rate": round(rate_gflops / matmul_gflops, 3),
        "official_elsewhere": {
            "W_cpu_s": OFFICIAL_W_S,
            "G_cpu_s": OFFICIAL_G_S,
            "matmul_gflops_at_least": round(official_gflops, 1),
        },
        "reference_over_official": round(reference_s / official_s, 3),
        "reference_over_official_scaled_at_most": round(scaled, 3),
    }


def cpu_seconds(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds of this process that some work takes, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
