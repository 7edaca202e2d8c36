"""Lanes and rings: their CPU form here; the same tests run on a CUDA device where there is one."""

import threading

import numpy as np
import pytest
import torch

from services.renderer.device import Lanes, PinnedRing, choose_device
from shared.errors import ConfigurationError
from tests.polling import eventually

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return choose_device(request.param)


def test_a_batch_goes_round_the_three_lanes(device: torch.device) -> None:
    lanes, ring = Lanes.of(device), PinnedRing(2, [((4, 3), torch.float32)], device)
    sent = np.arange(12, dtype=np.float32).reshape(4, 3)
    x = lanes.upload.send(sent)
    begun = lanes.upload.mark()
    sent += 100.0  # the lane took what it was given, not what became of it
    lanes.compute.follow(begun)
    with lanes.compute.active():
        y = x * 2
    lanes.download.follow(lanes.compute.mark())
    slot = ring.acquire()
    with lanes.download.active():
        slot.buffers[0].copy_(y, non_blocking=True)
    ended = lanes.download.mark()
    ended.wait()
    assert slot.buffers[0].tolist() == [[0, 2, 4], [6, 8, 10], [12, 14, 16], [18, 20, 22]]
    assert ended.seconds_since(begun) >= 0.0
    assert slot.buffers[0].is_pinned() == (device.type == "cuda")
    slot.release()
    lanes.compute.drain()


def test_an_empty_ring_holds_back_until_a_slot_is_released() -> None:
    ring = PinnedRing(1, [((2,), torch.uint8)], torch.device("cpu"))
    first, got = ring.acquire(), threading.Event()

    def acquire() -> None:
        ring.acquire().release()
        got.set()

    thread = threading.Thread(target=acquire)
    thread.start()
    assert not got.is_set()
    assert ring.n_free == 0
    first.release()
    eventually(got.is_set, 5.0)
    thread.join()
    assert ring.n_free == 1


def test_a_slot_is_given_back_once() -> None:
    ring = PinnedRing(2, [((2,), torch.uint8)], torch.device("cpu"))
    slot = ring.acquire()
    slot.release()
    slot.release()
    assert ring.n_free == 2


@pytest.mark.parametrize("name", ["tpu", "cpu:0", "cuda:x", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="expected cpu, cuda or cuda:N"):
        choose_device(name)


def test_a_cuda_device_that_is_not_there_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="TH_RENDERER_DEVICE=cpu"):
        choose_device("cuda:99")
