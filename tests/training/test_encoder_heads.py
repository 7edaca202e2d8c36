from pathlib import Path

import pytest
import torch

from shared.errors import WeightsMismatch
from training.encoder_heads import EncoderWithHeads, read_heads, write_heads


def test_heads_come_back_for_their_own_encoder_only(tmp_path: Path) -> None:
    model = EncoderWithHeads(torch.nn.Identity(), 192)
    path = tmp_path / "heads.safetensors"
    write_heads(model, "a" * 64, path)
    assert path.stat().st_size < 10_000
    heads = read_heads(path, "a" * 64)
    assert sorted(heads) == ["classify.bias", "classify.weight", "open.bias", "open.weight"]
    torch.testing.assert_close(heads["classify.weight"], model.classify.weight, atol=1e-3, rtol=1e-3)
    with pytest.raises(WeightsMismatch, match="belongs to encoder aaaaaaaaaaaa, this one is bbbbbbbbbbbb"):
        read_heads(path, "b" * 64)


def test_a_file_that_is_none_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    for content in (None, b"nothing of the kind"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsMismatch, match=r"cannot read .*heads\.safetensors"):
            read_heads(path, "a" * 64)
