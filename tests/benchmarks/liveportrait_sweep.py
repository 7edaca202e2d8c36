"""What one GPU does with batches of 1 to 32 frames: time per stage, memory, arithmetic rate. Needs a CUDA device.

Every figure is taken between CUDA events. The rate counts the official networks' arithmetic (1233.6 GFLOP a frame),
whatever the optimised ones leave out, over the rate of a large fp16 matrix product measured in the same run.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.fast.warping import SourceState
from services.renderer.liveportrait.graphs import GraphPerSize
from services.renderer.liveportrait.keypoints import frames_u8
from tests.benchmarks.liveportrait_cpu import FRAME_GFLOP, frame_inputs

BATCHES = (1, 2, 4, 8, 16, 32)
SAMPLES = 200
MIN_SAMPLES = 25
WARM_UPS = 5
MATMUL_SIZE = 8192
STAGES = ("W", "G", "to_uint8", "to_host")

Work = Callable[[], object]


def sweep(networks: Networks, device: torch.device) -> dict[str, Any]:
    """Figures for every batch size, until memory is short.

    Args:
        networks: at the official size; moved to the device.
        device: a CUDA device.
    """
    networks.to(device)
    options = FastOptions.for_device(device, torch.float16)
    synthesis = FastSynthesis.from_networks(networks.W, networks.G, options)
    with torch.inference_mode(), torch.cuda.device(device):
        peak_tflops = matmul_tflops(device)
        batches: dict[str, object] = {}
        for batch in BATCHES:
            try:
                batches[str(batch)] = measure_batch(synthesis, device, batch, peak_tflops)
            except torch.OutOfMemoryError:
                batches[str(batch)] = "out of memory"
                break
    return {"device": torch.cuda.get_device_name(device), "matmul_fp16_tflops": round(peak_tflops, 1), "batch": batches}


@dataclass(frozen=True)
class Batch:
    """Inputs of a batch on the device, and the pinned memory its frames go to."""

    state: SourceState
    x_d: Tensor
    host: Tensor


def measure_batch(synthesis: FastSynthesis, device: torch.device, batch: int, peak_tflops: float) -> dict[str, object]:
    """Stages launched one by one, then all of them as one CUDA graph."""
    inputs = frame_inputs()
    rows = torch.zeros(batch, dtype=torch.int64, device=device)
    state = synthesis.source(inputs.f_s.to(device), inputs.x_s.to(device)).select(rows)
    x_d = inputs.x_d.to(device).expand(batch, -1, -1).contiguous()
    prepared = Batch(state, x_d, torch.empty(batch, 512, 512, 3, dtype=torch.uint8, pin_memory=True))
    n_samples = max(MIN_SAMPLES, SAMPLES // batch)
    torch.cuda.reset_peak_memory_stats(device)
    stages = _stage_times(synthesis, prepared, n_samples)
    peak_bytes = torch.cuda.max_memory_allocated(device)
    graph = GraphPerSize(lambda *rows: synthesis.frames_u8(SourceState(*rows[:-1]), rows[-1]), device)
    flat = (*(getattr(state, field.name) for field in fields(SourceState)), x_d)
    graph.capture(*flat)
    whole_ms = np.array([_event_ms([lambda: graph(*flat)])[0] for _ in range(n_samples)])
    tflops = batch * FRAME_GFLOP / float(np.percentile(whole_ms, 50))
    return {
        "samples": n_samples,
        "stage_ms": {name: _percentiles(stages[:, i]) for i, name in enumerate(STAGES)},
        "graph_ms": _percentiles(whole_ms),
        "frames_per_s": round(1e3 * batch / float(np.percentile(whole_ms, 50)), 1),
        "peak_memory_mb": round(peak_bytes / 1e6),
        "tflops": round(tflops, 1),
        "share_of_matmul_rate": round(tflops / peak_tflops, 3),
    }


def matmul_tflops(device: torch.device) -> float:
    """Best rate of a large fp16 matrix product."""
    a, b = torch.randn(2, MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=torch.float16).unbind()
    times_ms = [_event_ms([lambda: a @ b])[0] for _ in range(WARM_UPS + MIN_SAMPLES)]
    return float(2 * MATMUL_SIZE**3 / min(times_ms[WARM_UPS:]) / 1e9)


def _stage_times(synthesis: FastSynthesis, batch: Batch, n_samples: int) -> NDArray[np.float64]:
    """Milliseconds (n_samples, stages), launched eagerly."""
    made: dict[str, Tensor] = {}

    def warp() -> None:
        made["feature"] = synthesis.warping(batch.state, batch.x_d).out

    def generate() -> None:
        made["logits"] = synthesis.generator(made["feature"])

    def to_uint8() -> None:
        made["frames"] = frames_u8(made["logits"].sigmoid())

    def to_host() -> None:
        batch.host.copy_(made["frames"], non_blocking=True)

    times = [_event_ms([warp, generate, to_uint8, to_host]) for _ in range(WARM_UPS + n_samples)]
    return np.array(times[WARM_UPS:])


def _event_ms(steps: list[Work]) -> list[float]:
    """Milliseconds of each step on the current stream."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(steps) + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for step, event in zip(steps, events[1:], strict=True):
        step()
        event.record()
    events[-1].synchronize()
    return [float(before.elapsed_time(after)) for before, after in pairwise(events)]


def _percentiles(times_ms: NDArray[np.float64]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(times_ms, p)), 3) for p in (50, 95)}
