"""Synthetic weights of the LivePortrait networks: every tensor follows from its name, its shape and a seed.

The rule keeps activations of all layers near unit variance, so that an error anywhere shows at the output. The official
sizes are in the manifest; networks of other sizes are filled just as well.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.draw import Floats, draw

Doubles = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Shape = tuple[int, ...]

MANIFEST = Path(__file__).parents[1] / "data" / "parity" / "liveportrait_state_dict.json"
STITCHING = "stitching_retargeting_module"
NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator", STITCHING)

DEFAULT_GAIN = 1.4
# First match decides; a pattern that begins with "^" has to open the key, any other may stand anywhere in it.
GAINS: dict[str, tuple[tuple[str, float], ...]] = {
    "appearance_feature_extractor": ((".conv2.", 0.5), ("^second.", 0.7)),
    "motion_extractor": (
        (".fc_kp.", 0.3),
        (".fc_exp.", 0.05),
        (".fc_scale.", 0.1),
        (".fc_t.", 0.1),
        (".fc_pitch.", 2.0),
        (".fc_yaw.", 2.0),
        (".fc_roll.", 2.0),
        ("", 1.0),
    ),
    "warping_module": (("dense_motion_network.mask.", 3.0), ("dense_motion_network.occlusion.", 1.5)),
    "spade_generator": (("mlp_gamma", 0.5), ("mlp_beta", 0.7), ("^conv_img.", 1.0)),
    STITCHING: (
        ("retarget_shoulder.mlp.6.weight", 0.1),
        ("retarget_mouth.mlp.6.weight", 0.1),
        ("retarget_eye.mlp.10.weight", 0.1),
    ),
}
# leaf of the key -> (offset, factor) of the drawn numbers
AFFINE_LEAVES = {"running_mean": (0.0, 0.1), "running_var": (1.0, 0.2), "gamma": (0.0, 0.3), "beta": (0.0, 0.1)}
LAST_STITCHING_BIASES = (63, 65)


def manifest_entries(network: str) -> list[dict[str, object]]:
    """Key, shape, dtype, CRC32 (seed 0) of every official tensor in order; stitching keys open with the sub-network."""
    described = json.loads(MANIFEST.read_text())[network]
    if network != STITCHING:
        return cast(list[dict[str, object]], described["entries"])
    return [
        {**entry, "key": f"{subnet}.{entry['key']}"}
        for subnet, content in described["subnets"].items()
        for entry in content["entries"]
    ]


def manifest_shapes(network: str) -> dict[str, Shape]:
    """The official shape of every tensor of a network, in the official order."""
    return {str(entry["key"]): tuple(cast(list[int], entry["shape"])) for entry in manifest_entries(network)}


def synthetic_state_dict(network: str, shapes: Mapping[str, Shape], seed: int) -> dict[str, Tensor]:
    """Weights for a network of any size.

    Args:
        network: one of ``NETWORKS``; names the random streams.
        shapes: shape of every key; ``weight_orig`` of a spectral norm stands before its ``weight_u`` and ``weight_v``.
        seed: of the random source.
    """
    tensors: dict[str, Floats] = {}
    state: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        stem, _, leaf = key.rpartition(".")
        if leaf == "num_batches_tracked":
            state[key] = torch.zeros((), dtype=torch.int64)
            continue
        if leaf == "weight_v":
            z = draw(f"{network}/{stem}.weight_u", shapes[f"{stem}.weight_u"], seed)
            tensors[key] = _right_vector(tensors[f"{stem}.weight_orig"], z)
        else:
            tensors[key] = _tensor(network, key, draw(f"{network}/{key}", shape, seed))
        state[key] = torch.from_numpy(tensors[key])
    return state


def fill(module: nn.Module, network: str, seed: int) -> None:
    """Load synthetic weights into a module whose keys are the official ones of ``network``; its sizes are its own."""
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    module.load_state_dict(synthetic_state_dict(network, shapes, seed), strict=True, assign=True)


def _tensor(network: str, key: str, z: Floats) -> Floats:
    leaf = key.rpartition(".")[2]
    if leaf in AFFINE_LEAVES:
        return _affine(z, *AFFINE_LEAVES[leaf])
    if leaf == "bias":
        return _affine(z, *_bias_rule(network, key, z.size))
    if leaf == "weight_u":
        return _unit(z.astype(np.float64)).astype(np.float32)
    if z.ndim == 1:  # the weight of a norm
        return _affine(z, 1.0, 0.1)
    return np.float32(_gain(network, key) / math.sqrt(math.prod(z.shape[1:]))) * z


def _bias_rule(network: str, key: str, length: int) -> tuple[float, float]:
    if key == "detector.fc_scale.bias":
        return 1.2, 0.1
    if key.startswith("detector.fc_"):
        return 0.0, 0.1 * _gain(network, key)
    if network == STITCHING and length in LAST_STITCHING_BIASES:
        return 0.0, 0.01
    return 0.0, 0.1


def _affine(z: Floats, offset: float, factor: float) -> Floats:
    scaled = np.float32(factor) * z
    return np.float32(offset) + scaled if offset else scaled


def _right_vector(weight: Floats, z: Floats) -> Floats:
    """The stored right vector of a spectral norm: v = W^T u / |W^T u| in float64, so that sigma = u W v = |W^T u|."""
    u = _unit(z.astype(np.float64))
    return _unit(weight.reshape(len(u), -1).astype(np.float64).T @ u).astype(np.float32)


def _unit(vector: Doubles) -> Doubles:
    return vector / np.linalg.norm(vector)


def _gain(network: str, key: str) -> float:
    for pattern, gain in GAINS[network]:
        if key.startswith(pattern[1:]) if pattern.startswith("^") else pattern in key:
            return gain
    return DEFAULT_GAIN
