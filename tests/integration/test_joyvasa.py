"""A job with JoyVASA's motion through the real processes; small networks with synthetic weights, drawn by the warp."""

import json
from collections.abc import Iterator

import pytest

from services.motion_dit.joyvasa.convert import convert
from services.motion_dit.joyvasa.network import Positions
from shared.timeline import FPS
from tests import tiny_joyvasa
from tests.integration.speech import repeated
from tests.integration.stack import PORTRAIT, SPEECH_SHORT, Stack, running_stack
from tests.integration.video import facts, frame_hashes

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

N_FRAMES = 112  # a whole window and a cut one
BUNDLE = {
    "version": "1", "context": 0, "hop": 100, "margin": 0, "hidden_size": tiny_joyvasa.TINY.encoder_size,
    "receptive_field": 400, "relative_motion": False, "renderer": "embedded", "motion": "joyvasa",
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("joyvasa")
    convert(*tiny_joyvasa.write_published(folder), folder / "weights" / "joyvasa", Positions.INDEX)
    (folder / "bundles.json").write_text(json.dumps({"tiny": BUNDLE}))
    environment = {
        "TH_BUNDLE": "tiny",
        "TH_BUNDLE_FILE": str(folder / "bundles.json"),
        "TH_WEIGHTS_DIR": str(folder / "weights"),
    }
    with running_stack(folder / "stack", environment, arguments=("--renderers", "1")) as running:
        yield running


def _video(stack: Stack, seed: int) -> bytes:
    """The video of a job that succeeded."""
    speech = repeated(SPEECH_SHORT, N_FRAMES / FPS)
    response = stack.post("speech.wav", speech, PORTRAIT.name, PORTRAIT.read_bytes(), seed=seed)
    assert response.status_code == 202, response.text
    job = stack.wait_final(str(response.json()["id"]))
    assert job["state"] == "succeeded", job
    return stack.video(str(job["id"]))


def test_two_windows_become_a_video_that_moves_and_can_be_made_again(stack: Stack) -> None:
    video = _video(stack, seed=7)
    seen = facts(video)
    assert (seen.width, seen.height, seen.n_frames) == (512, 512, N_FRAMES)
    hashes = frame_hashes(video)
    assert len(set(hashes)) > N_FRAMES // 2
    assert hashes == frame_hashes(_video(stack, seed=7))
    assert hashes != frame_hashes(_video(stack, seed=8))
