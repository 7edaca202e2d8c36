"""What the workers make of the bundle joyvasa: which files they load, and when they refuse."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.audio_encoder.worker import EncoderSettings, load_for_bundle
from services.motion_dit.joyvasa.convert import convert
from services.motion_dit.joyvasa.generator import JoyVasaGenerator
from services.motion_dit.joyvasa.network import Positions
from services.motion_dit.worker import MotionSettings, choose_generator, main
from shared.bundles import load_bundle
from shared.errors import ConfigurationError, WeightsMismatch
from tests import tiny_joyvasa
from tests.tiny_joyvasa import TINY

OFFICIAL = load_bundle("joyvasa")
BUNDLE = replace(OFFICIAL, hidden_size=TINY.encoder_size)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("weights")
    convert(*tiny_joyvasa.write_published(folder), folder / "joyvasa", Positions.INDEX)
    return str(folder)


def test_both_workers_find_their_part_of_the_bundle(weights: str) -> None:
    generator = choose_generator(MotionSettings(weights_dir=weights, motion_evaluations=5), BUNDLE)
    assert isinstance(generator, JoyVasaGenerator)
    assert generator.options.n_evaluations == 5
    encoder = load_for_bundle(EncoderSettings(weights_dir=weights), BUNDLE)
    assert encoder.span_samples(BUNDLE.geometry) == 64080
    assert encoder.feature_size == BUNDLE.feature_size


def test_a_folder_may_be_named(weights: str, tmp_path: Path) -> None:
    named = str(Path(weights) / "joyvasa")
    choose_generator(MotionSettings(weights_dir=str(tmp_path), motion_weights=named), BUNDLE)
    load_for_bundle(EncoderSettings(weights_dir=str(tmp_path), encoder_path=f"{named}/encoder"), BUNDLE)


def test_files_of_another_size_than_the_bundle_are_refused(weights: str) -> None:
    settings = MotionSettings(weights_dir=weights)
    with pytest.raises(WeightsMismatch, match="64 features; bundle joyvasa has 100 and 768"):
        choose_generator(settings, OFFICIAL)
    with pytest.raises(WeightsMismatch, match="windows of 100 frames"):
        choose_generator(settings, replace(BUNDLE, geometry=replace(BUNDLE.geometry, hop=65)))
    with pytest.raises(ConfigurationError, match="width, receptive field"):
        load_for_bundle(EncoderSettings(weights_dir=weights), OFFICIAL)


def test_more_evaluations_than_steps_are_refused(weights: str) -> None:
    with pytest.raises(ConfigurationError, match="TH_MOTION_EVALUATIONS=13; the checkpoint has 12"):
        choose_generator(MotionSettings(weights_dir=weights, motion_evaluations=13), BUNDLE)


def test_a_worker_without_the_files_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TH_BUNDLE", "joyvasa")
    monkeypatch.setenv("TH_WEIGHTS_DIR", str(tmp_path))
    assert main() == 2
    with pytest.raises(ConfigurationError, match="joyvasa"):
        load_for_bundle(EncoderSettings(), OFFICIAL)
