"""Which renderer a bundle gets, and what stops a process that cannot have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.renderer.choice import build_renderer
from services.renderer.embedded.renderer import EmbeddedRenderer
from services.renderer.liveportrait.gpu_jpeg import choose_jpeg
from services.renderer.liveportrait.renderer import LivePortraitRenderer
from services.renderer.settings import Limits, RendererSettings
from shared.bundles import load_bundle
from shared.errors import ConfigurationError, WeightsMismatch
from tests.tiny_liveportrait import write_safetensors

ROOT = Path(__file__).parents[2]
EMBEDDED, LIVEPORTRAIT = load_bundle("embedded"), load_bundle("liveportrait")
GENERATOR = "spade_generator.safetensors"


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `talkinghead weights pull` leaves, with small synthetic networks."""
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "liveportrait")
    return folder


def _settings(**values: object) -> RendererSettings:
    return RendererSettings.model_validate(values)


def test_the_embedded_bundle_gets_the_warp_one_slice_at_a_time() -> None:
    renderer, limits = build_renderer(EMBEDDED, _settings())
    assert isinstance(renderer, EmbeddedRenderer)
    assert limits == Limits(messages=1, deadline_s=60.0, cached=16, jpeg_quality=90)


def test_settings_replace_what_a_renderer_would_choose() -> None:
    wanted = _settings(renderer_messages=3, renderer_deadline_s=7.0, renderer_cache=2, jpeg_quality=50)
    assert build_renderer(EMBEDDED, wanted)[1] == Limits(3, 7.0, 2, 50)


def test_the_liveportrait_bundle_gets_its_networks_and_time_on_a_cpu(weights_dir: Path) -> None:
    renderer, limits = build_renderer(LIVEPORTRAIT, _settings(weights_dir=str(weights_dir), renderer_max_batch=3))
    assert isinstance(renderer, LivePortraitRenderer)
    assert renderer.max_batch_frames == 3
    assert (limits.messages, limits.deadline_s) == (1, 1800.0)


def test_networks_may_lie_in_a_folder_of_ones_own(weights_dir: Path, tmp_path: Path) -> None:
    own = _settings(weights_dir=str(tmp_path), renderer_weights=str(weights_dir / "liveportrait"))
    assert isinstance(build_renderer(LIVEPORTRAIT, own)[0], LivePortraitRenderer)


def test_missing_weights_are_refused_with_the_command_that_gets_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="talkinghead weights pull liveportrait"):
        build_renderer(LIVEPORTRAIT, _settings(weights_dir=str(tmp_path)))


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path)
    state = load_file(tmp_path / GENERATOR)
    name = next(iter(state))
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, tmp_path / GENERATOR)
    with pytest.raises(WeightsMismatch, match=GENERATOR):
        build_renderer(LIVEPORTRAIT, _settings(renderer_weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"renderer_device": "cuda:99"}, "TH_RENDERER_DEVICE=cpu"),
        ({"renderer_device": "npu"}, "expected cpu, cuda or cuda:N"),
        ({"renderer_precision": "fp16"}, "fp32 or bf16"),
        ({"renderer_jpeg": "gpu"}, "TH_RENDERER_DEVICE must be cuda"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(weights_dir: Path, setting: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        build_renderer(LIVEPORTRAIT, _settings(weights_dir=str(weights_dir), **setting))


def test_frames_of_a_cpu_are_compressed_by_it() -> None:
    assert choose_jpeg("auto", torch.device("cpu"), 90) is None
    assert choose_jpeg("cpu", torch.device("cpu"), 90) is None


def test_the_weight_free_renderer_never_loads_torch() -> None:
    script = (
        "import sys; from services.renderer import worker; from shared.bundles import load_bundle\n"
        "worker.build_renderer(load_bundle('embedded'), worker.RendererSettings())\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_a_process_that_cannot_have_its_renderer_ends_with_a_reason(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TH_")}
    environment |= {"TH_BUNDLE": "liveportrait", "TH_WEIGHTS_DIR": str(tmp_path), "TH_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, "-m", "services.renderer.worker"], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "talkinghead weights pull liveportrait" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
