"""Which bundles need weights from elsewhere, where those are published, and under which licence."""

from dataclasses import dataclass

from shared.bundles import BUNDLES
from shared.errors import ConfigurationError

DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class WeightSource:
    """Where the weights of one bundle come from.

    Attributes:
        repo: repository of the Hugging Face hub, OWNER/NAME.
        licence: its SPDX name.
        licence_url: where its text is.
        notice: what else a user should know before the download.
        converter: module that turns the downloaded files into safetensors: ``python -m CONVERTER SOURCE TARGET``, both
            folders.
        files: path in the repository by stem of the file in the bundle's folder.
        config: path of the network sizes in the repository, fetched when the repository has it.
    """

    repo: str
    licence: str
    licence_url: str
    notice: str
    converter: str
    files: dict[str, str]
    config: str


SOURCES = {
    "liveportrait": WeightSource(
        repo="KlingTeam/LivePortrait",
        licence="MIT",
        licence_url="https://huggingface.co/KlingTeam/LivePortrait",
        notice=(
            "LivePortrait by Kuaishou Technology (arXiv:2407.03168). The InsightFace models in the same repository are "
            "for non-commercial research only; they are not needed here and are not downloaded."
        ),
        converter="services.renderer.liveportrait.convert",
        files={
            "appearance_feature_extractor": "liveportrait/base_models/appearance_feature_extractor.pth",
            "motion_extractor": "liveportrait/base_models/motion_extractor.pth",
            "warping_module": "liveportrait/base_models/warping_module.pth",
            "spade_generator": "liveportrait/base_models/spade_generator.pth",
            "stitching_retargeting_module": "liveportrait/retargeting_models/stitching_retargeting_module.pth",
        },
        config="config.json",
    ),
}


def source_of(bundle: str) -> WeightSource:
    """The source of a bundle's weights.

    Raises:
        ConfigurationError: there is no such bundle, or its weights ship with the package.
    """
    if bundle in SOURCES:
        return SOURCES[bundle]
    if bundle in BUNDLES and BUNDLES[bundle].motion == "joyvasa":
        raise ConfigurationError(
            f"the weights of bundle {bundle!r} are converted by hand: download JoyVASA's motion_generator_*.pt and "
            "motion_template.pkl, then run `python -m services.motion_dit.joyvasa.convert --help`."
        )
    if bundle in BUNDLES:
        raise ConfigurationError(f"the weights of bundle {bundle!r} ship with this package; there is nothing to pull.")
    raise ConfigurationError(f"no bundle {bundle!r} with published weights; known are {sorted(SOURCES)}.")
