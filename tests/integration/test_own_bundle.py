"""From shards to a video: fine-tune the shipped motion by its command line, export it, serve what was exported."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from services.audio_encoder.checkpoint import EMBEDDED_CONFIG
from shared.bundles import EMBEDDED
from shared.motion import basis, neutral_rows
from shared.timeline import FPS, SAMPLE_RATE
from tests.integration.motion_tap import MotionTap
from tests.integration.speech import repeated, samples
from tests.integration.stack import PORTRAIT, SPEECH_SHORT, Stack, running_stack
from tests.integration.video import facts
from training import export, train
from training.evaluate.served import load_system, motion_of_speech
from training.sources import EncoderFacts
from training.video.features import window_starts
from training.video.quality import Facts
from training.video.shards import Clip, Manifest, Record, shard_path, write_manifest, write_shard

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

N_CLIP_FRAMES, N_FRAMES, SEED = 160, 70, 3
MEASURED = Facts(200.0, 50.0, 5.0, 0.01, 0.1, 0.0, 1.0, 0.5, 0.5, 0.2, 0)


@dataclass(frozen=True)
class Served:
    """The stack and the weights it serves."""

    stack: Stack
    weights: Path


def _write_shards(folder: Path) -> None:
    """Two videos, one held out: sound features without meaning, lips that open and close, a head that turns."""
    rng = np.random.default_rng(0)
    geometry = EMBEDDED.geometry
    records = []
    for key, split in (("a" * 64, "train"), ("b" * 64, "held")):
        rows = neutral_rows(N_CLIP_FRAMES)
        wave = np.sin(np.arange(N_CLIP_FRAMES) / 3 + rng.uniform(0, 6)).astype(np.float32)
        rows[:, :63] += 0.5 * (1 + wave[:, None]) * basis()[0]
        rows[:, 68] += 6.0 * wave
        clip = Clip("000000", 0, N_CLIP_FRAMES, 1.0, MEASURED)
        record = Record(key, f"{split}/x.mp4", split, N_CLIP_FRAMES / FPS, FPS, (clip,))  # type: ignore[arg-type]
        n_windows = len(window_starts(N_CLIP_FRAMES, geometry))
        features = rng.normal(size=(n_windows, geometry.length, EMBEDDED.feature_size)).astype(np.float16)
        motion = {"000000.rows": rows, "000000.tracks": np.zeros((N_CLIP_FRAMES, 3), np.float32)}
        write_shard(shard_path(folder, "motion", key), motion, "test", record)
        write_shard(shard_path(folder, "features", key), {"000000": features}, "test")
        records.append(record)
    shipped = json.loads(EMBEDDED_CONFIG.read_text(encoding="utf-8"))["sha256"]
    encoder = EncoderFacts("embedded", shipped, EMBEDDED.hidden_size, EMBEDDED.receptive_field)
    write_manifest(folder, Manifest("test", geometry, encoder, "test", "test", tuple(records), {}, {}))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("own")
    _write_shards(folder / "shards")
    run = ["--data", str(folder / "shards"), "--init", "embedded", "--run", str(folder / "run"), "--steps", "3"]
    small = ["--batch-size", "2", "--n-validation", "2", "--warm-up-steps", "1", "--learning-rate", "3e-3"]
    assert train.main([*run, *small]) == 0
    out = folder / "own-voice"
    assert export.main(["--run", str(folder / "run"), "--last", "--out", str(out), "--licence", "CC0-1.0"]) == 0
    environment = {
        "TH_BUNDLE_FILE": str(out / "bundle.json"),
        "TH_BUNDLE": "own-voice",
        "TH_MOTION_WEIGHTS": str(out / "motion.safetensors"),
    }
    with running_stack(folder / "stack", environment, arguments=("--renderers", "1")) as running:
        yield Served(running, out / "motion.safetensors")


def test_the_stack_makes_the_motion_of_the_weights_that_were_exported(served: Served) -> None:
    stack = served.stack
    speech = repeated(SPEECH_SHORT, N_FRAMES / FPS)
    response = stack.post("speech.wav", speech, PORTRAIT.name, PORTRAIT.read_bytes(), seed=SEED)
    assert response.status_code == 202, response.text
    job_id = str(response.json()["id"])
    with MotionTap(stack.redis_url, job_id) as tap:
        job = stack.wait_final(job_id)
        rows = tap.rows(N_FRAMES)
    assert (job["state"], job["bundle"]) == ("succeeded", "own-voice"), job
    assert facts(stack.video(job_id)).n_frames == N_FRAMES

    once = samples(SPEECH_SHORT)
    n_samples = N_FRAMES * SAMPLE_RATE // FPS
    pcm = np.tile(once, -(-n_samples // len(once)))[:n_samples]
    expected = motion_of_speech(load_system(motion=served.weights), pcm, SEED)
    assert rows is not None
    assert rows.shape == expected.shape
    assert np.abs(rows - expected).max() < 1e-3
    shipped = motion_of_speech(load_system(), pcm, SEED)
    assert np.abs(rows - shipped).max() > 0.05
