"""What does a window of motion cost, and do batches of windows cost more each?

Expected limit: one core's matrix products (a window is 75 tokens and more; the network is asked a few times). Regime:
saturated, one thread, everything in memory. On a CPU every window is its own pass by design, so a batch must cost no
more per window than one alone; on a GPU it should cost less.

    python -m tests.benchmarks.bench_motion [--samples 200] [--device cpu]

Goal: a window of the embedded DiT in 60 ms, encoder and DiT together under 10 % of real time. Inputs are the sample
speech, seeds are fixed, results are checked. The last line of stdout is one JSON object. ``cpu_ms``
is the process's own time, which others disturb least.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, process_time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.model import AudioEncoder, load_encoder
from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Request
from services.motion_dit.window import first_state
from shared.bundles import load_bundle
from shared.media.audio import decode_speech, measure_level
from shared.timeline import FPS, Geometry, encoder_span, frame_count, window_at, window_count
from tests.benchmarks.environment import environment_facts
from tests.integration.stack import SPEECH

BATCHES = (1, 2, 4, 8)
WARM_UP = 3
GOAL_MOTION_MS, GOAL_SHARE = 60.0, 0.10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="cost of windows of motion, alone and in batches")
    parser.add_argument("--samples", type=int, default=200, help="samples of a single window; batches take a quarter")
    parser.add_argument("--device", default="cpu", help="torch device of the motion model")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report = measure(args.samples, args.device)
    for name, value in report.items():
        print(f"{name:22} {value}")
    print(json.dumps({**report, **environment_facts()}))
    return 0


def measure(n_samples: int, device: str) -> dict[str, Any]:
    """Milliseconds of encoder and motion model per window, their share of real time, windows per second by batch."""
    geometry = load_bundle("embedded").geometry
    encoder, generator = load_encoder(), MotionGenerator(load_checkpoint(EMBEDDED), device)
    speech = decode_speech(SPEECH, 600.0)
    gain = measure_level(speech).gain
    n_windows = window_count(frame_count(len(speech)), geometry)
    waves = [cut(speech, i, geometry, encoder) for i in range(n_windows)]
    requests = [
        Request(encoder.encode(waves[i % len(waves)], gain, geometry), first_state(geometry.context), seed=i)
        for i in range(max(BATCHES))
    ]
    made = generator.generate(requests[:2])
    assert all(g.rows.shape == (geometry.hop, 70) and np.isfinite(g.rows).all() for g in made)
    encode = timed(lambda: encoder.encode(waves[0], gain, geometry), n_samples)
    motion = timed(lambda: generator.generate(requests[:1]), n_samples)
    window_ms = 1000.0 * geometry.hop / FPS
    share = (encode["p50_ms"] + motion["p50_ms"]) / window_ms
    batches = {}
    for size in BATCHES:
        taken = timed(partial(generator.generate, requests[:size]), max(10, n_samples // 4))
        batches[str(size)] = {
            "ms_per_window": round(taken["p50_ms"] / size, 3),
            "cpu_ms_per_window": round(taken["cpu_ms"] / size, 3),
            "windows_per_s": round(1000.0 * size / taken["p50_ms"], 2),
        }
    return {
        "window_seconds": window_ms / 1000.0,
        "evaluations": len(generator.steps.times),
        "encode": encode,
        "motion": motion,
        "share_of_real_time": round(share, 4),
        "cpu_share_of_real_time": round((encode["cpu_ms"] + motion["cpu_ms"]) / window_ms, 4),
        "within_goals": motion["p50_ms"] <= GOAL_MOTION_MS and share < GOAL_SHARE,
        "batches": batches,
    }


def cut(speech: NDArray[np.int16], index: int, geometry: Geometry, encoder: AudioEncoder) -> NDArray[np.float32]:
    """What the encoder hears for a window: float32, zeros outside the speech."""
    window = window_at(index, frame_count(len(speech)), geometry)
    start, stop = encoder_span(window, geometry, encoder.receptive_field)
    padded = np.pad(speech[max(0, start) : stop], (max(0, -start), max(0, stop - len(speech))))
    return (padded / 32768.0).astype(np.float32)


def timed(work: Callable[[], object], n_samples: int) -> dict[str, float]:
    """Milliseconds per call: p50, p95, p99, and median of the process's own time, after a warm-up."""
    for _ in range(WARM_UP):
        work()
    taken, used = [], []
    for _ in range(n_samples):
        start, began = perf_counter(), process_time()
        work()
        taken.append(1e3 * (perf_counter() - start))
        used.append(1e3 * (process_time() - began))
    p50, p95, p99 = (round(float(np.percentile(taken, p)), 3) for p in (50, 95, 99))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "cpu_ms": round(float(np.median(used)), 3)}


if __name__ == "__main__":
    sys.exit(main())
