"""Published checkpoints against networks: exactly the expected tensors, all finite, or a refusal that says why."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import WeightsMismatch
from shared.weights import describe_placeholder

N_NAMED = 4  # tensors that a message names
# What the unpickler raises for bytes that are no checkpoint.
UNREADABLE = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, OverflowError, RuntimeError, TypeError,
    UnpicklingError, ValueError,
)  # fmt: skip

Shape = tuple[int, ...]


def read_pickle(path: Path, remedy: str) -> Any:
    """The content of a file that `torch.save` wrote; nothing but plain values and tensors, which run no code.

    Args:
        path: of the file.
        remedy: what to do about a bad one, a sentence.

    Raises:
        WeightsMismatch: the file is missing, truncated, a placeholder, or holds other objects.
    """
    try:
        placeholder = describe_placeholder(path)
        if placeholder:
            raise WeightsMismatch(f"{path} is {placeholder}; expected weights. {remedy}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsMismatch(
            f"{path} cannot be read as weights ({type(error).__name__}: {reason}); it may be missing or truncated. "
            f"{remedy}"
        ) from error


def expected_shapes(network: nn.Module) -> dict[str, Shape]:
    """Shape of every tensor of a network, by its key."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def check_state(path: Path, state: Mapping[str, object], expected: Mapping[str, Shape], remedy: str) -> None:
    """Compare what a file holds with what the network has.

    Args:
        path: of the file, for messages.
        state: its content by key.
        expected: shape of every tensor of the network, all float32.
        remedy: what to do, a sentence.

    Raises:
        WeightsMismatch: tensors are missing, left over, of another shape or kind, or not finite.
    """
    found = {key: value for key, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()}
    both = [key for key in expected if key in found]
    shapes = {key: tuple(found[key].shape) for key in both}
    problems = [
        _named("lacks", sorted(expected.keys() - state.keys())),
        _named("has unexpected", sorted(str(key) for key in state.keys() - expected.keys())),
        _named("has no floating point numbers in", [key for key in expected if key in state and key not in found]),
        _named(
            "has other shapes:",
            [f"{key} {shapes[key]}, expected {expected[key]}" for key in both if shapes[key] != expected[key]],
        ),
    ]
    if any(problems):
        raise WeightsMismatch(
            f"{path} holds {len(state)} tensors, the network expects {len(expected)}: it "
            f"{'; it '.join(filter(None, problems))}. It belongs to another network or size. {remedy}"
        )
    if broken := [key for key in both if not torch.isfinite(found[key]).all()]:
        raise WeightsMismatch(f"{path} {_named('has NaN or infinity in', broken)}; expected finite numbers. {remedy}")


def _named(claim: str, keys: list[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - N_NAMED} more" if len(keys) > N_NAMED else ""
    return f"{claim} {', '.join(keys[:N_NAMED])}{rest}"
