"""Worker of the stage ``encode``: START HERE. Settings, load, warm up, serve.

One window per forward pass, so that the same window gives the same bytes on every attempt.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
import torch
from pydantic import Field

from services.audio_encoder.model import AudioEncoder, load_encoder
from services.audio_encoder.speech import read_span
from shared.artifacts import ArtifactStore, open_store
from shared.bundles import Bundle, load_bundle
from shared.errors import BadMessage, ConfigurationError, WeightsMismatch
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.protocol import EncodePayload, Stage
from shared.settings import Settings
from shared.timeline import encoder_span, window_at
from shared.weights import require_bundle
from shared.worker import REFUSED, Task, refusing, serve

KIND = "audio_encoder"
log = structlog.get_logger(__name__)


class EncoderSettings(Settings):
    """What the audio encoder reads besides the shared settings."""

    encoder_path: str = Field("", description="folder with config.json and model.safetensors; empty: shipped weights")
    encoder_deadline_s: float = Field(30.0, gt=0, description="seconds a window may take before it is taken over")


class EncodeHandler:
    """Sound of a window -> features, committed to the job."""

    stages: Sequence[Stage] = (Stage.ENCODE,)
    max_batch = 1

    def __init__(
        self, store: JobStore, artifacts: ArtifactStore, encoder: AudioEncoder, bundle: Bundle, deadline_s: float
    ) -> None:
        self.deadline_s = deadline_s
        self._store, self._artifacts = store, artifacts
        self._encoder, self._geometry = encoder, bundle.geometry

    def warm_up(self) -> None:
        """One forward pass with the real shape."""
        n_samples = self._encoder.span_samples(self._geometry)
        self._encoder.encode(np.zeros(n_samples, np.float32), 1.0, self._geometry)

    def handle(self, tasks: Sequence[Task]) -> None:
        """Encode and commit each window."""
        for task in tasks:
            payload = task.payload
            if not isinstance(payload, EncodePayload):
                raise BadMessage(f"unit {task.unit} carries {type(payload).__name__}; expected EncodePayload")
            geometry = replace(self._geometry, hop=payload.hop)
            window = window_at(task.unit.index, payload.n_frames, geometry)
            span = encoder_span(window, geometry, self._encoder.receptive_field)
            wave = read_span(self._artifacts, payload.speech_file, *span)
            self._store.commit_encode(task, self._encoder.encode(wave, payload.gain, geometry))


def load_for_bundle(settings: EncoderSettings, bundle: Bundle) -> AudioEncoder:
    """Load the encoder and check that the bundle's motion model can read it.

    Raises:
        WeightsMismatch: the files do not fit each other.
        ConfigurationError: the encoder is not the bundle's.
    """
    encoder = load_encoder(_folder(settings, bundle))
    found = (encoder.hidden_size, encoder.receptive_field)
    if found != (bundle.hidden_size, bundle.receptive_field):
        raise ConfigurationError(
            f"the encoder has (width, receptive field) {found}, bundle {bundle.name!r} expects "
            f"{(bundle.hidden_size, bundle.receptive_field)}; change TH_ENCODER_PATH or TH_BUNDLE"
        )
    return encoder


def _folder(settings: EncoderSettings, bundle: Bundle) -> Path | None:
    if settings.encoder_path:
        return Path(settings.encoder_path)
    return require_bundle("joyvasa", settings.weights_dir) / "encoder" if bundle.motion == "joyvasa" else None


def main() -> int:
    """Run one worker until it is told to stop; returns the exit status."""
    settings = EncoderSettings()
    configure_logging(settings.log_level, settings.log_format, kind=KIND)
    torch.set_num_threads(settings.threads)
    try:
        bundle = load_bundle(settings.bundle, settings.bundle_file)
        encoder = load_for_bundle(settings, bundle)
    except (WeightsMismatch, ConfigurationError) as error:
        log.error("worker.refused", error=error.message)
        return REFUSED
    store = JobStore.from_settings(settings)
    handler = EncodeHandler(store, open_store(settings.artifacts_url), encoder, bundle, settings.encoder_deadline_s)
    return serve(handler, store, settings, KIND)


if __name__ == "__main__":
    sys.exit(refusing(main))
