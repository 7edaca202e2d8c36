"""LivePortrait at a small size: synthetic weights in the layout and with the key names of the official repository."""

import io
import json
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from services.renderer.liveportrait.appearance import AppearanceConfig
from services.renderer.liveportrait.checkpoint import NAMES, STITCHING, empty_networks, expected_shapes
from services.renderer.liveportrait.config import CONFIG_FILE, NetworksConfig, write_config
from services.renderer.liveportrait.dense_motion import WarpingConfig
from services.renderer.liveportrait.generator import GeneratorConfig
from services.renderer.liveportrait.motion_extractor import MotionExtractorConfig
from services.renderer.liveportrait.stitching import StitchingConfig
from tests.parity.fill import synthetic_state_dict

TINY = NetworksConfig(
    AppearanceConfig(first_channels=4, volume_channels=4, volume_depth=2, n_resblocks=1),
    MotionExtractorConfig(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16)),
    WarpingConfig(feature_channels=4, depth=2, compressed_channels=1, width=2, max_width=8, steps=2, out_channels=16),
    GeneratorConfig(feature_channels=16, image_channels=8, hidden=8),
    StitchingConfig(shoulder_widths=(8,), mouth_widths=(8,), eye_widths=(8,)),
)
RETARGETING = f"liveportrait/retargeting_models/{STITCHING}.pth"


def official_path(name: str) -> str:
    """Where the official repository keeps the checkpoint of a network."""
    return RETARGETING if name == STITCHING else f"liveportrait/base_models/{name}.pth"


def official_files(seed: int, config: NetworksConfig = TINY) -> dict[str, bytes]:
    """Checkpoints as published, by path in the repository, and the sizes."""
    states = synthetic_states(seed, config)
    files = {official_path(name): saved(_as_published(name, state)) for name, state in states.items()}
    return {**files, CONFIG_FILE: json.dumps(asdict(config)).encode()}


def write_official(folder: Path, seed: int = 0) -> None:
    """The published files in their sub-folders, and ``config.json`` at the top."""
    for name, content in official_files(seed).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_safetensors(folder: Path, seed: int = 0) -> None:
    """A bundle's folder as a pull leaves it, without its lock file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in synthetic_states(seed).items():
        save_file(state, folder / f"{name}.safetensors")
    write_config(folder, TINY)


def synthetic_states(seed: int, config: NetworksConfig = TINY) -> dict[str, dict[str, Tensor]]:
    """Tensors of each network by flat key."""
    networks = empty_networks(config)
    parts = (networks.F, networks.M, networks.W, networks.G, networks.S)
    return {
        name: synthetic_state_dict(name, expected_shapes(part), seed) for name, part in zip(NAMES, parts, strict=True)
    }


def saved(content: object) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _as_published(name: str, state: dict[str, Tensor]) -> object:
    if name != STITCHING:
        return OrderedDict(state)
    subnets: dict[str, OrderedDict[str, Tensor]] = {}
    for key, tensor in state.items():
        subnet, _, inner = key.partition(".")
        subnets.setdefault(subnet, OrderedDict())[f"module.{inner}"] = tensor
    return subnets
