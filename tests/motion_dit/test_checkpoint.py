from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint, save_checkpoint
from services.motion_dit.model import MotionDiT
from shared.bundles import load_bundle
from shared.errors import WeightsMismatch


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_weights_survive_up_to_half_precision(model: MotionDiT, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "m.safetensors")
    back = load_checkpoint(tmp_path / "m.safetensors")
    assert back.config == model.config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert torch.equal(back.normaliser.decode_matrix, model.normaliser.decode_matrix)


@pytest.mark.parametrize("change", ["missing", "shape", "left over"])
def test_any_difference_is_refused(model: MotionDiT, tmp_path: Path, change: str) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(model, path)
    tensors, metadata = load_file(path), _metadata(path)
    if change == "missing":
        del tensors["final.bias"]
    elif change == "shape":
        tensors["final.bias"] = torch.zeros(3)
    else:
        tensors["other"] = torch.zeros(3)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(WeightsMismatch, match=r"final\.bias|other"):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(WeightsMismatch, match="cannot read"):
        load_checkpoint(path)
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsMismatch, match="cannot read"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatch, match="format"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "talkinghead-motion-dit-1", "config": '{"wide": 3}'})
    with pytest.raises(WeightsMismatch, match="sizes"):
        load_checkpoint(path)


def test_the_shipped_checkpoint_fits_its_bundle() -> None:
    model = load_checkpoint(EMBEDDED)
    bundle = load_bundle("embedded")
    assert model.config.feature_size == bundle.feature_size
    assert model.config.context == bundle.geometry.context
    assert EMBEDDED.stat().st_size < 15_000_000
