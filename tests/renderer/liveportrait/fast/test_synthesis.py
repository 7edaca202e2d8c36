"""The whole of W and G rearranged equals the readable networks, in batches, in half precision, without host waits."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.dense_motion import identity_grid
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.fast.warping import SourceState
from shared.errors import ShapeError
from tests.renderer.liveportrait.conftest import Frames

CPU = torch.device("cpu")
IMAGE_TOLERANCE = 2e-5
# Measured on the frames of this test: bf16 3.0e-2 at worst, rms 3.9e-3 of an image in 0..1.
BF16_MAX, BF16_RMS = 6e-2, 8e-3
HOST_WAITS = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "equal")


class NoHostWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations that read a value back, have a shape that depends on data, or upload Python numbers."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        assert func.overloadpacket.__name__ not in HOST_WAITS, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture(
    scope="module", params=[FastOptions(), FastOptions(plain_map_px=16, winograd_channels=8)], ids=["gpu", "cpu"]
)
def synthesis(networks: Networks, request: pytest.FixtureRequest) -> FastSynthesis:
    """With what a GPU gets, and with what a CPU gets, at channel counts of the small networks."""
    return FastSynthesis.from_networks(networks.W, networks.G, request.param)


@pytest.fixture(scope="module")
def half(networks: Networks) -> FastSynthesis:
    return FastSynthesis.from_networks(networks.W, networks.G, FastOptions.for_device(CPU, torch.bfloat16))


@pytest.fixture(scope="module")
def image(networks: Networks, frames: Frames) -> Tensor:
    warped: Tensor = networks.W(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s).out
    return networks.G(warped)  # type: ignore[no-any-return]


def test_images_equal_the_reference(synthesis: FastSynthesis, frames: Frames, image: Tensor) -> None:
    ours = synthesis(synthesis.source(frames.f_s, frames.x_s), frames.x_d)
    assert image.std() > 0.05
    torch.testing.assert_close(ours, image, rtol=0, atol=IMAGE_TOLERANCE)


def test_motion_and_occlusion_equal_the_reference(synthesis: FastSynthesis, networks: Networks, frames: Frames) -> None:
    with torch.inference_mode():
        ours = synthesis.warping(synthesis.source(frames.f_s, frames.x_s), frames.x_d)
        expected = networks.W(frames.f_s, kp_driving=frames.x_d, kp_source=frames.x_s)
    torch.testing.assert_close(ours.deformation, expected.deformation, rtol=0, atol=5e-6)
    torch.testing.assert_close(ours.occlusion_map, expected.occlusion_map, rtol=0, atol=5e-6)
    torch.testing.assert_close(ours.out, expected.out, rtol=0, atol=1e-4)


def test_portraits_of_a_batch_do_not_see_each_other(synthesis: FastSynthesis, frames: Frames, image: Tensor) -> None:
    portraits = [synthesis.source(frames.f_s[i : i + 1], frames.x_s[i : i + 1]) for i in (0, 1)]
    rows = torch.tensor([1, 0, 1])
    ours = synthesis(SourceState.stack(portraits).select(rows), frames.x_d[rows])
    torch.testing.assert_close(ours, image[rows], rtol=0, atol=IMAGE_TOLERANCE)


def test_frames_are_truncated_bytes_of_the_image(synthesis: FastSynthesis, frames: Frames) -> None:
    source = synthesis.source(frames.f_s, frames.x_s)
    drawn, is_finite = synthesis.frames_u8(source, frames.x_d)
    expected = (synthesis(source, frames.x_d) * 255).floor().to(torch.uint8).permute(0, 2, 3, 1)
    assert torch.equal(drawn, expected)
    assert drawn.is_contiguous()
    assert is_finite.tolist() == [True, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_only_the_frame_with_undefined_numbers_is_flagged(
    synthesis: FastSynthesis, frames: Frames, value: float
) -> None:
    broken = frames.f_s.clone()
    broken[1] = value
    _, is_finite = synthesis.frames_u8(synthesis.source(broken, frames.x_s), frames.x_d)
    assert is_finite.tolist() == [True, False]


def test_nothing_in_a_frame_waits_for_the_device(synthesis: FastSynthesis, frames: Frames) -> None:
    source = synthesis.source(frames.f_s, frames.x_s)
    rows = torch.tensor([0, 1])
    with NoHostWaits():  # type: ignore[no-untyped-call]
        drawn, _ = synthesis.frames_u8(source.select(rows), frames.x_d)
    assert drawn.shape == (2, 128, 96, 3)


def test_bf16_stays_within_its_bound(half: FastSynthesis, frames: Frames, image: Tensor) -> None:
    difference = half(half.source(frames.f_s, frames.x_s), frames.x_d) - image
    assert difference.abs().max() < BF16_MAX
    assert difference.square().mean().sqrt() < BF16_RMS


def test_half_precision_does_not_round_coordinates(half: FastSynthesis, frames: Frames) -> None:
    at_rest = half.warping(half.source(frames.f_s, frames.x_s), frames.x_s)
    assert at_rest.out.dtype == torch.bfloat16
    identity = identity_grid((4, 16, 12), frames.x_s).expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(at_rest.deformation, identity, rtol=0, atol=1e-6)


def test_a_batch_that_does_not_fit_its_portraits_is_refused(synthesis: FastSynthesis, frames: Frames) -> None:
    source = synthesis.source(frames.f_s, frames.x_s)
    with pytest.raises(ShapeError, match=r"\(1, 21, 3\).*\(2, 21, 3\).*select"):
        synthesis(source, frames.x_d[:1])


def test_the_networks_are_left_as_they_were(networks: Networks) -> None:
    before = {key: tensor.clone() for key, tensor in networks.G.state_dict().items()}
    FastSynthesis.from_networks(networks.W, networks.G)
    assert all(torch.equal(tensor, before[key]) for key, tensor in networks.G.state_dict().items())
