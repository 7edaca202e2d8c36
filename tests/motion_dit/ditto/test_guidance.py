"""Guided clips: one batch per step gives what two passes with everything computed anew give."""

import pytest
import torch
from torch import Tensor

from services.motion_dit.ditto.ddim import cosine_alphas, ddim_steps, sample
from services.motion_dit.ditto.guidance import GuidedClip, guided
from services.motion_dit.ditto.network import Lmdm
from shared.errors import ShapeError
from tests.motion_dit.ditto.tiny import TINY, Clips, drawn_clips, tiny_lmdm


def in_two_passes(network: Lmdm, clips: Clips, x: Tensor, t: int) -> Tensor:
    """As published: each branch is a pass of its own that encodes the conditions."""
    steps = torch.full((len(x),), t)
    with_condition: Tensor = network(x, clips.cond_frame, steps, network.encode(clips.cond))
    without: Tensor = network(x, clips.cond_frame, steps, network.no_condition(len(x)))
    return 2.0 * with_condition - without


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_one_batch_equals_two_passes(batch: int) -> None:
    network, clips = tiny_lmdm(), drawn_clips(batch)
    predict = GuidedClip(network, clips.cond, clips.cond_frame)
    for t in (999, 400, 0):
        torch.testing.assert_close(predict(clips.x, t), in_two_passes(network, clips, clips.x, t), rtol=0, atol=2e-5)


@torch.inference_mode()
def test_sampled_motion_is_that_of_two_passes() -> None:
    network, clips = tiny_lmdm(), drawn_clips(2)
    noise = torch.randn(9, *clips.x.shape, generator=torch.Generator().manual_seed(4))
    steps = ddim_steps(cosine_alphas())
    fast = sample(GuidedClip(network, clips.cond, clips.cond_frame), clips.x, noise, steps)
    plain = sample(lambda x, t: in_two_passes(network, clips, x, t), clips.x, noise, steps)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-4)
    assert plain.std() > 0.1


def test_guidance_goes_as_far_again_beyond_the_condition() -> None:
    assert guided(torch.tensor([3.0]), torch.tensor([1.0])).item() == 5.0


@pytest.mark.parametrize("wrong", ["cond", "cond_frame", "x"])
@torch.inference_mode()
def test_inputs_that_do_not_fit_are_refused(wrong: str) -> None:
    clips = drawn_clips(2)
    inputs = {"x": clips.x, "cond": clips.cond, "cond_frame": clips.cond_frame}
    inputs[wrong] = inputs[wrong][..., 1:]
    expected = (TINY.condition_size if wrong == "cond" else TINY.motion_size) - 1
    with pytest.raises(ShapeError, match=rf"{expected}\).*expects"):
        GuidedClip(tiny_lmdm(), inputs["cond"], inputs["cond_frame"])(inputs["x"], 5)
