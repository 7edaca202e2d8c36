"""Hands that do every worker's part on a real Redis with small made-up data, one step at a time."""

import cv2
import numpy as np

from gateway.muxer import Muxer
from shared.bundles import Bundle
from shared.jobs import JobStore
from shared.motion import neutral_rows
from shared.protocol import EncodePayload, MotionPayload, PortraitPayload, RenderPayload, Stage, stream_key
from shared.streams import Consumer
from shared.task import Task
from shared.timeline import window_at

SIDE_PX = 64


def frame_jpeg(index: int, side_px: int = SIDE_PX) -> bytes:
    """The JPEG that stands for frame ``index``: always the same bytes."""
    picture = np.full((side_px, side_px, 3), 40, np.uint8)
    picture[: side_px // 2, :, 0] = index * 7 % 256
    picture[:, : side_px // 2, 1] = index * 3 % 256
    found, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert found
    return data.tobytes()


class Hands:
    """Takes and commits units of one bundle in shard 0.

    Args:
        store: the jobs.
        bundle: whose streams.
        muxer: what to do with mux units.
    """

    def __init__(self, store: JobStore, bundle: Bundle, muxer: Muxer) -> None:
        self.store = store
        self.bundle = bundle
        self.muxer = muxer
        self.consumers = {
            stage: Consumer(store.client, {stage: stream_key("0", stage, bundle.name)}, "hands") for stage in Stage
        }

    def work(self, *stages: Stage, limit: int = 10_000) -> int:
        """Do what there is to do in these stages (all by default), at most ``limit`` units; returns how many."""
        n_done = 0
        progressed = True
        while progressed and n_done < limit:
            progressed = False
            for stage in stages or tuple(Stage):
                if n_done < limit and (task := self._next(stage)) is not None:
                    self.do(task)
                    n_done += 1
                    progressed = True
        return n_done

    def do(self, task: Task) -> None:
        """Compute and commit one unit."""
        payload = task.payload
        if isinstance(payload, PortraitPayload):
            self.store.commit_portrait(task, b"appearance")
        elif isinstance(payload, EncodePayload):
            features = np.zeros((self.bundle.geometry.length, self.bundle.feature_size), np.float32)
            self.store.commit_encode(task, features)
        elif isinstance(payload, MotionPayload):
            window = window_at(task.unit.index, payload.n_frames, self.bundle.geometry)
            self.store.commit_motion(task, b"state", neutral_rows(window.n_new), None)
        elif isinstance(payload, RenderPayload):
            first = task.unit.index
            self.store.commit_slice(task, [frame_jpeg(i) for i in range(first, first + payload.n_slice_frames)])
        else:
            self.muxer.mux(task)

    def _next(self, stage: Stage) -> Task | None:
        consumer = self.consumers[stage]
        if not self.store.backlogs(self.bundle.name)[stage].n_waiting:
            return None
        for batch in consumer.read(1, 0.001):
            for entry in batch:
                job_id, unit = entry.parse()
                return self.store.take(entry.stream, entry.entry_id, job_id, unit, consumer.name)
        return None
