"""Published files: read without running them, checked, and converted once."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from services.audio_encoder.model import load_encoder
from services.motion_dit.joyvasa.bundle_folder import MOTION_FACTS, MOTION_WEIGHTS, read_motion
from services.motion_dit.joyvasa.checkpoint import config_of, network_of, read_checkpoint
from services.motion_dit.joyvasa.convert import convert, main
from services.motion_dit.joyvasa.network import Positions
from services.motion_dit.joyvasa.template_file import read_template
from shared.errors import WeightsMismatch
from tests import tiny_joyvasa
from tests.tiny_joyvasa import TINY


class Malicious:
    """Unpickling it with an open loader would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def save(folder: Path, content: object) -> Path:
    path = folder / "motion_generator.pt"
    torch.save(content, path)
    return path


def load(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    network_of(config_of(checkpoint, Positions.INDEX), checkpoint.motion, path)


def test_a_published_checkpoint_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, tiny_joyvasa.published())
    checkpoint = read_checkpoint(path)
    assert config_of(checkpoint, Positions.INDEX) == TINY
    network = network_of(TINY, checkpoint.motion, path)
    for key, expected in tiny_joyvasa.motion_state().items():
        assert torch.equal(network.state_dict()[key], expected)
    assert checkpoint.encoder.keys() == tiny_joyvasa.tiny_encoder().state_dict().keys()


