"""Jobs with the LivePortrait networks through the real processes; small networks with synthetic weights."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from services.renderer.liveportrait.source import LivePortraitAppearance
from shared.timeline import FPS
from tests.integration.speech import repeated
from tests.integration.stack import PORTRAIT, ROOT, SPEECH_SHORT, Stack, running_stack, unseen_portrait
from tests.integration.video import facts
from tests.integration.viewer import Viewer
from tests.tiny_liveportrait import write_safetensors

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

N_FRAMES = 14  # a slice of 5 and one of 9
TOO_LARGE = np.float32(3e38)  # fits fp32; the first convolution's sums do not


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the liveportrait bundle with one renderer that remembers one portrait."""
    folder = tmp_path_factory.mktemp("liveportrait")
    write_safetensors(folder / "weights" / "liveportrait")
    environment = {
        "TH_BUNDLE": "liveportrait",
        "TH_WEIGHTS_DIR": str(folder / "weights"),
        "TH_RENDERER_CACHE": "1",
        "TH_RENDERER_MAX_BATCH": "2",
    }
    with running_stack(folder / "stack", environment, arguments=("--renderers", "1")) as running:
        yield running


def _submit(stack: Stack, portrait: bytes, **options: object) -> str:
    speech = repeated(SPEECH_SHORT, N_FRAMES / FPS)
    response = stack.post("speech.wav", speech, PORTRAIT.name, portrait, seed=7, **options)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def _finished(stack: Stack, portrait: bytes, **options: object) -> bytes:
    """The video of a job that succeeded."""
    job_id = _submit(stack, portrait, **options)
    job = stack.wait_final(job_id)
    assert job["state"] == "succeeded", job
    return stack.video(job_id)


def _portraits(stack: Stack) -> dict[bytes, bytes]:
    """The prepared portraits in Redis, by key."""
    keys: list[bytes] = stack.redis.keys("th:{0}:portrait:*")  # type: ignore[assignment]  # replies are bytes
    values: list[bytes] = stack.redis.mget(keys) if keys else []  # type: ignore[assignment]
    return dict(zip(keys, values, strict=True))


def test_a_job_is_streamed_and_becomes_a_video(stack: Stack) -> None:
    job_id = _submit(stack, unseen_portrait())
    with Viewer(stack.url, job_id, keep_jpegs=True) as viewer:
        assert viewer.wait_end().name == "job.done"
    assert viewer.indices == list(range(N_FRAMES))
    sizes = {Image.open(io.BytesIO(jpeg)).size for jpeg in viewer.jpegs}
    assert sizes == {(512, 512)}
    seen = facts(stack.video(job_id))
    assert (seen.width, seen.height, seen.n_frames) == (512, 512, N_FRAMES)
    assert (seen.video_codec, seen.audio_codec) == ("h264", "aac")


def test_full_output_keeps_the_size_of_the_photo(stack: Stack) -> None:
    seen = facts(_finished(stack, unseen_portrait(), output="full"))
    with Image.open(PORTRAIT) as photo:
        width, height = photo.size
    assert (seen.width, seen.height, seen.n_frames) == (width // 2 * 2, height // 2 * 2, N_FRAMES)


def test_frames_that_are_not_finite_fail_their_job_and_the_worker_goes_on(stack: Stack) -> None:
    """The prepared portrait in Redis is spoilt; the renderer has forgotten its own copy, since it keeps only one."""
    spoilt, other = unseen_portrait(), unseen_portrait()
    before = _portraits(stack)
    _finished(stack, spoilt)
    ((key, data),) = _portraits(stack).items() - before.items()
    _finished(stack, other)
    appearance = LivePortraitAppearance.from_bytes(data)
    features = np.full_like(appearance.f_s, TOO_LARGE, np.float32)
    stack.redis.set(key, replace(appearance, f_s=features).to_bytes(), keepttl=True)
    renderer = stack.pid("renderer")
    job = stack.wait_final(_submit(stack, spoilt))
    assert (job["state"], job["error"]["code"]) == ("failed", "non_finite_output")
    assert "talkinghead weights verify" in job["error"]["detail"]
    _finished(stack, other)
    assert stack.pid("renderer") == renderer


def test_weights_that_are_not_numbers_stop_the_renderer_with_what_to_do(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "liveportrait")
    file = tmp_path / "liveportrait" / "warping_module.safetensors"
    name = "dense_motion_network.mask.weight"
    save_file(load_file(file) | {name: torch.full_like(load_file(file)[name], float("nan"))}, file)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TH_")}
    environment = {**clean, "TH_BUNDLE": "liveportrait", "TH_WEIGHTS_DIR": str(tmp_path), "TH_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "services.renderer.worker"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout
    assert "worker.refused" in done.stdout
    assert file.name in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
