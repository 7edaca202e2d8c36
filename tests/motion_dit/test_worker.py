from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.motion_dit.checkpoint import save_checkpoint
from services.motion_dit.controls import add_lasting
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.worker import MotionHandler, MotionSettings, load_generator, main
from shared.bundles import Bundle, load_bundle
from shared.controls import DEFAULTS, Controls, Emotion
from shared.errors import BadMessage, WeightsMismatch
from shared.jobs import JobStore
from shared.motion import EXP, PYR, lip_opening
from shared.protocol import GROUP, JobOptions, RenderPayload, Stage, stream_key
from shared.streams import Consumer
from shared.task import Task
from shared.timeline import Geometry, slices_of, window_at
from tests.motion_dit.conftest import SMALL, make_model

pytestmark = pytest.mark.redis

FloatArray = NDArray[np.float32]
BUNDLE = Bundle("embedded", "test", Geometry(), SMALL.feature_size - 1, 720, relative_motion=True)
N_FRAMES = 150


def _submit(store: JobStore, name: str, seed: int = 5, n_frames: int = N_FRAMES, controls: Controls = DEFAULTS) -> str:
    job_id = f"0-{name}"
    options = JobOptions(seed=seed, **asdict(controls))
    store.create(job_id, options, "embedded", {"created": 1.0, "portrait_file": "p.jpg", "audio_file": "a.wav"})
    store.begin_ingest(job_id)
    store.ready(job_id, n_frames, 1.0, "digest")
    return job_id


class Desk:
    """One consumer of every stream."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.streams = {stage: stream_key("0", stage, "embedded") for stage in Stage}
        self.consumer = Consumer(store.client, self.streams, GROUP)
        self.consumer.ensure_groups()

    def take(self, stage: Stage) -> list[Task]:
        """Everything that waits in one stream."""
        tasks = []
        for batch in self.consumer.read(64, 0.05):
            for entry in batch:
                job_id, unit = entry.parse()
                task = self.store.take(entry.stream, entry.entry_id, job_id, unit, GROUP)
                if task is not None:
                    tasks.append(task)
        self.waiting = [*getattr(self, "waiting", []), *tasks]
        found = [task for task in self.waiting if task.unit.stage is stage]
        self.waiting = [task for task in self.waiting if task.unit.stage is not stage]
        return found


def _features(seed: int) -> FloatArray:
    features = np.random.default_rng(seed).normal(size=(75, SMALL.feature_size)).astype(np.float32)
    features[:, -1] = 0.5
    return features


def _run(store: JobStore, handler: MotionHandler, desk: Desk, job_ids: list[str]) -> dict[str, FloatArray]:
    """Drive all motion of some jobs; returns their rows by job."""
    rows: dict[str, dict[int, FloatArray]] = {job_id: {} for job_id in job_ids}
    for task in desk.take(Stage.PORTRAIT):
        store.commit_portrait(task, b"appearance")
    for _ in range(30):
        for task in desk.take(Stage.ENCODE):
            store.commit_encode(task, _features(task.unit.index))
        motion = desk.take(Stage.MOTION)
        if motion:
            handler.handle(motion)
        for task in desk.take(Stage.RENDER):
            assert isinstance(task.payload, RenderPayload)
            assert task.payload.reference is None
            rows[task.job_id][task.unit.index] = task.payload.motion
            store.commit_slice(task, [b"jpeg"] * task.payload.n_slice_frames)
        for task in desk.take(Stage.MUX):
            store.commit_mux(task)
    return {job_id: np.concatenate([parts[first] for first in sorted(parts)]) for job_id, parts in rows.items()}


@pytest.fixture
def run(store: JobStore) -> Callable[[list[str]], dict[str, FloatArray]]:
    torch.set_num_threads(1)
    handler = MotionHandler(MotionGenerator(make_model()), store, BUNDLE)
    handler.warm_up()
    desk = Desk(store)
    return lambda job_ids: _run(store, handler, desk, job_ids)


def test_a_job_gets_motion_for_every_frame(store: JobStore, run: Callable[[list[str]], dict[str, FloatArray]]) -> None:
    job_id = _submit(store, "whole")
    motion = run([job_id])[job_id]
    assert motion.shape == (N_FRAMES, 70)
    assert motion.dtype == np.float32
    assert np.isfinite(motion).all()
    cut = window_at(2, N_FRAMES, Geometry())
    assert cut.n_new == 20
    assert len(slices_of(cut)) == 2


def test_equal_jobs_get_equal_bytes_whatever_runs_beside_them(
    store: JobStore, run: Callable[[list[str]], dict[str, FloatArray]]
) -> None:
    alone = _submit(store, "alone")
    first = run([alone])[alone]
    together = [_submit(store, "one"), _submit(store, "other", seed=6)]
    motion = run(together)
    assert motion[together[0]].tobytes() == first.tobytes()
    assert not np.array_equal(motion[together[1]], first)


def test_what_the_caller_chose_is_done_to_the_same_motion(
    store: JobStore, run: Callable[[list[str]], dict[str, FloatArray]]
) -> None:
    controls = Controls(head_motion=0.5, gaze_x=1.0, emotion=Emotion.HAPPY, emotion_strength=0.7)
    plain, happy = _submit(store, "plain"), _submit(store, "happy", controls=controls)
    motion = run([plain, happy])
    assert np.allclose(motion[happy][:, EXP], add_lasting(motion[plain][:, EXP], controls, 0), atol=1e-5)
    assert np.allclose(motion[happy][:, PYR], 0.5 * motion[plain][:, PYR])
    assert np.array_equal(lip_opening(motion[happy][:, EXP]) == 0, lip_opening(motion[plain][:, EXP]) == 0)


def test_features_of_another_length_are_refused(store: JobStore) -> None:
    handler = MotionHandler(MotionGenerator(make_model()), store, BUNDLE)
    desk = Desk(store)
    _submit(store, "short")
    for task in desk.take(Stage.PORTRAIT):
        store.commit_portrait(task, b"appearance")
    for task in desk.take(Stage.ENCODE):
        store.commit_encode(task, _features(0)[:20])
    with pytest.raises(BadMessage, match="feature rows"):
        handler.handle(desk.take(Stage.MOTION))


def test_a_checkpoint_of_another_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(make_model(), path)
    settings = MotionSettings(motion_weights=str(path))
    assert load_generator(settings, BUNDLE).context == SMALL.context
    with pytest.raises(WeightsMismatch, match="features"):
        load_generator(settings, load_bundle("embedded"))
    with pytest.raises(WeightsMismatch, match="look-ahead"):
        load_generator(settings, replace(BUNDLE, geometry=Geometry(lookahead=4)))


@pytest.mark.parametrize(("name", "value"), [("TH_BUNDLE", "nope"), ("TH_MOTION_WEIGHTS", "nowhere.safetensors")])
def test_a_worker_with_a_wrong_bundle_or_no_weights_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert main() == 2
