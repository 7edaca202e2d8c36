"""Ditto's published file of its motion network to `Lmdm`; strict in everything.

The file is ``ditto_pytorch/models/lmdm_v0.4_hubert.pth``: a pickle with the weights under ``model_state_dict``; other
entries do not matter. The rotary frequencies are buffers that some exports leave out: they are computed then.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from services.motion_dit.ditto.layers import rotary_frequencies
from services.motion_dit.ditto.network import Lmdm, LmdmConfig
from services.motion_dit.strict_state import check_state, expected_shapes, read_pickle
from shared.errors import WeightsMismatch

STATE = "model_state_dict"
FREQUENCIES = "rotary.freqs"
REMEDY = "Copy lmdm_v0.4_hubert.pth of the published Ditto models there again."


def load_lmdm(path: Path, config: LmdmConfig | None = None) -> Lmdm:
    """Load the network, float32 on the CPU, in evaluation mode, without gradients.

    Args:
        path: of the published file.
        config: sizes; without it the published ones.

    Raises:
        WeightsMismatch: the file is missing, is no checkpoint, or does not hold exactly the expected finite tensors.
    """
    network = empty_lmdm(config or LmdmConfig())
    content = read_pickle(path, REMEDY)
    stored = content.get(STATE) if isinstance(content, Mapping) else None
    if not isinstance(stored, Mapping):
        raise WeightsMismatch(f"{path} has no weights under {STATE!r}; expected Ditto's motion network. {REMEDY}")
    expected = expected_shapes(network)
    state = with_frequencies(stored, expected, network.config.hidden)
    check_state(path, state, expected, REMEDY)
    network.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def empty_lmdm(config: LmdmConfig) -> Lmdm:
    """A network whose tensors have shapes but no memory (device ``meta``)."""
    with torch.device("meta"):
        return Lmdm(config)


def with_frequencies(
    state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], hidden: int
) -> dict[str, Tensor]:
    """The state with the rotary frequencies it leaves out."""
    absent = {key for key in expected if key.endswith(FREQUENCIES)} - state.keys()
    return {**state, **dict.fromkeys(absent, rotary_frequencies(hidden))}
