"""JoyVASA's published checkpoint: a pickled dict of training arguments and tensors, read without running it.

Sizes come from the arguments and must agree with the tensors; then every tensor must be there, of its size and finite.
"""

import argparse
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.motion_dit.joyvasa.network import (
    ENCODER_SIZE,
    MAX_FRAMES,
    N_HEADS,
    STEP_ROWS,
    JoyVasaConfig,
    JoyVasaNetwork,
    Positions,
)  # fmt: skip
from services.motion_dit.strict_state import check_state, expected_shapes, read_pickle
from shared.errors import WeightsMismatch
from shared.timeline import FPS

ENCODER_PREFIX = "audio_encoder."
STEP_TABLE = "denoising_net.TE.pe"  # the official loader drops it too: its length is nobody's choice
ALIGNMENT = "denoising_net.alignment_mask"
REMEDY = "Take the file of JoyVASA's release again."
N_NAMED = 4  # keys that a message names


@dataclass(frozen=True)
class Checkpoint:
    """What a published file holds.

    Attributes:
        source: the file.
        arguments: of the training program.
        motion: tensors of the motion network, official keys.
        encoder: tensors of the audio encoder, without their prefix.
    """

    source: Path
    arguments: Mapping[str, Any]
    motion: dict[str, Tensor]
    encoder: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a published file; nothing but tensors, a namespace and paths is rebuilt.

    Raises:
        WeightsMismatch: missing, truncated, a placeholder, with other objects inside, or without the two parts.
    """
    with torch.serialization.safe_globals([argparse.Namespace, pathlib.PosixPath]):
        content = read_pickle(path, REMEDY)
    arguments, model = _parts(path, content)
    encoder = {k.removeprefix(ENCODER_PREFIX): v for k, v in model.items() if k.startswith(ENCODER_PREFIX)}
    motion = {k: v for k, v in model.items() if not k.startswith(ENCODER_PREFIX)}
    return Checkpoint(path, arguments, motion, encoder)


def config_of(checkpoint: Checkpoint, positions: Positions) -> JoyVasaConfig:
    """Sizes by the training arguments, checked against the tensors.

    Raises:
        WeightsMismatch: an argument is missing, impossible, or contradicts a tensor.
    """
    names = ("motion_feat_dim", "n_prev_motions", "n_motions", "feature_dim", "n_diff_steps")
    sizes = [checkpoint.arguments.get(name) for name in names]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise WeightsMismatch(
            f"{checkpoint.source}: sizes {dict(zip(names, sizes, strict=True))} in its arguments; expected positive "
            f"integers. {REMEDY}"
        )
    if checkpoint.arguments.get("fps", FPS) != FPS:
        raise WeightsMismatch(f"{checkpoint.source} is for {checkpoint.arguments['fps']} frames per second, not {FPS}.")
    d, p, n, f, t = (int(size) for size in sizes if size is not None)
    if d < 70 or p > n or p + n >= MAX_FRAMES or f % (2 * N_HEADS) or t >= STEP_ROWS:
        raise WeightsMismatch(
            f"{checkpoint.source}: {d} motion columns, {p} + {n} frames, width {f}, {t} steps; expected at least 70 "
            f"columns, no more past than new frames and fewer than {MAX_FRAMES}, a width divisible by {2 * N_HEADS}, "
            f"fewer than {STEP_ROWS} steps."
        )
    expected = {
        "start_motion_feat": (1, p, d),
        "start_audio_feat": (1, p, f),
        ALIGNMENT: (p + n, p + n),
        "diffusion_sched.betas": (t + 1,),
    }
    for key, shape in expected.items():
        found = tuple(checkpoint.motion[key].shape) if key in checkpoint.motion else "missing"
        if found != shape:
            raise WeightsMismatch(
                f"{checkpoint.source}: {key} is {found}, its arguments say {shape}; they do not belong together. "
                f"{REMEDY}"
            )
    return JoyVasaConfig(d, p, n, f, t, positions, _encoder_size(checkpoint))


def network_of(config: JoyVasaConfig, state: Mapping[str, Tensor], source: Path) -> JoyVasaNetwork:
    """Build the network of a config and load it strictly, float32 on the CPU, in evaluation mode.

    Raises:
        WeightsMismatch: tensors are missing, left over, of another shape, or not finite; or frames hear more than their
            own sound, which the network here does not do.
    """
    network = JoyVasaNetwork(config)
    own = network.state_dict()
    floats = {key: tensor for key, tensor in state.items() if key != ALIGNMENT} | {STEP_TABLE: own[STEP_TABLE]}
    expected = expected_shapes(network)
    del expected[ALIGNMENT]
    check_state(source, floats, expected, REMEDY)
    if ALIGNMENT not in state or not torch.equal(state[ALIGNMENT].bool(), own[ALIGNMENT]):
        raise WeightsMismatch(
            f"{source}: its alignment mask is missing, or lets frames hear other sound than their own; only alignment "
            f"width 1 is supported. {REMEDY}"
        )
    network.load_state_dict({**{key: tensor.float() for key, tensor in floats.items()}, ALIGNMENT: own[ALIGNMENT]})
    return network.eval().requires_grad_(requires_grad=False)


def _parts(path: Path, content: Any) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        arguments, model = content.get("args"), content["model"]
        arguments = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
        if isinstance(arguments, dict) and all(isinstance(tensor, Tensor) for tensor in model.values()):
            return arguments, model
    keys = sorted(map(str, content))[:N_NAMED] if isinstance(content, dict) else type(content).__name__
    raise WeightsMismatch(f"{path} holds {keys}; expected the training arguments 'args' and tensors 'model'. {REMEDY}")


def _encoder_size(checkpoint: Checkpoint) -> int:
    weight = checkpoint.motion.get("audio_feature_map.weight")
    return int(weight.shape[1]) if weight is not None and weight.ndim == 2 else ENCODER_SIZE
