import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from services.motion_dit.checkpoint import load_checkpoint
from shared.bundles import load_bundle
from tests.training.tiny_training import FEATURES, GEOMETRY, tiny_config, tiny_data
from training.checkpoints import BEST, LAST, load
from training.export import main
from training.start import start_model
from training.trainer import Trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps whose best and last weights differ."""
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    config, data = tiny_config(folder), tiny_data()
    trainer = Trainer(config, start_model(config, data[0]), data, Accelerator())
    trainer.validate()
    trainer.step(0.0)
    trainer.validate()
    trainer.save(folder / BEST)
    trainer.step(0.5)
    trainer.save(folder / LAST)
    return folder


def _export(run: Path, out: Path, *arguments: str) -> int:
    return main(["--run", str(run), "--out", str(out), "--licence", "CC-BY-4.0", *arguments])


def test_the_average_is_written_as_float16_and_read_back(run: Path, tmp_path: Path) -> None:
    assert _export(run, tmp_path / "b") == 0
    expected = load(run / BEST).average
    found = load_checkpoint(tmp_path / "b" / "motion.safetensors").state_dict()
    for name, value in expected.items():
        exact = name.startswith("normaliser.")
        assert torch.equal(found[name], value if exact else value.half().float()), name
    stored = load_file(tmp_path / "b" / "motion.safetensors")
    assert {v.dtype for n, v in stored.items() if not n.startswith("normaliser.")} == {torch.float16}


def test_the_last_weights_are_written_on_request(run: Path, tmp_path: Path) -> None:
    assert _export(run, tmp_path / "best") == _export(run, tmp_path / "last", "--last") == 0
    one, other = ((tmp_path / n / "motion.safetensors").read_bytes() for n in ("best", "last"))
    assert one != other


def test_the_bundle_file_is_what_the_services_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "My Voice"
    assert _export(run, out, "--renderer", "liveportrait") == 0
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    settings = result["settings"]
    bundle = load_bundle("my-voice", settings["TH_BUNDLE_FILE"])
    assert (bundle.geometry, bundle.feature_size, bundle.receptive_field) == (GEOMETRY, FEATURES, 400)
    assert bundle.version == result["sha256"][:12]
    assert (bundle.renderer, bundle.motion, bundle.relative_motion) == ("liveportrait", "embedded", True)
    assert settings["TH_MOTION_WEIGHTS"] == str(out / "motion.safetensors")
    assert settings["TH_ENCODER_PATH"].endswith("/tiny")  # the source's encoder is not the shipped one
    assert f"TH_BUNDLE_FILE='{out}/bundle.json' TH_BUNDLE=my-voice" in printed
    assert "talkinghead up" in printed


def test_the_card_says_what_was_measured_and_nothing_else(run: Path, tmp_path: Path) -> None:
    log = tmp_path / "lips.log"
    log.write_text('reading\n{"correlation": 0.71234, "clips": 3, "by_clip": [1]}\n')
    assert _export(run, tmp_path / "b", "--evaluation", str(log), "--about", "Two people, studio, Dutch.") == 0
    card = (tmp_path / "b" / "README.md").read_text()
    saved = load(run / BEST)
    assert card.startswith("---\nlicense: CC-BY-4.0\n")
    assert "Two people, studio, Dutch." in card
    assert "| training | synthetic | tiny | 1 | 24 | 0.7 |" in card
    assert "| held out | synthetic | tiny | 1 | 6 | 0.2 |" in card
    assert f"| total | {saved.initial['total']:.4g} | {saved.validation['total']:.4g} |" in card
    assert saved.initial["total"] != saved.validation["total"]
    assert "| correlation | 0.7123 |" in card
    assert "| clips | 3 |" in card
    assert "by_clip" not in card
    assert "| started from | random weights |" in card
    assert "Not evaluated" not in card
    assert _export(run, tmp_path / "c") == 0
    assert "Not evaluated" in (tmp_path / "c" / "README.md").read_text()


def test_what_cannot_be_exported_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _export(tmp_path / "nowhere", tmp_path / "b") == 2
    assert "nowhere" in capsys.readouterr().err
    assert _export(run, tmp_path / "b", "--name", "Not A Name") == 2
    assert "Not A Name" in capsys.readouterr().err
    assert _export(run, tmp_path / "b", "--evaluation", str(tmp_path / "none.log")) == 2
    assert "none.log" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--run", str(run), "--out", str(tmp_path / "b")])
    assert "--licence" in capsys.readouterr().err
