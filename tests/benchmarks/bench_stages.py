"""How long does each stage's own computation take, alone on one core, without queues?

Expected limit: drawing (a dense warp of 512x512 pixels per frame) and x264; the networks are small. The sum over the
stages of milliseconds per frame bounds what all cores together can reach. Regime: saturated, one thread.

    python -m tests.benchmarks.bench_stages [--samples 200]

Inputs are the sample portrait and speech, the seed is fixed, each result is checked for its shape and finiteness. The
last line of stdout is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from services.audio_encoder.model import load_encoder
from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Request
from services.motion_dit.window import first_state
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from services.renderer.jpeg import encode_jpeg
from shared.bundles import load_bundle
from shared.media.audio import decode_speech
from shared.media.portrait import decode_portrait
from shared.media.video import EncoderOptions, encode_segment
from shared.timeline import encoder_span, window_at
from tests.benchmarks.environment import environment_facts
from tests.integration.stack import PORTRAIT, SPEECH

FEW = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="time of each stage alone")
    parser.add_argument("--samples", type=int, default=200, help="samples of the short stages")
    n_samples = parser.parse_args(arguments).samples
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    report = measure(n_samples)
    for name, facts in report.items():
        print(f"{name:14} {facts}")
    print(json.dumps({"stages": report, **environment_facts()}))
    return 0


def measure(n_samples: int) -> dict[str, dict[str, float]]:
    """Time every stage; milliseconds per call and per frame."""
    bundle = load_bundle("embedded")
    geometry = bundle.geometry
    portrait = decode_portrait(PORTRAIT.read_bytes())
    speech = decode_speech(SPEECH, 600.0).astype(np.float32) / 32768.0
    encoder, generator = (
        load_encoder(),
        MotionGenerator(load_checkpoint(Path(os.environ.get("TH_MOTION_WEIGHTS") or EMBEDDED))),
    )
    start, stop = encoder_span(window_at(1, 200, geometry), geometry, bundle.receptive_field)
    wave = speech[start:stop]
    features = encoder.encode(wave, 1.0, geometry)
    request = Request(features, first_state(geometry.context), seed=1)
    rows = generator.generate([request])[0].rows
    appearance = prepare(portrait, "square")
    puppet = Puppet(appearance)
    frames = [frame.copy() for frame in puppet.frames(rows)]
    jpegs = [encode_jpeg(frame, 90) for frame in frames]
    turn = iter(range(10**9))

    def draw() -> None:
        index = next(turn) % len(rows)
        frame = next(iter(puppet.frames(rows[index : index + 1])))
        assert frame.shape == (512, 512, 3)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment.mp4"
        return {
            "prepare": timed(lambda: prepare(portrait, "square"), FEW, 1),
            "build": timed(lambda: Puppet(appearance), FEW, 1),
            "encode": timed(lambda: encoder.encode(wave, 1.0, geometry), n_samples, geometry.hop),
            "motion": timed(lambda: generator.generate([request]), n_samples, geometry.hop),
            "draw": timed(draw, n_samples, 1),
            "jpeg": timed(lambda: encode_jpeg(frames[next(turn) % len(frames)], 90), n_samples, 1),
            "segment": timed(lambda: encode_segment(jpegs, path, EncoderOptions()), FEW, len(jpegs)),
        }


def timed(work: Callable[[], object], n_samples: int, n_frames: int) -> dict[str, float]:
    """Milliseconds per call (p50, p95, p99) and per frame (p50), after a warm-up."""
    for _ in range(3):
        work()
    taken = []
    for _ in range(n_samples):
        start = perf_counter()
        work()
        taken.append(1e3 * (perf_counter() - start))
    p50, p95, p99 = (round(float(np.percentile(taken, p)), 3) for p in (50, 95, 99))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "p50_ms_per_frame": round(p50 / n_frames, 3)}


if __name__ == "__main__":
    sys.exit(main())
