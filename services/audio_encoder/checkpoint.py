"""Files -> network: our shipped weights, or any folder that transformers' ``save_pretrained`` wrote.

The one place that knows file names, configuration keys and key maps. Loading is strict: every weight must be there, of
the right shape, and finite. Only safetensors are read, nothing is unpickled and nothing is fetched.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from services.audio_encoder.frontend import LogMel, feature_stride, receptive_field
from shared.errors import WeightsMismatch
from shared.timeline import FEATURE_STRIDE_SAMPLES

EMBEDDED_CONFIG = Path(__file__).with_name("embedded.json")
EMBEDDED_WEIGHTS = Path(__file__).with_name("embedded.safetensors")
NORMALISED_GAIN = 10.0  # long-term RMS 0.1 -> 1, for networks trained on normalised sound

_FRONT_END = "front_end"
_MIRROR_ENDS = "mirror_ends"
_PREFIXES = ("wav2vec2.", "hubert.")
_UNUSED = ("lm_head.", "masked_spec_embed", "quantizer.", "project_q.", "project_hid.", "classifier.", "projector.")
_OLD_WEIGHT_NORM = {"conv.weight_g": "conv.parametrizations.weight.original0",
                    "conv.weight_v": "conv.parametrizations.weight.original1"}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A loaded encoder: ``model(wave)`` returns an object with ``last_hidden_state``.

    Attributes:
        model: the network, frozen, in evaluation mode.
        hidden_size: width of its output.
        receptive_field: samples one output sees.
        input_gain: factor from our level (RMS about 0.1) to the one it was trained on.
        mirrors_ends: a window's sound is padded by its own mirror image, not by the sound around it.
    """

    model: nn.Module
    hidden_size: int
    receptive_field: int
    input_gain: float
    mirrors_ends: bool = False


def load_network(folder: Path | None) -> Network:
    """Load the shipped encoder, or a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        WeightsMismatch: files are missing or damaged, or do not fit each other.
    """
    config_path = EMBEDDED_CONFIG if folder is None else folder / "config.json"
    weights_path = EMBEDDED_WEIGHTS if folder is None else folder / "model.safetensors"
    config = _read_json(config_path)
    if (expected := config.get("sha256")) is not None:
        _check_digest(weights_path, str(expected))
    model = build_model(config)
    try:
        state = load_file(weights_path)
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"cannot read {weights_path}: {error}. Put model.safetensors there.") from error
    load_strictly(model, state, weights_path.name)
    strides, kernels = config["conv_stride"], config["conv_kernel"]
    if feature_stride(strides) != FEATURE_STRIDE_SAMPLES:
        raise WeightsMismatch(
            f"{config_path.name}: one feature per {feature_stride(strides)} samples, expected {FEATURE_STRIDE_SAMPLES}"
        )
    return Network(
        model.eval().requires_grad_(False),
        int(config["hidden_size"]),
        receptive_field(kernels, strides),
        NORMALISED_GAIN if folder is not None and _wants_normalised(folder) else 1.0,
        config.get(_MIRROR_ENDS) is True,
    )


def build_model(config: dict[str, Any]) -> nn.Module:
    """An untrained network: stock Wav2Vec2Model or HubertModel, with our front end if the configuration names it.

    Raises:
        WeightsMismatch: the configuration is of another kind of network.
    """
    stock = {k: v for k, v in config.items() if k not in (_FRONT_END, _MIRROR_ENDS, "sha256")}
    stock |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
    model = _stock_model(stock)
    front_end = config.get(_FRONT_END)
    if front_end is not None:
        if front_end.get("type") != "log_mel":
            raise WeightsMismatch(f"unknown front end {front_end.get('type')!r}, expected 'log_mel'")
        model.feature_extractor = LogMel(int(front_end["n_mels"]), int(config["conv_dim"][-1]))
    return model


def load_strictly(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy weights into the network as float32; heads and prefixes of published checkpoints are dropped.

    Raises:
        WeightsMismatch: a weight is missing, left over, of another shape, or not finite.
    """
    named = {_map_key(key): value for key, value in state.items() if not _is_unused(key)}
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - named.keys()), sorted(named.keys() - wanted.keys())
    if missing or unknown:
        raise WeightsMismatch(
            f"{source} does not fit its configuration: {len(missing)} weights missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}. Take both files from the same release."
        )
    for key, value in named.items():
        if value.shape != wanted[key].shape:
            raise WeightsMismatch(f"{source}: {key} is {tuple(value.shape)}, expected {tuple(wanted[key].shape)}")
        if not torch.isfinite(value).all():
            raise WeightsMismatch(f"{source}: {key} holds NaN or infinity; the file is damaged")
    model.load_state_dict({key: value.float() for key, value in named.items()})


def _stock_model(config: dict[str, Any]) -> nn.Module:
    kind = config.get("model_type")
    if kind == "wav2vec2":
        from transformers.models.wav2vec2.configuration_wav2vec2 import Wav2Vec2Config
        from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Model

        return Wav2Vec2Model(Wav2Vec2Config(**config))
    if kind == "hubert":
        from transformers.models.hubert.configuration_hubert import HubertConfig
        from transformers.models.hubert.modeling_hubert import HubertModel

        return HubertModel(HubertConfig(**config))
    raise WeightsMismatch(f"model_type is {kind!r}, expected 'wav2vec2' or 'hubert'")


def _map_key(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    for old, new in _OLD_WEIGHT_NORM.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _is_unused(key: str) -> bool:
    bare = key
    for prefix in _PREFIXES:
        bare = bare.removeprefix(prefix)
    return bare.startswith(_UNUSED)


def _wants_normalised(folder: Path) -> bool:
    path = folder / "preprocessor_config.json"
    return bool(_read_json(path).get("do_normalize", True)) if path.is_file() else False


def _check_digest(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsMismatch(f"cannot read {path}: {error}") from error
    if found != expected:
        raise WeightsMismatch(f"{path.name} has SHA-256 {found[:12]}, its configuration says {expected[:12]}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsMismatch(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise WeightsMismatch(f"{path} holds no JSON object")
    return content
