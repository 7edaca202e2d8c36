"""START HERE: the muxer process. Stored slices of one window become one H.264 segment; nothing is decoded to RGB.

Segments are put in place by renaming and are equal byte for byte when encoded twice, so a muxer may be killed at any
moment. When the last window is counted the job is finalizing and `assemble` is sent; if that message is lost,
`reconcile` sends it again.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from gateway.control import ASSEMBLE, Control
from gateway.records import segment_path
from gateway.settings import MuxerSettings
from shared.artifact_access import require_writable
from shared.artifacts import ArtifactStore, open_store
from shared.errors import ArtifactUnavailable, ShapeError
from shared.frames import decode_slice
from shared.jobs import JobStore, Outcome
from shared.log import configure_logging
from shared.media.video import EncoderOptions, blank_jpeg, encode_segment
from shared.metrics import frames_total
from shared.protocol import MuxPayload, Stage
from shared.worker import Task, refusing, serve

KIND = "muxer"
STORE_RETRY_S = 1.0
log = structlog.get_logger(__name__)


class Muxer:
    """Handles mux units, one at a time."""

    stages: Sequence[Stage] = (Stage.MUX,)
    max_batch = 1

    def __init__(
        self, store: JobStore, artifacts: ArtifactStore, control: Control, options: EncoderOptions, deadline_s: float
    ) -> None:
        self.store = store
        self.artifacts = artifacts
        self.control = control
        self.options = options
        self.deadline_s = deadline_s

    def warm_up(self) -> None:
        """Load the encoder and decoder once: the first call links them."""
        with tempfile.TemporaryDirectory(prefix="talkinghead-") as folder:
            encode_segment([blank_jpeg(64)], Path(folder, "warm_up.mp4"), self.options)

    def handle(self, tasks: Sequence[Task]) -> None:
        """Encode and count the windows of ``tasks``."""
        for task in tasks:
            self.mux(task)

    def mux(self, task: Task) -> None:
        """Encode one window, unless slices are missing: then have them drawn again."""
        payload = task.payload
        if not isinstance(payload, MuxPayload):
            raise TypeError(f"unit {task.unit} with {type(payload).__name__}; expected MuxPayload")
        firsts = [first for first, _ in payload.slices]
        stored = self.store.load_slices(task.job_id, firsts)
        missing = [first for first, data in zip(firsts, stored, strict=True) if data is None]
        if missing:
            log.info("window.incomplete", job_id=task.job_id, window=task.unit.index, n_slices=len(missing))
            self.store.lost_slices(task, missing)
            return
        jpegs = [jpeg for data in stored if data is not None for jpeg in decode_slice(data)]
        expected = sum(n for _, n in payload.slices)
        if len(jpegs) != expected:
            raise ShapeError(f"window {task.unit.index} has {len(jpegs)} frames in its slices; expected {expected}")
        self._write(segment_path(task.job_id, task.unit.index), jpegs)
        outcome = self.store.commit_mux(task)
        frames_total.labels(Stage.MUX).inc(len(jpegs))
        if outcome is Outcome.FINALIZING:
            self.control.send(ASSEMBLE, task.job_id)

    def _write(self, path: str, jpegs: Sequence[bytes]) -> None:
        """Encode into the store; wait for one that is full or away as long as the deadline lets us."""
        give_up = time.monotonic() + self.deadline_s / 2
        while True:
            try:
                with self.artifacts.writing(path) as temporary:
                    encode_segment(jpegs, temporary, self.options)
            except ArtifactUnavailable as error:
                if time.monotonic() > give_up:
                    raise
                log.warning("segment.waits", path=path, error=error.message)
                time.sleep(STORE_RETRY_S)
            else:
                return


def main() -> int:
    """Run the process until it is told to stop."""
    settings = MuxerSettings()
    configure_logging(settings.log_level, settings.log_format, kind=KIND)
    store = JobStore.from_settings(settings)
    artifacts = open_store(settings.artifacts_url)
    require_writable(artifacts, settings.artifacts_url)
    handler = Muxer(
        store,
        artifacts,
        Control.connect(settings.broker_url),
        EncoderOptions(preset=settings.x264_preset),
        settings.muxer_deadline_s,
    )
    return serve(handler, store, settings, KIND)


if __name__ == "__main__":
    sys.exit(refusing(main))
