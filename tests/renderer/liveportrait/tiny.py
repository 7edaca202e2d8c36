"""LivePortrait networks of few channels with synthetic weights: official image sizes and key points, little work."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from services.renderer.liveportrait.appearance import AppearanceConfig
from services.renderer.liveportrait.checkpoint import NAMES, Networks, empty_networks, expected_shapes
from services.renderer.liveportrait.config import NetworksConfig, write_config
from services.renderer.liveportrait.dense_motion import WarpingConfig
from services.renderer.liveportrait.generator import GeneratorConfig
from services.renderer.liveportrait.motion_extractor import MotionExtractorConfig
from services.renderer.liveportrait.stitching import StitchingConfig
from tests.parity.fill import synthetic_state_dict

TINY = NetworksConfig(
    appearance=AppearanceConfig(first_channels=4, volume_channels=4, volume_depth=4, n_resblocks=1),
    motion=MotionExtractorConfig(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16)),
    warping=WarpingConfig(feature_channels=4, depth=4, compressed_channels=1, width=2, max_width=8, out_channels=8),
    generator=GeneratorConfig(feature_channels=8, image_channels=4, hidden=4),
    stitching=StitchingConfig(shoulder_widths=(8,), mouth_widths=(8,), eye_widths=(8,)),
)


def synthetic_states(config: NetworksConfig, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """State dict of every network by its official name."""
    networks = empty_networks(config)
    modules = (networks.F, networks.M, networks.W, networks.G, networks.S)
    return {
        name: synthetic_state_dict(name, expected_shapes(module), seed)
        for name, module in zip(NAMES, modules, strict=True)
    }


def synthetic_networks(config: NetworksConfig, seed: int = 0) -> Networks:
    """Networks with synthetic weights, ready to run."""
    networks = empty_networks(config)
    modules = (networks.F, networks.M, networks.W, networks.G, networks.S)
    for module, state in zip(modules, synthetic_states(config, seed).values(), strict=True):
        module.load_state_dict(state, strict=True, assign=True)
        module.eval().requires_grad_(requires_grad=False)
    return networks


def write_safetensors(folder: Path, config: NetworksConfig, seed: int = 0) -> None:
    """A bundle's folder as ``talkinghead weights pull`` leaves it, with ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in synthetic_states(config, seed).items():
        save_file(state, folder / f"{name}.safetensors")
    write_config(folder, config)


def write_pth(folder: Path, config: NetworksConfig, seed: int = 0) -> None:
    """The five files as they are published: two sub-folders, data-parallel prefixes in the stitching file."""
    for name, state in synthetic_states(config, seed).items():
        is_stitching = name.startswith("stitching")
        path = folder / ("retargeting_models" if is_stitching else "base_models") / f"{name}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(nested(state) if is_stitching else state, path)
    write_config(folder, config)


def nested(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Flat stitching weights as a dict of state dicts whose keys open with ``module.``."""
    content: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        subnet, _, rest = key.partition(".")
        content.setdefault(subnet, {})[f"module.{rest}"] = tensor
    return content
