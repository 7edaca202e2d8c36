"""JoyVASA's published files to a bundle's folder: ``python -m services.motion_dit.joyvasa.convert``.

    ... --checkpoint motion_generator_hubert_chinese.pt --template motion_template.pkl --to $TH_WEIGHTS_DIR/joyvasa

Unpickling happens here once, restricted to tensors, arrays and training arguments; from then on workers read
safetensors and JSON. The audio encoder becomes a folder ``encoder/`` as transformers writes it. Everything is checked
before anything is written.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from services.motion_dit.joyvasa.bundle_folder import ENCODER_FOLDER, write_motion
from services.motion_dit.joyvasa.checkpoint import Checkpoint, config_of, network_of, read_checkpoint
from services.motion_dit.joyvasa.network import Positions
from services.motion_dit.joyvasa.template_file import read_template
from shared.errors import TalkingHeadError, WeightsMismatch

REFUSED = 3
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HEAD_SIZE = 64
LAYER = "encoder.layers."
POSITION_WEIGHTS = (
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    "encoder.pos_conv_embed.conv.weight_v",
)


def convert(checkpoint: Path, template: Path, folder: Path, positions: Positions) -> None:
    """Write a bundle's folder.

    Args:
        checkpoint: the published ``.pt``.
        template: the published ``motion_template.pkl``.
        folder: created if need be.
        positions: how the position table was used in training; not said by the file.

    Raises:
        WeightsMismatch: a file is missing or cannot be used.
    """
    read = read_checkpoint(checkpoint)
    network = network_of(config_of(read, positions), read.motion, checkpoint)
    encoder_config = encoder_config_of(read)
    write_motion(folder, network, read_template(template))
    target = folder / ENCODER_FOLDER
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text(json.dumps(encoder_config, indent=2) + "\n", encoding="utf-8")
    _save(target / "model.safetensors", read.encoder)


def encoder_config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Configuration of the audio encoder for transformers: kind by the arguments, sizes by the tensors.

    Raises:
        WeightsMismatch: an encoder of another kind, or without the tensors that tell its sizes.
    """
    name = str(checkpoint.arguments.get("audio_model"))
    kind = next((kind for kind in ("hubert", "wav2vec2") if name.startswith(kind)), None)
    if kind is None:
        raise WeightsMismatch(f"{checkpoint.source} has the audio encoder {name!r}; expected hubert or wav2vec2.")
    try:
        return {"model_type": kind, "mirror_ends": True, **_encoder_sizes(checkpoint.encoder)}
    except (KeyError, StopIteration, IndexError) as error:
        raise WeightsMismatch(
            f"{checkpoint.source} lacks tensors of its audio encoder ({type(error).__name__}: {error}); it holds "
            f"{len(checkpoint.encoder)}. Take the file of JoyVASA's release again."
        ) from error


def _encoder_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    convolutions = [state[f"feature_extractor.conv_layers.{i}.conv.weight"] for i in range(len(STRIDES))]
    hidden = state["feature_projection.projection.weight"].shape[0]
    positional = next(state[key] for key in POSITION_WEIGHTS if key in state)
    return {
        "hidden_size": hidden,
        "num_hidden_layers": len({key.split(".")[2] for key in state if key.startswith(LAYER)}),
        "num_attention_heads": max(1, hidden // HEAD_SIZE),
        "intermediate_size": state[f"{LAYER}0.feed_forward.intermediate_dense.weight"].shape[0],
        "conv_dim": [weight.shape[0] for weight in convolutions],
        "conv_kernel": [weight.shape[2] for weight in convolutions],
        "conv_stride": list(STRIDES),
        "num_feat_extract_layers": len(STRIDES),
        "num_conv_pos_embeddings": positional.shape[2],
        "num_conv_pos_embedding_groups": hidden // positional.shape[1],
        "conv_bias": False,
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
    }


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    save_file({key: tensor.float().contiguous().clone() for key, tensor in state.items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable by the owner only


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; exit code 3 and a message on stderr when the files are refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--positions", type=Positions, choices=list(Positions), default=Positions.INDEX,
        help="index: trained before 2025-12-09, as the published files were; slice: since",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        convert(options.checkpoint, options.template, options.to, options.positions)
    except TalkingHeadError as error:
        sys.stderr.write(f"{error.message}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