def test_a_step_table_of_any_length_is_replaced(tmp_path: Path) -> None:
    content = tiny_joyvasa.published()
    content["model"]["denoising_net.TE.pe"] = torch.zeros(1, 51, TINY.feature_size)
    load(save(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("motion_feat_dim", 70, "start_motion_feat is"),
        ("n_prev_motions", 25, "start_motion_feat is"),
        ("n_motions", 80, "alignment_mask is"),
        ("feature_dim", 64, "start_audio_feat is"),
        ("n_diff_steps", 50, "betas is"),
        ("n_diff_steps", 501, "501 steps"),
        ("n_motions", None, "'n_motions': None"),
        ("feature_dim", True, "positive integers"),
        ("fps", 30, "30 frames per second"),
    ],
)
def test_arguments_that_contradict_the_tensors_are_refused(
    name: str, value: object, message: str, tmp_path: Path
) -> None:
    content = tiny_joyvasa.published()
    setattr(content["args"], name, value)
    with pytest.raises(WeightsMismatch, match=message):
        load(save(tmp_path, content))


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("denoising_net.motion_dec.2.bias", None, "lacks denoising_net.motion_dec.2.bias"),
        ("denoising_net.other", torch.zeros(1), "unexpected denoising_net.other"),
        ("audio_feature_map.bias", torch.zeros(3), "audio_feature_map.bias"),
        ("audio_feature_map.bias", torch.full((32,), torch.nan), "NaN or infinity"),
        ("denoising_net.alignment_mask", torch.zeros(110, 110, dtype=torch.bool), "alignment width 1"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    key: str, tensor: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    content = tiny_joyvasa.published()
    content["model"].pop(key, None)
    if tensor is not None:
        content["model"][key] = tensor
    with pytest.raises(WeightsMismatch, match=message):
        load(save(tmp_path, content))


def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = save(tmp_path, {**tiny_joyvasa.published(), "iter": Malicious(trace)})
    with pytest.raises(WeightsMismatch, match="cannot be read as weights"):
        read_checkpoint(path)
    assert not trace.exists()


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, tiny_joyvasa.published())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsMismatch, match="truncated"):
        read_checkpoint(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(WeightsMismatch, match="git-LFS"):
        read_checkpoint(path)
    with pytest.raises(WeightsMismatch, match="missing"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(WeightsMismatch, match="expected the training arguments"):
        read_checkpoint(save(tmp_path, {"args": argparse.Namespace(), "model": {"weight": 3.0}}))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_published_template_is_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "motion_template.pkl"
    path.write_bytes(pickle.dumps(tiny_joyvasa.statistics(), protocol))
    template = read_template(path)
    np.testing.assert_allclose(template.low, [1.28, -0.01, -0.01, -0.01, -2, -2, -0.5], rtol=1e-6)
    rows = template.rows(np.full((2, 73), 0.5, np.float32))
    np.testing.assert_allclose(rows[0, 63:], [1.29, 0, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(rows[1, :63], 0.015, rtol=1e-6)


def test_templates_that_are_none_are_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "motion_template.pkl", tmp_path / "trace"
    good = tiny_joyvasa.statistics()
    bad: dict[str, object] = {
        "asks for": {**good, "std_exp": Malicious(trace)},
        "no numbers 'std_exp'": {key: array for key, array in good.items() if key != "std_exp"},
        "expected 63 finite": {**good, "mean_exp": np.full(63, np.nan, np.float32)},
        "below its minimum": {**good, "max_yaw": np.full(1, -99, np.float32)},
        "expected a dict": [1],
    }
    for message, content in bad.items():
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(WeightsMismatch, match=message):
            read_template(path)
    assert not trace.exists()
    for data, message in ((b"", "empty"), (pickle.dumps(good)[:500], "cannot be read"), (bytes(2 << 20), "larger")):
        path.write_bytes(data)
        with pytest.raises(WeightsMismatch, match=message):
            read_template(path)
    with pytest.raises(WeightsMismatch, match="cannot read"):
        read_template(tmp_path / "absent.pkl")


def test_conversion_keeps_every_number(tmp_path: Path) -> None:
    checkpoint, template = tiny_joyvasa.write_published(tmp_path)
    folder = tmp_path / "weights" / "joyvasa"
    convert(checkpoint, template, folder, Positions.SLICE)
    network, statistics = read_motion(folder)
    assert network.config.positions is Positions.SLICE
    for key, expected in tiny_joyvasa.motion_state().items():
        assert torch.equal(network.state_dict()[key], expected)
    original = read_template(template)
    for name in ("mean_exp", "std_exp", "low", "high"):
        np.testing.assert_array_equal(getattr(statistics, name), getattr(original, name))


def test_the_converted_encoder_is_the_one_in_the_checkpoint(tmp_path: Path) -> None:
    convert(*tiny_joyvasa.write_published(tmp_path), tmp_path / "joyvasa", Positions.INDEX)
    encoder = load_encoder(tmp_path / "joyvasa" / "encoder")
    assert (encoder.hidden_size, encoder.receptive_field) == (TINY.encoder_size, 400)
    wave = np.random.default_rng(0).normal(size=6480).astype(np.float32)
    with torch.no_grad():
        expected = tiny_joyvasa.tiny_encoder()(torch.from_numpy(wave)[None]).last_hidden_state[0]
    np.testing.assert_allclose(encoder.hidden(wave), expected, atol=1e-6)


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, template = tiny_joyvasa.write_published(tmp_path)
    command = ["--checkpoint", str(checkpoint), "--template", str(template), "--to", str(tmp_path / "joyvasa")]
    assert main(command) == 0
    facts = tmp_path / "joyvasa" / MOTION_FACTS
    facts.write_text(facts.read_text().replace('"context": 10', '"context": 11'))
    with pytest.raises(WeightsMismatch, match="other shapes"):
        read_motion(tmp_path / "joyvasa")
    facts.write_text(facts.read_text().replace('"context": 11', '"context": 10'))
    tensors = load_file(tmp_path / "joyvasa" / MOTION_WEIGHTS)
    del tensors["denoising_net.alignment_mask"]
    save_file(tensors, tmp_path / "joyvasa" / MOTION_WEIGHTS)
    with pytest.raises(WeightsMismatch, match="alignment mask"):
        read_motion(tmp_path / "joyvasa")
    facts.write_text("{}")
    with pytest.raises(WeightsMismatch, match="Convert"):
        read_motion(tmp_path / "joyvasa")
    torch.save({**tiny_joyvasa.published(), "args": tiny_joyvasa.arguments(audio_model="whisper")}, checkpoint)
    assert main(command) == 3
    assert "whisper" in capsys.readouterr().err
