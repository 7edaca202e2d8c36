"""The guard of half precision, with real networks at a small size where the CPU can compute with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from structlog.testing import capture_logs
from torch import Tensor

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.fast.warping import SourceState
from services.renderer.liveportrait.graphs import LaunchOptions
from services.renderer.liveportrait.precision import GuardedSynthesis, Synthesis, choose_dtype
from shared.errors import ConfigurationError
from shared.metrics import precision_fallbacks_total
from tests.parity.networks import synthetic_networks
from tests.tiny_liveportrait import TINY

CPU = torch.device("cpu")
MAP_PX = 8
EAGER = LaunchOptions(max_batch_frames=2)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return synthetic_networks(0, TINY)


@pytest.fixture(scope="module")
def source(networks: Networks) -> SourceState:
    torch.manual_seed(0)
    depth, channels = TINY.warping.depth, TINY.warping.feature_channels
    return _fast(networks)(torch.float32).source(
        torch.randn(1, channels, depth, MAP_PX, MAP_PX), 0.2 * torch.randn(1, 21, 3)
    )


def _fast(networks: Networks) -> Callable[[torch.dtype], FastSynthesis]:
    def make(dtype: torch.dtype) -> FastSynthesis:
        options = replace(FastOptions.for_device(CPU), compute_dtype=dtype)
        return FastSynthesis.from_networks(networks.W, networks.G, options)

    return make


def _scaled(networks: Networks, factor: float) -> Networks:
    """The same picture from larger numbers: instance norms remove the factor, but fp16 ends at 65,504."""
    louder = synthetic_networks(0, TINY)
    with torch.no_grad():
        louder.G.fc.weight.mul_(factor)
        assert louder.G.fc.bias is not None
        louder.G.fc.bias.mul_(factor)
    return louder


def _fallbacks() -> float:
    return precision_fallbacks_total._value.get()  # type: ignore[no-any-return]  # the client has no reader


def _settled(
    guard: GuardedSynthesis, source: SourceState, n_frames: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    made = guard.frames([source] * n_frames, source.x_s.expand(n_frames, -1, -1) + 0.02)
    return guard.settle(made, made.frames.numpy(), made.is_sound.numpy())


def test_half_precision_that_is_good_enough_stays(networks: Networks, source: SourceState) -> None:
    before = _fallbacks()
    guard = GuardedSynthesis(_fast(networks), torch.float16, CPU, EAGER)
    frames, is_sound = _settled(guard, source)
    exact, _ = _settled(GuardedSynthesis(_fast(networks), torch.float32, CPU, EAGER), source)
    assert is_sound.all()
    assert guard.dtype == torch.float16
    assert np.abs(frames.astype(int) - exact.astype(int)).max() <= 16
    assert _fallbacks() == before


def test_overflow_in_half_precision_is_drawn_again_in_fp32_which_stays(networks: Networks, source: SourceState) -> None:
    before = _fallbacks()
    loud = _scaled(networks, 1e6)
    guard = GuardedSynthesis(_fast(loud), torch.float16, CPU, EAGER)
    with capture_logs() as logs:
        frames, is_sound = _settled(guard, source)
        again, _ = _settled(guard, source)
    exact, _ = _settled(GuardedSynthesis(_fast(loud), torch.float32, CPU, EAGER), source)
    assert is_sound.all()
    assert np.array_equal(frames, exact)
    assert np.array_equal(again, exact)
    assert guard.dtype == torch.float32
    assert [line["event"] for line in logs] == ["precision.fallback"]
    assert _fallbacks() == before + 1


def test_the_warm_up_finds_out_before_the_first_job(networks: Networks, source: SourceState) -> None:
    guard = GuardedSynthesis(_fast(_scaled(networks, 1e6)), torch.float16, CPU, EAGER)
    guard.warm_up(source, source.x_s)
    assert guard.dtype == torch.float32


def test_numbers_that_fp32_cannot_hold_are_flagged_and_nothing_is_tried_again(
    networks: Networks, source: SourceState
) -> None:
    before = _fallbacks()
    broken = _scaled(networks, float("inf"))
    guard = GuardedSynthesis(_fast(broken), torch.float32, CPU, EAGER)
    _, is_sound = _settled(guard, source)
    assert not is_sound.any()
    assert _fallbacks() == before


@dataclass
class Painter:
    """Frames of one grey value; rows beyond a place are black or not finite."""

    grey: int
    finite: bool = True

    def source(self, f_s: Tensor, x_s: Tensor) -> SourceState:
        return SourceState(f_s, x_s, f_s, f_s, f_s)

    def frames_u8(self, state: SourceState, x_d: Tensor) -> tuple[Tensor, Tensor]:
        n_frames = len(x_d)
        return torch.full((n_frames, 4, 4, 3), self.grey, dtype=torch.uint8), torch.full((n_frames,), self.finite)


def _painted(half: Painter, full: Painter) -> tuple[GuardedSynthesis, SourceState]:
    def make(dtype: torch.dtype) -> Synthesis:
        return full if dtype == torch.float32 else half

    guard = GuardedSynthesis(make, torch.float16, CPU, EAGER)
    return guard, guard.source(torch.zeros(1, 1), torch.zeros(1, 21, 3))


def test_black_frames_of_half_precision_are_drawn_again() -> None:
    guard, source = _painted(Painter(0), Painter(7))
    frames, is_sound = _settled(guard, source)
    assert (frames == 7).all()
    assert is_sound.all()
    assert guard.dtype == torch.float32


def test_a_portrait_that_is_black_in_fp32_is_black() -> None:
    guard, source = _painted(Painter(0), Painter(0))
    frames, is_sound = _settled(guard, source)
    assert not frames.any()
    assert is_sound.all()


def test_what_is_not_finite_in_fp32_either_may_not_be_shown() -> None:
    guard, source = _painted(Painter(9, finite=False), Painter(9, finite=False))
    _, is_sound = _settled(guard, source)
    assert not is_sound.any()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_cpu_computes_in_fp32_unless_told_otherwise(precision: str, dtype: torch.dtype) -> None:
    assert choose_dtype(precision, CPU) == dtype


@pytest.mark.parametrize("precision", ["fp16", "int8", ""])
def test_formats_that_a_cpu_cannot_use_are_refused(precision: str) -> None:
    with pytest.raises(ConfigurationError, match="TH_RENDERER_PRECISION"):
        choose_dtype(precision, CPU)
