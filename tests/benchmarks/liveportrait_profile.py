"""Where a frame's time goes, operator by operator, as a document: torch.profiler over one frame of each variant."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from services.renderer.liveportrait.config import NetworksConfig
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from tests.benchmarks.liveportrait_cpu import SEED, frame_inputs
from tests.parity.networks import synthetic_networks

N_ROWS = 14
TEMPLATE = """# Performance of the liveportrait renderer

Written by `make bench-renderer ARGS=--profile`; `tests/benchmarks/bench_liveportrait.py` says how things are measured.
Weights are synthetic: they cost the same as official ones.

## Measured on

{hardware}

## What was measured

{findings}

The official code took 7.3 + 12.0 s on another machine (one thread of a 2.5 GHz Xeon with AVX-512). Its matrix products
ran at 74 GFLOP/s there or faster, because G did; "scaled" assumes no more than that: the true ratio is no higher.

## Operators of one frame

One frame of W and G on {device}, batch of one, after a warm-up; torch.profiler. Shares of the time spent in an
operator itself. The profiler counts wall time, so that seconds of a busy machine would say little; the table above
counts the processor's.

### Reference

{reference}

### Optimised

{optimised}

## The report as printed

```json
{report}
```
"""
WITHOUT_GPU = """**No GPU figure exists.** The machine had no CUDA device. The clip of 140 frames at its full length,
the sweep over batch sizes, transfers hidden behind computation, the share of the arithmetic peak, fp16, torch.compile
and CUDA graphs are unmeasured, and the code of the benchmark that measures them has not been run. `make bench-renderer`
on a machine with a CUDA device adds them. The seed project's published result for that clip, on its own hardware, is
3.273 s one batch after the other and 2.203 s pipelined."""


def write_profile(path: Path, report: Mapping[str, object]) -> None:
    """Profile one frame of each variant and write the document.

    Args:
        path: of the document.
        report: what the benchmark prints.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reference, optimised = profile_frames(device)
    text = TEMPLATE.format(
        hardware=_hardware(report),
        findings=_findings(report),
        device="a CUDA device" if device.type == "cuda" else "one CPU thread",
        reference=reference,
        optimised=optimised,
        report=json.dumps(report, indent=2),
    )
    path.write_text(text, encoding="utf-8")


@torch.inference_mode()
def profile_frames(device: torch.device) -> tuple[str, str]:
    """Tables of the reference and of the optimised networks."""
    inputs = frame_inputs()
    networks = synthetic_networks(SEED, NetworksConfig()).to(device)
    f_s, x_s, x_d = (tensor.to(device) for tensor in (inputs.f_s, inputs.x_s, inputs.x_d))
    fast = FastSynthesis.from_networks(networks.W, networks.G, FastOptions.for_device(device))
    state = fast.source(f_s, x_s)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        reference = _table(lambda: networks.G(networks.W(f_s, kp_driving=x_d, kp_source=x_s).out), device)
        return reference, _table(lambda: fast(state, x_d), device)
    finally:
        torch.set_num_threads(n_threads)


def _table(work: Callable[[], object], device: torch.device) -> str:
    work()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        work()
    averages = profiled.key_averages()
    spent = {
        event.key: event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        for event in averages
    }
    calls = {event.key: event.count for event in averages}
    most = sorted(spent, key=lambda name: spent[name], reverse=True)[:N_ROWS]
    rows = [f"| `{name}` | {100 * spent[name] / sum(spent.values()):.1f} % | {calls[name]} |" for name in most]
    return "\n".join(["| operator | share | calls |", "|---|---|---|", *rows])


def _hardware(report: Mapping[str, object]) -> str:
    facts = report["environment"]
    assert isinstance(facts, dict)
    versions = facts["versions"]
    return (
        f"{facts['cpu']}, {facts['cores']} cores usable, Python {facts['python']}, torch {versions['torch']}; load "
        f"average when the benchmark began: {facts['load_before']}; commit {facts['commit']}."
    )


def _findings(report: Mapping[str, object]) -> str:
    cpu = report["cpu"]
    assert isinstance(cpu, dict)
    rows = [
        (
            "reference W + G",
            f"{cpu['reference_w_cpu_s']} + {cpu['reference_g_cpu_s']} = {cpu['reference_cpu_s_per_frame']} s",
        ),
        ("optimised W + G", f"{cpu['optimised_cpu_s_per_frame']} s"),
        ("optimised over reference, median of turns", cpu["optimised_over_reference"]),
        (
            "images: largest, root mean square difference",
            f"{cpu['image_difference_max']:.1e}, {cpu['image_difference_rms']:.1e}",
        ),
        ("matrix product, same run", f"{cpu['matmul_gflops']} GFLOP/s"),
        ("reference, arithmetic rate", f"{cpu['reference_gflops']} GFLOP/s"),
        ("reference over the official code's time elsewhere", cpu["reference_over_official"]),
        ("the same, scaled by matrix products, at most", cpu["reference_over_official_scaled_at_most"]),
    ]
    table = "\n".join(
        ["| one CPU thread, processor time per frame | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    )
    return table if report.get("gpu") else f"{table}\n\n{WITHOUT_GPU}"
