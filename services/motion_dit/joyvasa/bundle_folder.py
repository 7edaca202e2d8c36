"""The folder of the ``joyvasa`` bundle: what `convert` writes and the worker reads; safetensors and JSON only."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from services.motion_dit.joyvasa.checkpoint import network_of
from services.motion_dit.joyvasa.network import JoyVasaConfig, JoyVasaNetwork, Positions
from services.motion_dit.joyvasa.template import Template
from shared.errors import WeightsMismatch

MOTION_WEIGHTS = "motion.safetensors"
MOTION_FACTS = "motion.json"
ENCODER_FOLDER = "encoder"
FORMAT = "talkinghead-joyvasa-1"
TEMPLATE_SIZES = {"mean_exp": 63, "std_exp": 63, "low": 7, "high": 7}
REMEDY = "Convert JoyVASA's files again: python -m services.motion_dit.joyvasa.convert"


def write_motion(folder: Path, network: JoyVasaNetwork, template: Template) -> None:
    """Write the motion network with its sizes and statistics into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MOTION_WEIGHTS
    save_file({key: tensor.contiguous().clone() for key, tensor in network.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable by the owner only
    statistics = {name: getattr(template, name).tolist() for name in TEMPLATE_SIZES}
    document = {"format": FORMAT, "config": asdict(network.config), "template": statistics}
    (folder / MOTION_FACTS).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_motion(folder: Path) -> tuple[JoyVasaNetwork, Template]:
    """Load what `write_motion` wrote, float32 on the CPU.

    Raises:
        WeightsMismatch: files are missing or damaged, or do not belong together.
    """
    facts, weights = folder / MOTION_FACTS, folder / MOTION_WEIGHTS
    try:
        document = json.loads(facts.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, expected {FORMAT!r}")
        config = _config(document["config"])
        template = _template(document["template"])
        state = load_file(weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise WeightsMismatch(
            f"{facts} and {weights.name} cannot be read ({type(error).__name__}: {error}). {REMEDY}"
        ) from error
    return network_of(config, state, weights), template


def _config(sizes: dict[str, Any]) -> JoyVasaConfig:
    return JoyVasaConfig(**{**sizes, "positions": Positions(sizes["positions"])})


def _template(statistics: dict[str, Any]) -> Template:
    arrays = {name: np.asarray(statistics[name], np.float32) for name in TEMPLATE_SIZES}
    for name, size in TEMPLATE_SIZES.items():
        if arrays[name].shape != (size,) or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} of the statistics is not {size} finite numbers")
    return Template(**arrays)
