import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.hubert.configuration_hubert import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertModel
from transformers.models.wav2vec2.configuration_wav2vec2 import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2ForCTC, Wav2Vec2Model

from services.audio_encoder.checkpoint import EMBEDDED_CONFIG, EMBEDDED_WEIGHTS, load_network
from services.audio_encoder.model import AudioEncoder, load_encoder
from shared.errors import WeightsMismatch
from shared.timeline import Geometry

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
}  # fmt: skip


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**SMALL)).save_pretrained(tmp_path)
    return tmp_path


def copy_of_embedded(folder: Path) -> tuple[dict[str, object], dict[str, torch.Tensor]]:
    """The shipped configuration without its digest, and the weights, to be damaged and written."""
    config = json.loads(EMBEDDED_CONFIG.read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    return config, load_file(EMBEDDED_WEIGHTS)


def test_the_shipped_encoder_loads_as_float32_and_frozen() -> None:
    network = load_network(None)
    assert (network.hidden_size, network.receptive_field, network.input_gain) == (192, 720, 1.0)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in network.model.parameters())
    assert not network.model.training


def test_a_stock_wav2vec2_folder_gives_two_features_per_frame(stock: Path) -> None:
    encoder = load_encoder(stock)
    geometry = Geometry()
    assert (encoder.receptive_field, encoder.feature_size) == (400, 17)
    assert encoder.span_samples(geometry) == 95 * 640 + 80
    assert encoder.encode(np.zeros(95 * 640 + 80, np.float32), 1.0, geometry).shape == (75, 17)


def test_stock_weights_give_what_the_library_gives(stock: Path) -> None:
    geometry = Geometry()
    wave = np.random.default_rng(0).standard_normal(95 * 640 + 80).astype(np.float32) * 0.1
    with torch.inference_mode():
        model = Wav2Vec2Model.from_pretrained(stock).train(False)
        reference = model(torch.from_numpy(wave)[None]).last_hidden_state[0]
    frames = reference.numpy().reshape(95, 2, 16).mean(axis=1)[10:85]
    np.testing.assert_array_equal(load_encoder(stock).encode(wave, 1.0, geometry)[:, :16], frames)


def test_hubert_and_ctc_checkpoints_load_too(tmp_path: Path) -> None:
    HubertModel(HubertConfig(**SMALL)).save_pretrained(tmp_path / "hubert")
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL)).save_pretrained(tmp_path / "ctc")
    for name in ("hubert", "ctc"):
        assert load_encoder(tmp_path / name).hidden_size == 16


def test_old_names_of_weight_norm_are_understood(stock: Path) -> None:
    state = load_file(stock / "model.safetensors")
    new = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    state["encoder.pos_conv_embed.conv.weight_g"] = state.pop(f"{new}0")
    state["encoder.pos_conv_embed.conv.weight_v"] = state.pop(f"{new}1")
    save_file(state, stock / "model.safetensors", metadata={"format": "pt"})
    assert load_encoder(stock).hidden_size == 16


def test_networks_of_normalised_sound_get_a_higher_level(stock: Path) -> None:
    (stock / "preprocessor_config.json").write_text('{"do_normalize": true}')
    assert load_network(stock).input_gain == 10.0


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "nan"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: str) -> None:
    _, state = copy_of_embedded(tmp_path)
    key = "feature_projection.projection.weight"
    if damage == "missing":
        del state[key]
    elif damage == "unknown":
        state["surprise"] = torch.zeros(1)
    elif damage == "shape":
        state[key] = state[key][:-1].contiguous()
    else:
        state[key][0, 0] = float("nan")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsMismatch, match=r"model\.safetensors"):
        load_network(tmp_path)


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    config, state = copy_of_embedded(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"sha256": "0" * 64}))
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsMismatch, match="SHA-256"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "expected 'wav2vec2' or 'hubert'"),
        ({"front_end": {"type": "cochlea"}}, "unknown front end"),
        ({"conv_stride": [160, 3]}, "one feature per 480 samples"),
    ],
)
def test_configurations_of_other_networks_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    config, state = copy_of_embedded(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsMismatch, match=message):
        load_network(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"config\.json"):
        load_encoder(tmp_path)


def test_the_shipped_encoder_is_the_one_its_facade_names(embedded: AudioEncoder) -> None:
    assert embedded.feature_size == 193
