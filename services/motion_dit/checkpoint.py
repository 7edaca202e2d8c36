"""The motion model's checkpoint: safetensors with float16 weights, the sizes of the network in its metadata.

Loading is strict: every tensor is there, has the right shape, and nothing is left over.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from services.motion_dit.model import DiTConfig, MotionDiT
from shared.errors import WeightsMismatch

FORMAT = "talkinghead-motion-dit-1"
EXACT_PREFIX = "normaliser."  # these stay float32
EMBEDDED = Path(__file__).with_name("embedded.safetensors")


def save_checkpoint(model: MotionDiT, path: Path) -> None:
    """Write the weights as float16 (the normaliser as float32)."""
    tensors = {
        name: tensor.detach().cpu().contiguous().to(torch.float32 if name.startswith(EXACT_PREFIX) else torch.float16)
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, path, metadata={"format": FORMAT, "config": json.dumps(asdict(model.config))})
    path.chmod(0o644)  # safetensors leaves it readable by the owner only


def load_checkpoint(path: Path) -> MotionDiT:
    """Build the network of a checkpoint and load it, in float32 on the CPU.

    Raises:
        WeightsMismatch: missing or unreadable file, another format, or tensors that do not fit.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(torch.float32) for name in file.keys()}  # noqa: SIM118  not a dict
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"cannot read motion weights {path}: {error}") from error
    if metadata.get("format") != FORMAT:
        raise WeightsMismatch(f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}")
    try:
        model = MotionDiT(DiTConfig(**json.loads(metadata["config"])))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsMismatch(f"{path} has no usable network sizes in its metadata: {error}") from error
    _check(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, model)
    model.load_state_dict(tensors, strict=True)
    return model


def _check(path: Path, found: dict[str, tuple[int, ...]], model: MotionDiT) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        f"{name}: {found.get(name, 'missing')}, expected {expected.get(name, 'nothing')}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise WeightsMismatch(f"{path} does not fit the network in {len(wrong)} tensors: {'; '.join(wrong[:5])}")
