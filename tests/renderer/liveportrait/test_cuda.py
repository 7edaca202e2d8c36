"""What only a CUDA device can show: the same frames as a CPU, through streams, pinned memory, fp16 and graphs."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from services.renderer.executor import Executor
from services.renderer.interface import FrameBatch
from services.renderer.jpeg import encode_jpeg
from services.renderer.liveportrait.gpu_jpeg import GpuJpeg
from services.renderer.liveportrait.renderer import LivePortraitRenderer, RendererOptions
from services.renderer.packing import Order
from tests.parity.networks import synthetic_networks
from tests.renderer.motion_rows import talking
from tests.tiny_liveportrait import TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

N_FRAMES = 7
FP32_LEVELS = 2  # of 255: convolution algorithms differ
FP16_LEVELS = 16  # as far as fp16 on a CPU is from fp32
FP32 = RendererOptions(precision="fp32", max_batch_frames=4)
FP16 = replace(FP32, precision="fp16")


def _drawn(device: str, options: RendererOptions) -> NDArray[np.uint8]:
    """Frames of one slice, batches of up to four: (7, 512, 512, 3)."""
    renderer = LivePortraitRenderer(synthetic_networks(0, TINY), torch.device(device), options)
    renderer.warm_up()
    portrait = renderer.build(renderer.prepare(draw_face(), "square"))
    motion = talking(N_FRAMES)
    frames: list[NDArray[np.uint8]] = []
    for start in range(0, N_FRAMES, 4):
        rows = motion[start : start + 4]
        batch = FrameBatch((portrait,) * len(rows), rows, (None,) * len(rows))
        for drawn in renderer.finish(renderer.download(renderer.compute(renderer.upload(batch)))):
            assert isinstance(drawn, np.ndarray)
            frames.append(drawn)
    return np.stack(frames)


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.fixture(scope="module")
def on_cpu() -> NDArray[np.uint8]:
    return _drawn("cpu", FP32)


def test_a_device_draws_what_a_cpu_draws(on_cpu: NDArray[np.uint8]) -> None:
    assert _difference(_drawn("cuda:0", FP32), on_cpu) <= FP32_LEVELS


def test_half_precision_stays_close(on_cpu: NDArray[np.uint8]) -> None:
    assert _difference(_drawn("cuda:0", FP16), on_cpu) <= FP16_LEVELS


def test_graphs_and_compiled_code_draw_the_same() -> None:
    eager = _drawn("cuda:0", FP16)
    assert _difference(_drawn("cuda:0", replace(FP16, graphs=True)), eager) == 0
    assert _difference(_drawn("cuda:0", replace(FP16, compile=True, graphs=True)), eager) <= FP16_LEVELS


def test_many_batches_under_way_do_not_disturb_each_other(on_cpu: NDArray[np.uint8]) -> None:
    options = replace(FP32, graphs=True)
    renderer = LivePortraitRenderer(synthetic_networks(0, TINY), torch.device("cuda", 0), options)
    renderer.warm_up()
    portrait = renderer.build(renderer.prepare(draw_face(), "square"))
    executor = Executor(renderer, np.ndarray.tobytes)
    futures = executor.submit([Order(portrait, talking(N_FRAMES)) for _ in range(20)])
    slices = [future.result(60.0) for future in futures]
    executor.close()
    frames = np.frombuffer(b"".join(slices[0]), np.uint8).reshape(on_cpu.shape)
    assert _difference(frames, on_cpu) <= FP32_LEVELS
    assert all(_difference(np.frombuffer(b"".join(one), np.uint8).reshape(on_cpu.shape), frames) <= 1 for one in slices)


def test_frames_compressed_on_the_device_show_the_same_picture(on_cpu: NDArray[np.uint8]) -> None:
    pytest.importorskip("torchvision")
    frames = torch.from_numpy(on_cpu).to("cuda:0")
    for encoded, frame in zip(GpuJpeg(90).encode(frames), on_cpu, strict=True):
        shown = cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        expected = cv2.imdecode(np.frombuffer(encode_jpeg(frame, 90), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(shown.astype(int) - cv2.cvtColor(expected, cv2.COLOR_BGR2RGB)).mean() < 3.0
