"""START HERE. The renderer process: portraits to appearances, motion to JPEG frames.

Takes the stages ``portrait`` and ``render``; which renderer draws is the bundle's choice (``choice.py``). Built
portraits live in a small cache; a missing one is read from Redis or, when it has expired there, prepared again from the
uploaded portrait. Drawing and compressing overlap in the executor; a slice is committed as soon as its last frame is
compressed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing
from functools import partial
from typing import Generic

import cv2
import structlog

from services.renderer.choice import build_renderer
from services.renderer.executor import Executor
from services.renderer.interface import AppearanceT, Renderer, SubjectT
from services.renderer.jpeg import encode_jpeg
from services.renderer.packing import Order
from services.renderer.settings import Limits, RendererSettings
from shared.artifacts import ArtifactStore, open_store
from shared.bundles import load_bundle
from shared.errors import BadMessage, ShapeError
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.media.portrait import decode_portrait
from shared.metrics import frames_total
from shared.protocol import Output, PortraitPayload, RenderPayload, Stage, shard_of
from shared.task import Task
from shared.worker import refusing, serve

KIND = "renderer"
DEFAULTS = Limits()

log = structlog.get_logger()


class RenderHandler(Generic[AppearanceT, SubjectT]):
    """Prepares portraits and draws slices with one renderer.

    Args:
        store: jobs and appearances.
        artifacts: uploaded portraits.
        renderer: what draws.
        limits: of messages, time and memory.
    """

    stages: Sequence[Stage] = (Stage.PORTRAIT, Stage.RENDER)

    def __init__(
        self,
        store: JobStore,
        artifacts: ArtifactStore,
        renderer: Renderer[AppearanceT, SubjectT],
        limits: Limits = DEFAULTS,
    ) -> None:
        self.max_batch = limits.messages
        self.deadline_s = limits.deadline_s
        self._store = store
        self._artifacts = artifacts
        self._renderer = renderer
        self._executor = Executor(renderer, partial(encode_jpeg, quality=limits.jpeg_quality))
        self._cache: OrderedDict[tuple[str, Output], SubjectT] = OrderedDict()
        self._cache_size = limits.cached

    def warm_up(self) -> None:
        """Run every shape once, so that the first job meets a warm worker."""
        self._renderer.warm_up()

    def close(self) -> None:
        """End the executor's threads."""
        self._executor.close()

    def handle(self, tasks: Sequence[Task]) -> None:
        """Prepare portraits and draw slices, committing each on its own as soon as it is done."""
        drawn: list[tuple[Task, Order[SubjectT]]] = []
        for task in tasks:
            payload = task.payload
            if isinstance(payload, PortraitPayload):
                self._prepare(task, payload)
            elif isinstance(payload, RenderPayload):
                drawn.append((task, self._order(task, payload)))
            else:
                raise BadMessage(
                    f"a renderer got {task.unit} with {type(payload).__name__}; expected portrait or render"
                )
        self._draw(drawn)

    def _draw(self, drawn: Sequence[tuple[Task, Order[SubjectT]]]) -> None:
        """Draw slices together; the error of one is raised when the others are committed."""
        futures = self._executor.submit([order for _, order in drawn])
        tasks = {future: task for future, (task, _) in zip(futures, drawn, strict=True)}
        errors: list[BaseException] = []
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    self._commit(tasks[future], future)
                else:
                    errors.append(error)
        finally:
            for future in futures:
                future.cancel()
        if errors:
            raise errors[0]

    def _commit(self, task: Task, future: "Future[list[bytes]]") -> None:
        jpegs = future.result()
        self._store.commit_slice(task, jpegs)
        frames_total.labels(stage=Stage.RENDER.value).inc(len(jpegs))

    def _prepare(self, task: Task, payload: PortraitPayload) -> None:
        appearance = self._appearance_from_upload(payload.portrait_file, payload.output)
        self._store.commit_portrait(task, appearance.to_bytes(), appearance.warnings)
        for warning in appearance.warnings:
            log.warning("portrait.warning", text=warning)
        # Build it now: the first slice of this job is likely to come here next.
        self._remember(payload.portrait_digest, payload.output, self._renderer.build(appearance))

    def _order(self, task: Task, payload: RenderPayload) -> Order[SubjectT]:
        if len(payload.motion) != payload.n_slice_frames:
            raise ShapeError(f"slice of {payload.n_slice_frames} frames with {len(payload.motion)} motion rows")
        return Order(self._subject(task, payload), payload.motion, payload.reference)

    def _subject(self, task: Task, payload: RenderPayload) -> SubjectT:
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
            appearance = self._renderer.load(stored)
        return self._remember(payload.portrait_digest, payload.output, self._renderer.build(appearance))

    def _appearance_from_upload(self, path: str, output: Output) -> AppearanceT:
        return self._renderer.prepare(decode_portrait(self._artifacts.read_bytes(path)), output)

    def _remember(self, digest: str, output: Output, subject: SubjectT) -> SubjectT:
        self._cache[digest, output] = subject
        self._cache.move_to_end((digest, output))
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return subject


def main() -> int:
    """Serve until told to stop."""
    settings = RendererSettings()
    configure_logging(settings.log_level, settings.log_format, kind=KIND)
    cv2.setNumThreads(settings.threads)
    renderer, limits = build_renderer(load_bundle(settings.bundle, settings.bundle_file), settings)
    store = JobStore.from_settings(settings)
    with closing(RenderHandler(store, open_store(settings.artifacts_url), renderer, limits)) as handler:
        return serve(handler, store, settings, KIND)


if __name__ == "__main__":
    sys.exit(refusing(main))
