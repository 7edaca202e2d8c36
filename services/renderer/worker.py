"""START HERE. The renderer process: portraits to appearances, motion to JPEG frames.

Takes the stages ``portrait`` and ``render``. Built appearances live in a small cache; a missing one is read from Redis
or, when it has expired there, prepared again from the uploaded portrait. While a frame is drawn, the one before it is
compressed in a thread.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import Field

from services.renderer.drawn_face import draw_face
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.artifacts import ArtifactStore, open_store
from shared.errors import BadMessage, NoFaceFound, ShapeError
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.media.portrait import decode_portrait
from shared.metrics import frames_total
from shared.motion import neutral_rows
from shared.protocol import Output, PortraitPayload, RenderPayload, Stage, shard_of
from shared.settings import Settings
from shared.task import Task
from shared.worker import serve

KIND = "renderer"
DEADLINE_S = 60.0

log = structlog.get_logger()


class RendererSettings(Settings):
    """What a renderer reads."""

    jpeg_quality: int = Field(90, ge=30, le=100, description="quality of streamed frames, 4:2:0")
    renderer_cache: int = Field(16, ge=1, description="built appearances kept in memory (about 10 MB each)")


class RenderHandler:
    """Handles one message at a time: frames gain nothing from batches on a CPU.

    Args:
        store: jobs and appearances.
        artifacts: uploaded portraits.
        jpeg_quality: 30..100.
        cache_size: built appearances kept.
    """

    stages: Sequence[Stage] = (Stage.PORTRAIT, Stage.RENDER)
    max_batch = 1
    deadline_s = DEADLINE_S

    def __init__(self, store: JobStore, artifacts: ArtifactStore, jpeg_quality: int = 90, cache_size: int = 16) -> None:
        self._store = store
        self._artifacts = artifacts
        self._cache: OrderedDict[tuple[str, Output], Puppet] = OrderedDict()
        self._cache_size = cache_size
        self._quality = jpeg_quality
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="jpeg")

    def warm_up(self) -> None:
        """Load MediaPipe's models and draw real shapes once, so that the first job meets a warm worker."""
        portrait = draw_face()
        try:
            appearance = prepare(portrait, "square")
        except NoFaceFound:
            log.warning("warm_up.no_face")
            return
        moving = neutral_rows(3)
        moving[:, 3 * 19 + 1] = 0.05
        moving[:, 68] = 2.0
        moving[:, 3 * 11 + 1] = 0.01
        self._jpegs(Puppet(appearance), moving, None)

    def handle(self, tasks: Sequence[Task]) -> None:
        """Prepare portraits and draw slices, committing each on its own."""
        for task in tasks:
            payload = task.payload
            if isinstance(payload, PortraitPayload):
                self._prepare(task, payload)
            elif isinstance(payload, RenderPayload):
                self._render(task, payload)
            else:
                raise BadMessage(
                    f"a renderer got {task.unit} with {type(payload).__name__}; expected portrait or render"
                )

    def _prepare(self, task: Task, payload: PortraitPayload) -> None:
        appearance = self._appearance_from_upload(payload.portrait_file, payload.output)
        self._store.commit_portrait(task, appearance.to_bytes(), appearance.warnings)
        for warning in appearance.warnings:
            log.warning("portrait.warning", text=warning)
        # Build it now: the first slice of this job is likely to come here next.
        self._remember(payload.portrait_digest, payload.output, Puppet(appearance))

    def _render(self, task: Task, payload: RenderPayload) -> None:
        if len(payload.motion) != payload.n_slice_frames:
            raise ShapeError(f"slice of {payload.n_slice_frames} frames with {len(payload.motion)} motion rows")
        puppet = self._puppet(task, payload)
        jpegs = self._jpegs(puppet, payload.motion, payload.reference)
        self._store.commit_slice(task, jpegs)
        frames_total.labels(stage=Stage.RENDER.value).inc(len(jpegs))

    def _jpegs(self, puppet: Puppet, motion: NDArray[np.float32], reference: NDArray[np.float32] | None) -> list[bytes]:
        waiting: list[Future[bytes]] = [
            self._encoder.submit(encode_jpeg, frame, self._quality) for frame in puppet.frames(motion, reference)
        ]
        return [future.result() for future in waiting]

    def _puppet(self, task: Task, payload: RenderPayload) -> Puppet:
        key = (payload.portrait_digest, payload.output)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        shard = shard_of(task.job_id)
        stored = self._store.load_appearance(shard, payload.portrait_digest)
        if stored is None:
            appearance = self._appearance_from_upload(payload.portrait_file, payload.output)
            self._store.store_appearance(shard, payload.portrait_digest, appearance.to_bytes())
            log.info("appearance.rebuilt", digest=payload.portrait_digest)
        else:
            appearance = Appearance.from_bytes(stored)
        return self._remember(payload.portrait_digest, payload.output, Puppet(appearance))

    def _appearance_from_upload(self, path: str, output: Output) -> Appearance:
        return prepare(decode_portrait(self._artifacts.read_bytes(path)), output)

    def _remember(self, digest: str, output: Output, puppet: Puppet) -> Puppet:
        self._cache[digest, output] = puppet
        self._cache.move_to_end((digest, output))
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return puppet


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """Compress (h, w, 3) uint8 RGB as baseline JPEG with 4:2:0 chroma; equal input, equal bytes."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return bytes(data)


def main() -> int:
    """Serve until told to stop."""
    settings = RendererSettings()
    configure_logging(settings.log_level, settings.log_format, kind=KIND)
    cv2.setNumThreads(settings.threads)
    store = JobStore.from_settings(settings)
    handler = RenderHandler(store, open_store(settings.artifacts_url), settings.jpeg_quality, settings.renderer_cache)
    return serve(handler, store, settings, KIND)


if __name__ == "__main__":
    sys.exit(main())
