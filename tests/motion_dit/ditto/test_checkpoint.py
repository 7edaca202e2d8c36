"""Ditto's file: loaded as published, with or without its buffers; anything else is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from services.motion_dit.ditto.checkpoint import load_lmdm
from shared.errors import WeightsMismatch
from tests.motion_dit.ditto.tiny import TINY, drawn_clips, tiny_lmdm

State = dict[str, Tensor]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lmdm_v0.4_hubert.pth"


def good_state() -> State:
    return dict(tiny_lmdm().state_dict())


def save(path: Path, state: State) -> None:
    torch.save({"model_state_dict": state, "epoch": 300}, path)


@pytest.mark.parametrize("has_frequencies", [True, False])
@torch.inference_mode()
def test_the_loaded_network_is_the_saved_one(has_frequencies: bool, path: Path) -> None:
    state = {key: t for key, t in good_state().items() if has_frequencies or not key.endswith("rotary.freqs")}
    save(path, state)
    loaded, clips, t = load_lmdm(path, TINY), drawn_clips(2), torch.tensor([500, 10])
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    saved = tiny_lmdm()
    expected = saved(clips.x, clips.cond_frame, t, saved.encode(clips.cond))
    torch.testing.assert_close(
        loaded(clips.x, clips.cond_frame, t, loaded.encode(clips.cond)), expected, rtol=0, atol=0
    )


def test_frequencies_of_the_file_are_used(path: Path) -> None:
    state = {key: t * 2 if key.endswith("rotary.freqs") else t for key, t in good_state().items()}
    save(path, state)
    torch.testing.assert_close(load_lmdm(path, TINY).rotary.freqs, 2 * tiny_lmdm().rotary.freqs)


def test_half_precision_weights_become_float32(path: Path) -> None:
    save(path, {key: tensor.half() for key, tensor in good_state().items()})
    assert {tensor.dtype for tensor in load_lmdm(path, TINY).state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"model_state_dict": [1]}])
def test_another_kind_of_checkpoint_is_refused(content: object, path: Path) -> None:
    torch.save(content, path)
    with pytest.raises(WeightsMismatch, match=r"no weights under 'model_state_dict'.*Copy lmdm_v0.4_hubert.pth"):
        load_lmdm(path, TINY)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("seqTransDecoder.stack.1.film2.block.1.weight", None, "lacks seqTransDecoder.stack.1.film2.block.1.weight"),
        ("cond_encoder.1.norm1.weight", torch.ones(16), "unexpected cond_encoder.1.norm1.weight"),
        ("cond_projection.weight", torch.zeros(16, 1059), r"cond_projection.weight \(16, 1059\), expected \(16, 7\)"),
        ("final_layer.bias", torch.full((5,), torch.nan), "NaN or infinity in final_layer.bias"),
    ],
)
def test_a_state_that_is_not_the_networks_is_refused(key: str, value: Tensor | None, reason: str, path: Path) -> None:
    state = good_state()
    state.pop(key, None)
    if value is not None:
        state[key] = value
    save(path, state)
    with pytest.raises(WeightsMismatch, match=f"{reason}.*Copy lmdm_v0.4_hubert.pth"):
        load_lmdm(path, TINY)


def test_weights_of_another_size_are_refused(path: Path) -> None:
    save(path, good_state())
    with pytest.raises(WeightsMismatch, match="belongs to another network or size"):
        load_lmdm(path)


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="may be missing"):
        load_lmdm(path, TINY)
