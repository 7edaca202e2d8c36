"""Sizes of the five networks together: official by default, others from ``config.json`` beside the weights.

Knows nothing of tensors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from services.renderer.liveportrait.appearance import AppearanceConfig
from services.renderer.liveportrait.dense_motion import WarpingConfig
from services.renderer.liveportrait.generator import GeneratorConfig
from services.renderer.liveportrait.motion_extractor import MotionExtractorConfig
from services.renderer.liveportrait.stitching import StitchingConfig
from shared.errors import WeightsMismatch

CONFIG_FILE = "config.json"

Part = TypeVar("Part", AppearanceConfig, MotionExtractorConfig, WarpingConfig, GeneratorConfig, StitchingConfig)


@dataclass(frozen=True)
class NetworksConfig:
    """Sizes of F, M, W, G and S."""

    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    motion: MotionExtractorConfig = field(default_factory=MotionExtractorConfig)
    warping: WarpingConfig = field(default_factory=WarpingConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    stitching: StitchingConfig = field(default_factory=StitchingConfig)


def read_config(folder: Path) -> NetworksConfig:
    """Sizes that ``config.json`` in the folder gives; what it leaves out, or its absence, means the official sizes.

    Raises:
        WeightsMismatch: it cannot be understood, or its networks do not fit each other.
    """
    path = folder / CONFIG_FILE
    try:
        config = _config_of(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return NetworksConfig()
    except (OSError, ValueError) as error:
        raise WeightsMismatch(
            f"{path} cannot be used: {error}. Expected sizes as `write_config` writes them; remove the file if the "
            "weights are the official ones."
        ) from error
    if disagreements := _disagreements(config):
        raise WeightsMismatch(
            f"the networks of {path} do not fit each other: {'; '.join(disagreements)}. Mend the file."
        )
    return config


def write_config(folder: Path, config: NetworksConfig) -> None:
    """Write ``config.json`` beside weights of other than official sizes."""
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")


def _config_of(document: Any) -> NetworksConfig:
    _check_names("the document", document, NetworksConfig.__dataclass_fields__)
    return NetworksConfig(
        appearance=_sizes("appearance", AppearanceConfig, document.get("appearance", {})),
        motion=_sizes("motion", MotionExtractorConfig, document.get("motion", {})),
        warping=_sizes("warping", WarpingConfig, document.get("warping", {})),
        generator=_sizes("generator", GeneratorConfig, document.get("generator", {})),
        stitching=_sizes("stitching", StitchingConfig, document.get("stitching", {})),
    )


def _sizes(name: str, part: type[Part], document: Any) -> Part:
    defaults = {item.name: item.default for item in fields(part)}
    _check_names(name, document, defaults)
    for key, value in document.items():
        sizes = value if isinstance(value, list) else [value]
        if isinstance(value, list) != isinstance(defaults[key], tuple) or not sizes:
            raise ValueError(f"{name}.{key} is {value!r}, expected something like {defaults[key]!r}")
        if any(type(size) is not int or size < 1 for size in sizes):
            raise ValueError(f"{name}.{key} is {value!r}, expected whole numbers from 1")
    sizes_by_name: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    return part(**sizes_by_name)


def _check_names(name: str, document: Any, known: Mapping[str, object]) -> None:
    if not isinstance(document, dict):
        raise ValueError(f"{name} is {type(document).__name__}, expected an object")
    if unknown := sorted(document.keys() - known.keys()):
        raise ValueError(f"{name} has unknown {', '.join(unknown)}; expected {', '.join(known)}")


def _disagreements(config: NetworksConfig) -> list[str]:
    a, m, w, g, s = config.appearance, config.motion, config.warping, config.generator, config.stitching
    pairs = [
        ("appearance.volume_channels", a.volume_channels, "warping.feature_channels", w.feature_channels),
        ("appearance.volume_depth", a.volume_depth, "warping.depth", w.depth),
        ("motion.n_keypoints", m.n_keypoints, "warping.keypoints", w.keypoints),
        ("motion.n_keypoints", m.n_keypoints, "stitching.n_keypoints", s.n_keypoints),
        ("warping.out_channels", w.out_channels, "generator.feature_channels", g.feature_channels),
    ]
    return [f"{left} is {x} but {right} is {y}" for left, x, right, y in pairs if x != y]
