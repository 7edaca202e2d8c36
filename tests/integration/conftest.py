"""One stack for all tests that leave it whole, and one undisturbed job that others are compared with."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.motion_tap import MotionTap
from tests.integration.stack import SPEECH, Stack, running_stack
from tests.integration.video import frame_hashes
from tests.integration.viewer import Viewer

SEED = 20_260_101


@dataclass(frozen=True)
class Run:
    """A finished job.

    Attributes:
        job: its resource.
        viewer: saw all of it.
        mp4: the video.
        mp4_hashes: SHA-256 of each decoded frame.
        took_s: accepted until succeeded.
        rows: (N, 70) float32 motion rows that the renderers were given, if they were tapped.
    """

    job: dict[str, Any]
    viewer: Viewer
    mp4: bytes
    mp4_hashes: list[str]
    took_s: float
    rows: NDArray[np.float32] | None = None

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return int(self.job["progress"]["frames_total"])


def run_job(stack: Stack, **options: object) -> Run:
    """Submit the sample speech, watch it to its end, fetch the video."""
    job_id = stack.submit(SPEECH, None, **options)
    started_s = time.monotonic()
    with MotionTap(stack.redis_url, job_id) as tap, Viewer(stack.url, job_id, keep_jpegs=True) as viewer:
        end = viewer.wait_end()
        took_s = end.at_s - started_s
    job = stack.job(job_id)
    assert (end.name, job["state"]) == ("job.done", "succeeded"), job
    mp4 = stack.video(job_id)
    return Run(job, viewer, mp4, frame_hashes(mp4), took_s, tap.rows(job["progress"]["frames_total"]))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that most tests share."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def ready_stack(stack: Stack) -> Stack:
    """The shared stack, whole again after whatever the test before did to it."""
    stack.wait_ready()
    return stack


@pytest.fixture(scope="session")
def reference(stack: Stack) -> Run:
    """An undisturbed job over the sample speech, on a warm stack."""
    stack.wait_ready()
    warm = stack.submit(seed=SEED)
    stack.wait_final(warm)
    return run_job(stack, seed=SEED)
