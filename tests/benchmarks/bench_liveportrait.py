"""How fast does the liveportrait renderer draw, against its own reference and against the seed project's loop?

Expected limit: arithmetic of W and G, 1233.6 GFLOP a frame (5-7 ms at 200 TFLOP/s in fp16; many seconds on one core).
Regime: saturated. Weights are synthetic, which costs the same as official ones. Three questions:

- cpu: reference against optimised networks, one thread, taking turns, images compared. Always.
- clip: 140 frames in batches of 4, the seed project's loop against our executor. On a CUDA device; on a CPU only a
  reduced case, where ``--frames`` asks for one.
- gpu: batches of 1 to 32, time per stage, memory, arithmetic rate. On a CUDA device only: nobody has run it yet.

    python -m tests.benchmarks.bench_liveportrait [--turns 3] [--frames N] [--profile]

``--profile`` writes the operators' times to docs/performance_liveportrait.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from services.renderer.liveportrait.config import NetworksConfig
from services.renderer.liveportrait.renderer import RendererOptions
from tests.benchmarks.environment import environment_facts
from tests.benchmarks.liveportrait_clip import PUBLISHED, Case, compare_clip
from tests.benchmarks.liveportrait_cpu import SEED, compare_on_cpu
from tests.benchmarks.liveportrait_profile import write_profile
from tests.benchmarks.liveportrait_sweep import sweep
from tests.parity.networks import synthetic_networks

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance_liveportrait.md"
NO_GPU = "no CUDA device here: figures of the clip at its full length and of the batch sweep are missing"


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="measured frames of each variant on the CPU")
    parser.add_argument("--frames", type=int, default=0, help="frames of the clip on a CPU; none without it")
    parser.add_argument("--profile", action="store_true", help=f"write docs/{DOCUMENT.name}")
    options = parser.parse_args()
    if options.turns < 1 or options.frames < 0:
        parser.error("--turns has to be at least 1 and --frames at least 0")
    report: dict[str, object] = {"question": "seconds per frame of the liveportrait renderer"}
    report["environment"] = environment_facts()
    print("cpu: reference and optimised, taking turns", file=sys.stderr)
    report["cpu"] = compare_on_cpu(synthetic_networks(SEED, NetworksConfig()), options.turns)
    report |= measure_cuda() if torch.cuda.is_available() else measure_without_cuda(options.frames)
    if options.profile:
        write_profile(DOCUMENT, report)
    print(json.dumps(report))


def measure_cuda() -> dict[str, Any]:
    """The clip at its full length, and the sweep."""
    device = torch.device("cuda", torch.cuda.current_device())
    n_frames, batch = int(PUBLISHED["frames"]), int(PUBLISHED["batch"])
    print("clip: the seed project's loop and our executor", file=sys.stderr)
    case = Case(synthetic_networks(SEED, NetworksConfig()), device, n_frames, batch)
    clip = compare_clip(case, RendererOptions(graphs=True, max_batch_frames=batch))
    print("gpu: batches of 1 to 32", file=sys.stderr)
    figures = sweep(synthetic_networks(SEED, NetworksConfig()), device)
    return {"clip": clip, "gpu": figures, "best_batch": best_batch(figures["batch"], clip["sequential_frames_per_s"])}


def best_batch(batches: Mapping[str, Mapping[str, float] | str], sequential_frames_per_s: float) -> dict[str, object]:
    """The batch with the most frames per second, and how many times the sequential loop's that is."""
    rates = {name: figures["frames_per_s"] for name, figures in batches.items() if not isinstance(figures, str)}
    name = max(rates, key=lambda key: rates[key])
    return {"frames": int(name), "frames_per_s": rates[name], "over_sequential": rates[name] / sequential_frames_per_s}


def measure_without_cuda(n_frames: int) -> dict[str, object]:
    """Nothing, said plainly; or a reduced clip."""
    print(NO_GPU, file=sys.stderr)
    if not n_frames:
        return {"clip": None, "gpu": None, "missing": NO_GPU}
    batch = min(n_frames, int(PUBLISHED["batch"]))
    print(f"clip: a reduced case of {n_frames} frames on the CPU", file=sys.stderr)
    case = Case(synthetic_networks(SEED, NetworksConfig()), torch.device("cpu"), n_frames, batch)
    clip = compare_clip(case, RendererOptions(max_batch_frames=batch))
    return {"clip": {"reduced_case_on_cpu": True, **clip}, "gpu": None, "missing": NO_GPU}


if __name__ == "__main__":
    main()
