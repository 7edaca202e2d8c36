"""Motion worker. START HERE: settings, load, warm up, serve.

Takes one window of one job at a time (its features and what the previous window left), generates the motion of its new
frames and commits it together with the state for the next window. Start with ``python -m services.motion_dit.worker``.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import torch
from pydantic import Field

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from services.motion_dit.interface import Generator, Request
from services.motion_dit.joyvasa.bundle_folder import read_motion
from services.motion_dit.joyvasa.generator import JoyVasaGenerator, Options
from shared.bundles import Bundle, load_bundle
from shared.errors import BadMessage, ConfigurationError, WeightsMismatch
from shared.exposition import export_device
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.protocol import MotionPayload, Stage
from shared.settings import Settings
from shared.timeline import window_at
from shared.weights import require_bundle
from shared.worker import REFUSED, Task, refusing, serve

log = structlog.get_logger(__name__)


class MotionSettings(Settings):
    """What this process reads."""

    motion_device: str = Field("cpu", description="torch device of the motion model")
    motion_weights: str = Field(
        "", description="checkpoint file (bundle joyvasa: folder); empty: the one that ships with the bundle"
    )
    motion_evaluations: int = Field(
        8,
        ge=0,
        description="bundle joyvasa: evaluations per window by DPM-Solver++; 0: every step by DDPM, as officially",
    )
    motion_max_batch: int = Field(4, ge=1, description="windows read at once")


class MotionHandler:
    """Generates windows; see `shared.worker.Handler`."""

    stages: Sequence[Stage] = (Stage.MOTION,)

    def __init__(
        self,
        generator: Generator[Any],
        store: JobStore,
        bundle: Bundle,
        max_batch: int = 4,
        deadline_s: float = 30.0,
    ) -> None:
        self.generator = generator
        self.store = store
        self.bundle = bundle
        self.max_batch = max_batch
        self.deadline_s = deadline_s

    def warm_up(self) -> None:
        """Run one window of silence."""
        self.generator.warm_up(self.bundle.geometry)

    def handle(self, tasks: Sequence[Task]) -> None:
        """Generate and commit; on a CPU one after another, so that the first job does not wait for the last."""
        groups = [[task] for task in tasks] if self.generator.device.type == "cpu" else [list(tasks)]
        for group in groups:
            generated = self.generator.generate([self._request(task) for task in group])
            for task, result in zip(group, generated, strict=True):
                payload = _payload(task)
                geometry = replace(self.bundle.geometry, hop=payload.hop)
                window = window_at(task.unit.index, payload.n_frames, geometry)
                rows = result.rows[: window.n_new]
                self.store.commit_motion(task, result.next_state.to_bytes(), rows, result.reference)

    def _request(self, task: Task) -> Request[Any]:
        payload = _payload(task)
        geometry = replace(self.bundle.geometry, hop=payload.hop)
        if len(payload.features) != geometry.length:
            raise BadMessage(f"{len(payload.features)} feature rows; expected {geometry.length}, as {geometry} has")
        return Request(
            features=payload.features,
            state=self.generator.read_state(payload.window_state, task.unit.index),
            seed=payload.seed,
            controls=payload.controls,
        )


def choose_generator(settings: MotionSettings, bundle: Bundle) -> Generator[Any]:
    """Load what the bundle names.

    Raises:
        WeightsMismatch: the weights cannot be used, or do not fit the bundle.
        ConfigurationError: there are none, or the bundle's motion is not what its generator makes.
    """
    return load_joyvasa(settings, bundle) if bundle.motion == "joyvasa" else load_generator(settings, bundle)


def load_joyvasa(settings: MotionSettings, bundle: Bundle) -> JoyVasaGenerator:
    """Load JoyVASA's converted checkpoint and check that it fits the bundle; see `choose_generator`."""
    folder = (
        Path(settings.motion_weights) if settings.motion_weights else require_bundle("joyvasa", settings.weights_dir)
    )
    network, template = read_motion(folder)
    config = network.config
    if (config.window, config.encoder_size) != (bundle.geometry.length, bundle.hidden_size) or bundle.relative_motion:
        raise WeightsMismatch(
            f"{folder} makes absolute motion in windows of {config.window} frames from {config.encoder_size} features; "
            f"bundle {bundle.name} has {bundle.geometry.length} and {bundle.hidden_size}"
        )
    if settings.motion_evaluations > config.n_steps:
        raise ConfigurationError(
            f"TH_MOTION_EVALUATIONS={settings.motion_evaluations}; the checkpoint has {config.n_steps} steps at most"
        )
    return JoyVasaGenerator(network, template, settings.motion_device, Options(settings.motion_evaluations))


def load_generator(settings: MotionSettings, bundle: Bundle) -> MotionGenerator:
    """Load the checkpoint and check that it fits the bundle.

    Raises:
        WeightsMismatch: it does not.
        ConfigurationError: the bundle wants absolute motion; this network makes motion relative to the portrait.
    """
    if not bundle.relative_motion:
        raise ConfigurationError(f"bundle {bundle.name} has absolute motion; this service generates relative motion")
    path = Path(settings.motion_weights) if settings.motion_weights else EMBEDDED
    model = load_checkpoint(path)
    config = model.config
    wanted = (config.context, config.lookahead, config.feature_size)
    geometry = bundle.geometry
    if wanted != (geometry.context, geometry.lookahead, bundle.feature_size):
        raise WeightsMismatch(
            f"{path} wants (context frames, look-ahead frames, features) {wanted}; bundle {bundle.name} has "
            f"{(geometry.context, geometry.lookahead, bundle.feature_size)}"
        )
    return MotionGenerator(model, settings.motion_device)


def _payload(task: Task) -> MotionPayload:
    if not isinstance(task.payload, MotionPayload):
        raise BadMessage(f"unit {task.unit} carries {type(task.payload).__name__}; expected MotionPayload")
    return task.payload


def main() -> int:
    """Serve until drained; returns the exit status."""
    settings = MotionSettings()
    configure_logging(settings.log_level, settings.log_format, kind="motion_dit")
    torch.set_num_threads(settings.threads)
    try:
        bundle = load_bundle(settings.bundle, settings.bundle_file)
        generator = choose_generator(settings, bundle)
    except (WeightsMismatch, ConfigurationError) as error:
        log.error("worker.refused", error=error.message)
        return REFUSED
    if generator.device.type == "cuda":
        export_device(torch.cuda, generator.device.index or 0)
    store = JobStore.from_settings(settings)
    handler = MotionHandler(generator, store, bundle, settings.motion_max_batch)
    return serve(handler, store, settings, "motion_dit")


if __name__ == "__main__":
    sys.exit(refusing(main))
