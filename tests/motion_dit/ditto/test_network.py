"""Ditto's network: the keys of its checkpoint, and what its parts do."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from services.motion_dit.ditto.checkpoint import empty_lmdm
from services.motion_dit.ditto.layers import Attention, Film, Rotary, StepEmbedding
from services.motion_dit.ditto.network import LmdmConfig
from tests.motion_dit.ditto.tiny import TINY, drawn_clips, tiny_lmdm

MANIFEST = Path(__file__).parents[2] / "data" / "parity" / "ditto_lmdm_state_dict.json"


def test_keys_order_and_shapes_are_the_published_ones() -> None:
    described = json.loads(MANIFEST.read_text())
    network = empty_lmdm(LmdmConfig())
    found = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert list(found.items()) == [(key, shape) for key, (shape, _, _) in described["keys"].items()]
    buffers = {key for key, (_, _, kind) in described["keys"].items() if kind == "buffer"}
    assert set(found) - buffers == {name for name, _ in network.named_parameters()}
    assert sum(parameter.numel() for parameter in network.parameters()) == described["n_parameters"]


def test_rotary_turns_each_neighbouring_pair_by_its_own_angle() -> None:
    turned = Rotary(4)(torch.tensor([[[1.0, 0.0, 0.0, 1.0]] * 3]))[0]
    for position, row in enumerate(turned.tolist()):
        slow = position / 100.0
        expected = [math.cos(position), math.sin(position), -math.sin(slow), math.cos(slow)]
        assert row == pytest.approx(expected, abs=1e-6)


def test_step_embedding_is_sines_then_cosines_from_fast_to_slow() -> None:
    row = StepEmbedding(6)(torch.tensor([0, 500]))
    assert row[0].tolist() == [0, 0, 0, 1, 1, 1]
    angles = [500.0, 5.0, 0.05]
    expected = [*(math.sin(angle) for angle in angles), *(math.cos(angle) for angle in angles)]
    assert row[1].tolist() == pytest.approx(expected, abs=1e-4)


@torch.inference_mode()
def test_attention_is_that_of_torch() -> None:
    source = torch.Generator().manual_seed(2)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    state = {key: torch.randn(tensor.shape, generator=source) for key, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    ours = Attention(8, 2)
    ours.load_state_dict(state)
    q, k, v = torch.randn(3, 5, 8, generator=source), *torch.randn(2, 3, 7, 8, generator=source)
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v)[0], rtol=1e-5, atol=1e-4)


def test_film_scales_around_one_and_then_shifts() -> None:
    film = Film(2)
    linear = film.block[1]
    assert isinstance(linear, nn.Linear)
    linear.weight.data.zero_()
    linear.bias.data = torch.tensor([0.5, -1.0, 3.0, 4.0])  # scales, then shifts
    out = film(torch.tensor([[[2.0, 7.0]]]), torch.zeros(1, 2))
    assert out.tolist() == [[[2.0 * 1.5 + 3.0, 4.0]]]


@torch.inference_mode()
def test_every_input_matters() -> None:
    network, clips = tiny_lmdm(), drawn_clips(1)
    condition = network.encode(clips.cond)
    t = torch.tensor([300])
    base = network(clips.x, clips.cond_frame, t, condition)
    others = [
        network(clips.x + 0.1, clips.cond_frame, t, condition),
        network(clips.x, clips.cond_frame + 0.1, t, condition),
        network(clips.x, clips.cond_frame, t + 1, condition),
        network(clips.x, clips.cond_frame, t, network.encode(clips.cond.flip(1))),
        network(clips.x, clips.cond_frame, t, network.no_condition(1)),
    ]
    assert base.shape == (1, TINY.frames, TINY.motion_size)
    assert min(float((other - base).abs().max()) for other in others) > 1e-3


@torch.inference_mode()
def test_clips_of_a_batch_do_not_know_each_other() -> None:
    network, clips = tiny_lmdm(), drawn_clips(3)
    t = torch.tensor([999, 500, 0])
    together = network(clips.x, clips.cond_frame, t, network.encode(clips.cond))
    for i in range(3):
        row = slice(i, i + 1)
        alone = network(clips.x[row], clips.cond_frame[row], t[row], network.encode(clips.cond[row]))
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-5)
