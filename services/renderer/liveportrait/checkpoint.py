"""Files of weights to networks: official ``.pth`` files, or safetensors made from them; strict in everything.

Each network is built without memory of its own and takes the tensors of the file, so weights are held once. A file that
does not hold exactly the expected tensors, all finite, is refused with what was seen and what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from services.renderer.liveportrait.appearance import AppearanceFeatureExtractor
from services.renderer.liveportrait.config import NetworksConfig, read_config
from services.renderer.liveportrait.generator import SpadeGenerator
from services.renderer.liveportrait.motion_extractor import MotionExtractor
from services.renderer.liveportrait.stitching import StitchingNetwork
from services.renderer.liveportrait.warping import WarpingNetwork
from shared.errors import WeightsMismatch
from shared.weights import describe_placeholder

APPEARANCE = "appearance_feature_extractor"
MOTION = "motion_extractor"
WARPING = "warping_module"
GENERATOR = "spade_generator"
STITCHING = "stitching_retargeting_module"
NAMES = (APPEARANCE, MOTION, WARPING, GENERATOR, STITCHING)

OFFICIAL_FOLDERS = tuple(root + sub for root in ("", "liveportrait/") for sub in ("base_models", "retargeting_models"))
REMEDY = "Run `talkinghead weights pull liveportrait`, or copy the official file there again."
COUNTER = "num_batches_tracked"  # of batch norms: the only tensors that are whole numbers
N_NAMED = 4  # tensors that a message names
# What the unpickler raises for bytes that are no checkpoint, found by damaging good files.
UNREADABLE = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, OverflowError, RuntimeError, SafetensorError,
    TypeError, UnpicklingError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Networks:
    """The five networks, in evaluation mode, without gradients."""

    F: AppearanceFeatureExtractor
    M: MotionExtractor
    W: WarpingNetwork
    G: SpadeGenerator
    S: StitchingNetwork

    def to(self, device: torch.device | str) -> "Networks":
        """Move all of them; they are changed in place."""
        for network in (self.F, self.M, self.W, self.G, self.S):
            network.to(device)
        return self


def load_networks(folder: Path, config: NetworksConfig | None = None) -> Networks:
    """Load every network of a bundle, float32 on the CPU.

    Args:
        folder: holds ``NAME.safetensors`` or ``NAME.pth`` for each of ``NAMES``; ``.pth`` files may keep their official
            sub-folders.
        config: sizes; without it those of ``config.json`` in the folder, else the official ones.

    Raises:
        WeightsMismatch: a file is missing, is no checkpoint, or does not hold exactly the expected finite tensors.
    """
    networks = empty_networks(config or read_config(folder))
    named = zip(NAMES, (networks.F, networks.M, networks.W, networks.G, networks.S), strict=True)
    for name, network in named:
        path = find_checkpoint(folder, name)
        state = read_state(path)
        check_state(path, state, expected_shapes(network))
        network.load_state_dict(state, strict=True, assign=True)
        network.eval().requires_grad_(requires_grad=False)
    return networks


def empty_networks(config: NetworksConfig) -> Networks:
    """Networks whose tensors have shapes but no memory (device ``meta``)."""
    with torch.device("meta"):
        return Networks(
            F=AppearanceFeatureExtractor(config.appearance),
            M=MotionExtractor(config.motion),
            W=WarpingNetwork(config.warping),
            G=SpadeGenerator(config.generator),
            S=StitchingNetwork(config.stitching),
        )


def expected_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a network, by its key in the checkpoint."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def find_checkpoint(folder: Path, name: str) -> Path:
    """The file of one network; safetensors are preferred.

    Raises:
        WeightsMismatch: there is none.
    """
    candidates = [folder / f"{name}.safetensors", folder / f"{name}.pth"]
    candidates += [folder / sub / f"{name}.pth" for sub in OFFICIAL_FOLDERS]
    for path in candidates:
        if path.is_file():
            return path
    raise WeightsMismatch(f"{folder} has no {name}.safetensors and no {name}.pth. {REMEDY}")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of one file under flat keys, floating point ones as float32 on the CPU.

    A dict of state dicts (the stitching file) becomes ``SUBNET.KEY``; ``module.`` of data-parallel training is dropped.

    Raises:
        WeightsMismatch: the file is missing, truncated, a placeholder, or holds anything but tensors.
    """
    try:
        placeholder = describe_placeholder(path)
        if placeholder:
            raise WeightsMismatch(f"{path} is {placeholder}; expected weights of LivePortrait. {REMEDY}")
        content = _content(path)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        raise WeightsMismatch(
            f"{path} cannot be read as weights ({type(error).__name__}: {reason}); expected a whole {path.suffix} "
            f"file, this one may be truncated. {REMEDY}"
        ) from error
    return _flat(path, content)


def check_state(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the tensors of a file with those that the network has.

    Raises:
        WeightsMismatch: tensors are missing, left over, of another shape or kind, or not finite.
    """
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    shared_keys = [key for key in expected if key in found]
    problems = [
        _named("lacks", sorted(expected.keys() - found.keys())),
        _named("has unexpected", sorted(found.keys() - expected.keys())),
        _named(
            "has other shapes:",
            [f"{key} {found[key]}, expected {expected[key]}" for key in shared_keys if found[key] != expected[key]],
        ),
        _named("has other kinds of numbers:", [key for key in shared_keys if not _has_right_kind(key, state[key])]),
    ]
    if any(problems):
        raise WeightsMismatch(
            f"{path} holds {len(found)} tensors, the network expects {len(expected)}: it "
            f"{'; it '.join(filter(None, problems))}. It belongs to another network or size. {REMEDY}"
        )
    if broken := [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise WeightsMismatch(f"{path} {_named('has NaN or infinity in', broken)}; expected finite numbers. {REMEDY}")


def _has_right_kind(key: str, tensor: Tensor) -> bool:
    return tensor.dtype == (torch.int64 if key.endswith(COUNTER) else torch.float32)


def _content(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, expected tensors by name")
    return content


def _flat(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        parts = (
            {f"{key}.{inner}": item for inner, item in value.items()} if isinstance(value, Mapping) else {key: value}
        )
        flat.update({str(name).replace("module.", ""): item for name, item in parts.items()})
    if strange := [f"{key} ({type(item).__name__})" for key, item in flat.items() if not isinstance(item, Tensor)]:
        raise WeightsMismatch(f"{path} {_named('holds more than tensors:', strange)}; expected weights only. {REMEDY}")
    return {key: item.float() if item.is_floating_point() else item for key, item in flat.items()}


def _named(claim: str, keys: list[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - N_NAMED} more" if len(keys) > N_NAMED else ""
    return f"{claim} {', '.join(keys[:N_NAMED])}{rest}"
