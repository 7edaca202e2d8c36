"""How fast does one renderer draw on one core?

Expected limit: the CPU; half of it resampling pixels (cv2.remap). Regime: saturated, one process, one thread.

    python -m tests.benchmarks.bench_renderer [--frames 300] [--output square|full]
"""

import argparse
import json
import time
from collections.abc import Callable

import cv2
import numpy as np

from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from services.renderer.jpeg import encode_jpeg
from shared.motion import EXP, PITCH, ROLL, SLIDER_INDEX, YAW, exp_from_sliders, neutral_rows
from tests.benchmarks.environment import environment_facts
from tests.benchmarks.portraits import astronaut

REPEATS = 12
JPEG_QUALITY = 90


def speech_like(n_frames: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Talking at 25 frames per second with blinks, glances and a moving head: (N, 70)."""
    t = np.arange(n_frames) / 25.0
    sliders = np.zeros((n_frames, len(SLIDER_INDEX)), np.float32)
    sliders[:, SLIDER_INDEX["jaw_open"]] = 0.33 + 0.3 * np.sin(19.0 * t)
    sliders[:, SLIDER_INDEX["lip_pucker"]] = np.clip(0.5 * np.sin(7.0 * t), 0, None)
    sliders[:, SLIDER_INDEX["lip_wide"]] = np.clip(0.4 * np.sin(5.0 * t), 0, None)
    for side in ("blink_left", "blink_right"):
        sliders[:, SLIDER_INDEX[side]] = np.clip(8.0 * np.sin(1.7 * t) - 7.0, 0, 1)
    sliders[:, SLIDER_INDEX["gaze_x"]] = 0.15 * np.sin(1.3 * t)
    motion = neutral_rows(n_frames)
    motion[:, EXP] = exp_from_sliders(sliders)
    motion[:, PITCH], motion[:, YAW], motion[:, ROLL] = 2 * np.sin(t), 4 * np.sin(0.7 * t), 2 * np.sin(0.5 * t)
    return motion


def milliseconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Percentiles of the wall time of ``work``."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return {f"p{p}": round(float(np.percentile(taken, p)), 2) for p in (50, 95, 99)}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--output", choices=("square", "full"), default="square")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    portrait = astronaut()
    appearance = prepare(portrait, options.output)
    puppet = Puppet(appearance)
    warm = list(puppet.frames(speech_like(10)))
    assert warm[0].shape == appearance.frame_shape
    frames = puppet.frames(speech_like(options.frames))
    cpu_start = time.thread_time()
    draw = milliseconds(lambda: next(frames), options.frames)
    cpu_ms = (time.thread_time() - cpu_start) / options.frames * 1e3
    frame = warm[-1]
    report = {
        "question": "time per frame and per portrait of one renderer on one core",
        "output": options.output,
        "draw_ms": draw,
        "draw_cpu_ms": round(cpu_ms, 2),
        "jpeg_ms": milliseconds(lambda: encode_jpeg(frame, JPEG_QUALITY), REPEATS),
        "jpeg_bytes": len(encode_jpeg(frame, JPEG_QUALITY)),
        "prepare_ms": milliseconds(lambda: prepare(portrait, options.output), REPEATS),
        "build_ms": milliseconds(lambda: Puppet(appearance), REPEATS),
        "appearance_bytes": len(appearance.to_bytes()),
        "realtime_speed_drawing_only": round(1000.0 / 25.0 / draw["p50"], 2),
        "environment": environment_facts(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
