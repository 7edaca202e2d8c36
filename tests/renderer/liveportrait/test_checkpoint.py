"""Weights load strictly, from either format, and anything else is refused with a message that helps."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.renderer.liveportrait.checkpoint import (
    APPEARANCE,
    GENERATOR,
    NAMES,
    STITCHING,
    WARPING,
    empty_networks,
    expected_shapes,
    load_networks,
    read_state,
)
from services.renderer.liveportrait.config import NetworksConfig
from shared.errors import WeightsMismatch
from tests.parity.fill import manifest_entries
from tests.parity.networks import modules_by_name
from tests.tiny_liveportrait import RETARGETING, TINY, synthetic_states, write_official, write_safetensors

HTML = b"<!DOCTYPE html>\n<html><body>401 Unauthorized</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 181\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_safetensors(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_keys_shapes_and_kinds_are_the_official_ones_in_their_order(name: str) -> None:
    state = modules_by_name(empty_networks(NetworksConfig()))[name].state_dict()
    official = [(entry["key"], entry["shape"], entry["dtype"]) for entry in manifest_entries(name)]
    ours = [(key, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()]
    assert ours == official


@pytest.mark.parametrize("write", [write_safetensors, write_official])
def test_both_formats_give_the_same_networks(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    expected_states = synthetic_states(0)
    for name, module in modules_by_name(load_networks(tmp_path)).items():
        expected = expected_states[name]
        assert list(module.state_dict()) == list(expected)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in module.state_dict().items())
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_half_precision_weights_become_float32(bundle: Path) -> None:
    edit(bundle, GENERATOR, lambda state: {key: tensor.half() for key, tensor in state.items()})
    assert {tensor.dtype for tensor in load_networks(bundle).G.state_dict().values()} == {torch.float32}


def edit(folder: Path, name: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / f"{name}.safetensors"
    save_file(change(load_file(path)), path)


def without_two(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


def with_another(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"fc.scale": torch.ones(3)}


def transposed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"fc.weight": state["fc.weight"].transpose(0, 1).contiguous()}


def with_nan(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state["up_0.conv_1.bias"][2] = torch.nan
    return state


def with_infinity(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state["fc.weight"][0, 0, 0, 0] = torch.inf
    return state


def as_integers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"fc.bias": torch.zeros_like(state["fc.bias"], dtype=torch.int32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_two, "lacks fc.bias, fc.weight"),
        (with_another, "has unexpected fc.scale"),
        (transposed, r"other shapes: fc.weight \(16, 32, 3, 3\), expected \(32, 16, 3, 3\)"),
        (with_nan, "NaN or infinity in up_0.conv_1.bias"),
        (with_infinity, "NaN or infinity in fc.weight"),
        (as_integers, "other kinds of numbers: fc.bias"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str, bundle: Path
) -> None:
    edit(bundle, GENERATOR, change)
    with pytest.raises(WeightsMismatch, match=words) as refused:
        load_networks(bundle)
    assert "talkinghead weights pull" in refused.value.message


def test_weights_of_another_network_are_refused_with_a_few_names_of_many(bundle: Path) -> None:
    (bundle / f"{WARPING}.safetensors").write_bytes((bundle / f"{APPEARANCE}.safetensors").read_bytes())
    with pytest.raises(WeightsMismatch, match=r"lacks dense_motion_network.* and \d+ more; it has unexpected"):
        load_networks(bundle)


def test_official_sizes_are_expected_where_no_other_are_given(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    with pytest.raises(WeightsMismatch, match="belongs to another network or size"):
        load_networks(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / f"{STITCHING}.safetensors").unlink()
    with pytest.raises(WeightsMismatch, match=f"no {STITCHING}.safetensors and no {STITCHING}.pth"):
        load_networks(bundle)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("content", "words"), [(LFS, "git-LFS pointer"), (HTML, "an HTML page"), (b"", "an empty file")]
)
def test_what_stands_in_the_place_of_weights_is_recognised(
    content: bytes, words: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{GENERATOR}{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsMismatch, match=words):
        read_state(path)


def write_zip_pth(path: Path) -> None:
    torch.save(synthetic_states(0)[GENERATOR], path)


def write_legacy_pth(path: Path) -> None:
    torch.save(synthetic_states(0)[GENERATOR], path, _use_new_zipfile_serialization=False)


def write_one_safetensors(path: Path) -> None:
    save_file(synthetic_states(0)[GENERATOR], path)


@pytest.mark.parametrize("kept", [0.001, 0.3, 0.99])
@pytest.mark.parametrize(
    ("write", "suffix"),
    [(write_zip_pth, ".pth"), (write_legacy_pth, ".pth"), (write_one_safetensors, ".safetensors")],
)
def test_a_truncated_file_is_refused(write: Callable[[Path], None], suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"{GENERATOR}{suffix}"
    write(path)
    assert read_state(path).keys() == synthetic_states(0)[GENERATOR].keys()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(WeightsMismatch, match="truncated"):
        read_state(path)


class Intruder:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it ran")


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_checkpoint_does_not_run(is_zip: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / f"{GENERATOR}.pth", tmp_path / "trace"
    if is_zip:
        torch.save({"fc.weight": Intruder(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"fc.weight": Intruder(trace)}, protocol=2))
    with pytest.raises(WeightsMismatch, match="cannot be read as weights"):
        read_state(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {"fc.weight": "text"}}, [1, 2]])
def test_anything_but_tensors_by_name_is_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / f"{GENERATOR}.pth"
    torch.save(content, path)
    with pytest.raises(WeightsMismatch, match="tensors"):
        read_state(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be used"),
        ("[]", "the document is list"),
        ('{"decoder": {}}', "unknown decoder"),
        ('{"motion": {"widths": 8}}', r"motion.widths is 8, expected something like \(96"),
        ('{"warping": {"depth": 0}}', "warping.depth is 0, expected whole numbers from 1"),
        ('{"warping": {"depth": 8}}', "appearance.volume_depth is 16 but warping.depth is 8"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsMismatch, match=words):
        load_networks(tmp_path)


def test_module_prefixes_are_dropped_from_the_stitching_file(tmp_path: Path) -> None:
    write_official(tmp_path)
    raw = torch.load(tmp_path / RETARGETING, weights_only=True)
    assert all(key.startswith("module.") for subnet in raw.values() for key in subnet)
    state = read_state(tmp_path / RETARGETING)
    assert list(state) == list(expected_shapes(empty_networks(TINY).S))
