"""A tiny JoyVASA: files in the layout of the published ones, small enough to run a whole job on."""

import argparse
import pickle
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.hubert.configuration_hubert import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertModel

from services.motion_dit.joyvasa.network import JoyVasaConfig, JoyVasaNetwork
from tests.parity.normal_fill import normal_weights

TINY = JoyVasaConfig(motion_size=73, context=10, feature_size=32, n_steps=12, encoder_size=64)
# Narrow ranges: drawn weights leave 0..1 by far.
POSE = {"scale": (1.28, 1.3), "t": (-0.01, 0.01), "pitch": (-2.0, 2.0), "yaw": (-2.0, 2.0), "roll": (-0.5, 0.5)}


def motion_state(config: JoyVasaConfig = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of the motion network: drawn parameters, computed buffers."""
    network = JoyVasaNetwork(config)
    shapes = {key: tuple(parameter.shape) for key, parameter in network.named_parameters()}
    drawn = normal_weights("joyvasa_motion", shapes, seed)
    return {**network.state_dict(), **{key: torch.from_numpy(weight) for key, weight in drawn.items()}}


def tiny_encoder() -> HubertModel:
    """One layer, few channels, the official strides."""
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=TINY.encoder_size,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=96,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = HubertModel(config)
    model.train(mode=False)
    return model


def arguments(config: JoyVasaConfig = TINY, **others: Any) -> argparse.Namespace:
    """Training arguments as the official program stores them."""
    facts = {
        "data_root": PosixPath("data/train"),
        "audio_model": "hubert_zh",
        "fps": 25,
        "n_layers": 6,  # not what the network has: the official code ignores it too
        "motion_feat_dim": config.motion_size,
        "n_prev_motions": config.context,
        "n_motions": config.window,
        "feature_dim": config.feature_size,
        "n_diff_steps": config.n_steps,
    }
    return argparse.Namespace(**{**facts, **others})


def published(config: JoyVasaConfig = TINY) -> dict[str, Any]:
    """Content of a checkpoint."""
    encoder = {f"audio_encoder.{key}": tensor for key, tensor in tiny_encoder().state_dict().items()}
    return {"args": arguments(config), "model": {**encoder, **motion_state(config)}, "iter": 20000}


def statistics() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Content of a template: 45 arrays, of which inference needs eight."""
    sizes = {"scale": 1, "R": 9, "t": 3, "exp": 63, "pitch": 1, "yaw": 1, "roll": 1, "lip": 1, "eyes": 2}
    made = {
        f"{kind}_{name}": np.full(n, 0.01, np.float32)
        for kind in ("mean", "std", "max", "min", "abs_max")
        for name, n in sizes.items()
    }
    for name, (low, high) in POSE.items():
        made[f"min_{name}"], made[f"max_{name}"] = (
            np.full_like(made[f"min_{name}"], low),
            np.full_like(made[f"max_{name}"], high),
        )
    return made


def write_published(folder: Path) -> tuple[Path, Path]:
    """Write both files; returns the checkpoint's and the template's path."""
    checkpoint, template = folder / "motion_generator.pt", folder / "motion_template.pkl"
    torch.save(published(), checkpoint)
    template.write_bytes(pickle.dumps(statistics()))
    return checkpoint, template
