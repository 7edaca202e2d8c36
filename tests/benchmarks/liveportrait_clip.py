"""A clip of 512x512 frames, drawn one batch after the other as the seed project did, and through our executor.

Sequential: reference networks, eager, autocast to fp16 on a GPU; per batch stitching, W, G, then ``.cpu()`` of float32
images. Pipelined: the renderer as the worker runs it, which ends in JPEG bytes, so that it does more.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from torch import Tensor

from services.renderer.executor import Executor
from services.renderer.interface import FrameBatch
from services.renderer.jpeg import encode_jpeg
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.keypoints import frames_u8
from services.renderer.liveportrait.portrait import Portrait, driving_points
from services.renderer.liveportrait.renderer import LivePortraitRenderer, RendererOptions
from services.renderer.packing import Order
from tests.benchmarks.bench_renderer import speech_like
from tests.benchmarks.portraits import astronaut

PUBLISHED = {"frames": 140, "batch": 4, "sequential_s": 3.273, "pipelined_s": 2.203, "reduction_percent": 32.7}
ROUNDS = 3
JPEG_QUALITY = 90
SLICE_FRAMES = 16
COMPUTE_SUM = "talkinghead_render_step_duration_seconds_sum"


@dataclass(frozen=True)
class Case:
    """What is drawn: networks on a device, frames, frames per batch."""

    networks: Networks
    device: torch.device
    n_frames: int
    batch: int


def compare_clip(case: Case, options: RendererOptions) -> dict[str, Any]:
    """Seconds of both, taking turns, and how much their frames differ.

    Args:
        case: what to draw.
        options: of our renderer; its batch is that of the case.
    """
    renderer = LivePortraitRenderer(copy.deepcopy(case.networks), case.device, options)
    renderer.warm_up()
    portrait = renderer.build(renderer.prepare(astronaut(), "square"))
    baseline = Baseline(case, renderer, portrait)
    motion = speech_like(case.n_frames)
    baseline.draw(motion[: case.batch])  # warm-up
    sequential, pipelined, compute = [], [], []
    for _ in range(ROUNDS):
        sequential.append(_seconds(partial(baseline.draw, motion), case.device))
        before_s = compute_seconds()
        pipelined.append(_seconds(partial(draw_pipelined, renderer, portrait, motion), case.device))
        compute.append(compute_seconds() - before_s)
    sequential_s, pipelined_s, compute_s = (statistics.median(times) for times in (sequential, pipelined, compute))
    return {
        "frames": case.n_frames,
        "batch": case.batch,
        "rounds": ROUNDS,
        "sequential_s": round(sequential_s, 3),
        "pipelined_s": round(pipelined_s, 3),
        "reduction_percent": round(100 * (1 - pipelined_s / sequential_s), 1),
        "compute_s": round(compute_s, 3),
        "pipelined_over_compute": round(pipelined_s / compute_s, 3),
        "pipelined_frames_per_s": round(case.n_frames / pipelined_s, 2),
        "sequential_frames_per_s": round(case.n_frames / sequential_s, 2),
        "first_batch_differs": _difference(baseline, renderer, portrait, motion[: case.batch]),
        "published_elsewhere": PUBLISHED,
    }


class Baseline:
    """The reference networks, called as a loop would.

    Args:
        case: its networks are moved to the device.
        renderer: whose device the volume comes from.
        portrait: what is drawn.
    """

    def __init__(self, case: Case, renderer: LivePortraitRenderer, portrait: Portrait) -> None:
        self._networks = case.networks.to(case.device)
        self._stitching = copy.deepcopy(case.networks.S).cpu()
        self._device = case.device
        self._batch = case.batch
        self._portrait = portrait

    @torch.inference_mode()
    def draw(self, motion: NDArray[np.float32]) -> list[Tensor]:
        """Float32 images (n, 3, 512, 512) on the host, one tensor per batch."""
        return [self._draw_batch(motion[start : start + self._batch]) for start in range(0, len(motion), self._batch)]

    def _draw_batch(self, rows: NDArray[np.float32]) -> Tensor:
        n_frames = len(rows)
        source = self._portrait.source
        points = driving_points([self._portrait.pose] * n_frames, rows, [None] * n_frames, self._stitching)
        x_d = points.to(self._device)
        f_s, x_s = (rows.expand(n_frames, *rows.shape[1:]) for rows in (source.feature, source.x_s))
        with torch.autocast("cuda", torch.float16, enabled=self._device.type == "cuda"):
            image = self._networks.G(self._networks.W(f_s, kp_driving=x_d, kp_source=x_s).out)
        on_host: Tensor = image.float().cpu()
        return on_host


def draw_pipelined(renderer: LivePortraitRenderer, portrait: Portrait, motion: NDArray[np.float32]) -> list[bytes]:
    """JPEG of every frame, slices of a fixed length, through a new executor."""
    executor = Executor(renderer, partial(encode_jpeg, quality=JPEG_QUALITY))
    try:
        starts = range(0, len(motion), SLICE_FRAMES)
        orders = [Order(portrait, motion[start : start + SLICE_FRAMES]) for start in starts]
        return [frame for future in executor.submit(orders) for frame in future.result()]
    finally:
        executor.close()


def compute_seconds() -> float:
    """Device time that batches of all renderers of this process have spent in W and G so far."""
    return REGISTRY.get_sample_value(COMPUTE_SUM, {"step": "compute"}) or 0.0


def _difference(
    baseline: Baseline, renderer: LivePortraitRenderer, portrait: Portrait, motion: NDArray[np.float32]
) -> dict[str, object]:
    """Bytes of the first batch's frames: largest difference, and share that differs."""
    reference = frames_u8(baseline.draw(motion)[0]).numpy().astype(np.int16)
    batch = FrameBatch((portrait,) * len(motion), motion, (None,) * len(motion))
    drawn = renderer.finish(renderer.download(renderer.compute(renderer.upload(batch))))
    difference = np.abs(np.stack([frame for frame in drawn if isinstance(frame, np.ndarray)]) - reference)
    return {"max": int(difference.max()), "share": round(float((difference != 0).mean()), 5)}


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
