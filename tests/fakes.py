"""Fake models for the data plane: each stage is a hash of what it was given.

Features are a hash of the window, motion a hash of features and state, frames a hash of motion. So `expected_frames`
knows every byte of a job beforehand, and a frame made from anything wrong, old or mixed up differs. Run one as a
process with ``python -m tests.fakes KIND FOLDER [SECONDS_PER_MESSAGE]``.
"""

import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.frames import decode_slice
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.motion import ROW
from shared.protocol import EncodePayload, JobOptions, MotionPayload, MuxPayload, PortraitPayload, RenderPayload, Stage
from shared.settings import Settings
from shared.task import SPEECH, Task
from shared.timeline import Geometry, window_at, window_count
from shared.worker import Handler, serve

HOP = Geometry().hop
FRAME_REPEATS = 64
KINDS = ("encoder", "motion", "renderer", "muxer")


def digest_of(*parts: object) -> bytes:
    """SHA-256 of the parts."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else repr(part).encode())
        sha.update(b"|")
    return sha.digest()


def features_of(speech_file: str, window: int) -> NDArray[np.float32]:
    """(75, 4) float32 that depend on every argument."""
    raw = b"".join(digest_of(speech_file, window, frame)[:8] for frame in range(Geometry().length))
    return (np.frombuffer(raw, "<u2").astype(np.float32) / np.float32(65_536)).reshape(-1, 4)


def motion_of(
    features: NDArray[np.float32], state: bytes, seed: int, window: int, n_new: int
) -> tuple[bytes, NDArray[np.float32]]:
    """Next state, and (n_new, 70) float32."""
    following = digest_of(features.tobytes(), state, seed, window)
    rows = [np.resize(np.frombuffer(digest_of(following, row), "<u2"), ROW) for row in range(n_new)]
    return following, np.stack(rows).astype(np.float32)


def frame_of(row: NDArray[np.float32]) -> bytes:
    """A frame of 2 KB."""
    return digest_of(row.tobytes()) * FRAME_REPEATS


def expected_frames(job_id: str, seed: int, n_frames: int) -> list[bytes]:
    """Every frame of an undisturbed job."""
    frames: list[bytes] = []
    state = b""
    for index in range(window_count(n_frames, Geometry())):
        window = window_at(index, n_frames, Geometry())
        features = features_of(f"jobs/{job_id}/{SPEECH}", index)
        state, rows = motion_of(features, state, seed, index, window.n_new)
        frames += [frame_of(row) for row in rows]
    return frames


class FakeHandler:
    """Handler of one kind.

    Args:
        kind: encoder, motion, renderer or muxer.
        store: where it commits.
        folder: of the segments.
        pause_s: how long a message takes.
    """

    deadline_s = 30.0

    def __init__(self, kind: str, store: JobStore, folder: Path, pause_s: float = 0.0) -> None:
        self.stages: Sequence[Stage] = {
            "encoder": (Stage.ENCODE,),
            "motion": (Stage.MOTION,),
            "renderer": (Stage.PORTRAIT, Stage.RENDER),
            "muxer": (Stage.MUX,),
        }[kind]
        self.max_batch = 4 if kind == "motion" else 1
        self.store = store
        self.folder = folder
        self.pause_s = pause_s

    def warm_up(self) -> None:
        """Nothing to load."""

    def handle(self, tasks: Sequence[Task]) -> None:
        """Hash and commit."""
        for task in tasks:
            if self.pause_s:
                time.sleep(self.pause_s)
            self.handle_one(task)

    def handle_one(self, task: Task) -> None:
        """Hash and commit one."""
        payload = task.payload
        if isinstance(payload, PortraitPayload):
            self.store.commit_portrait(task, digest_of(payload.portrait_digest))
        elif isinstance(payload, EncodePayload):
            self.store.commit_encode(task, features_of(payload.speech_file, task.unit.index))
        elif isinstance(payload, MotionPayload):
            window = window_at(task.unit.index, payload.n_frames, Geometry(hop=payload.hop))
            state, rows = motion_of(payload.features, payload.window_state, payload.seed, task.unit.index, window.n_new)
            self.store.commit_motion(task, state, rows, None)
        elif isinstance(payload, RenderPayload):
            self.store.commit_slice(task, [frame_of(row) for row in payload.motion])
        else:
            self.mux(task, payload)

    def mux(self, task: Task, payload: MuxPayload) -> None:
        """Write the window's frames one after another as its segment, in place at once."""
        firsts = [first for first, _ in payload.slices]
        slices = self.store.load_slices(task.job_id, firsts)
        lost = [first for first, data in zip(firsts, slices, strict=True) if data is None]
        if lost:
            self.store.lost_slices(task, lost)
            return
        target = segment_path(self.folder, task.job_id, task.unit.index)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{threading.get_ident()}")
        part.write_bytes(b"".join(frame for data in slices if data for frame in decode_slice(data)))
        part.replace(target)
        self.store.commit_mux(task)


def segment_path(folder: Path, job_id: str, window: int) -> Path:
    """Where the fake muxer leaves a window."""
    return folder / job_id / f"{window:05d}"


def segment_bytes(folder: Path, job_id: str) -> bytes:
    """All segments of a job, in order."""
    return b"".join(path.read_bytes() for path in sorted((folder / job_id).glob("[0-9]" * 5)))


def submit(store: JobStore, name: str, n_frames: int, seed: int = 1, created: float = 1.0, shard: str = "0") -> str:
    """Create a job and plan it, as gateway and ingest do."""
    job_id = f"{shard}-{name}"
    store.create(job_id, JobOptions(seed=seed), "embedded", {"created": created, "portrait_file": "portrait.png"})
    assert store.begin_ingest(job_id)
    assert store.ready(job_id, n_frames, 1.0, f"digest-{name}")
    return job_id


class Crew:
    """Fake workers of every kind as threads of this process.

    Args:
        url: of Redis.
        folder: of the segments.
        environment: settings that differ from the defaults.
    """

    def __init__(self, url: str, folder: Path, kinds: Sequence[str] = KINDS, **environment: object) -> None:
        self.stop = threading.Event()
        self.exit_statuses: list[int] = []
        self._stores = []
        self._threads = []
        for kind in kinds:
            known = {"redis_url": url, "worker_name": kind, "claim_idle_s": 2.0}
            settings = Settings.model_validate({**known, **environment})
            store = JobStore.from_settings(settings)
            handler = FakeHandler(kind, store, folder)
            self._stores.append(store)
            self._threads.append(threading.Thread(target=self._serve, args=(handler, store, settings, kind)))

    def __enter__(self) -> "Crew":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()
        for store in self._stores:
            store.client.close()

    def _serve(self, handler: Handler, store: JobStore, settings: Settings, kind: str) -> None:
        self.exit_statuses.append(serve(handler, store, settings, kind, self.stop))


def run_process(kind: str, folder: Path, pause_s: float, known: dict[str, object]) -> None:
    """Body of a fake worker that has a process of its own; settings that are not given come from the environment."""
    settings = Settings.model_validate(known)
    configure_logging(settings.log_level, settings.log_format, kind=kind)
    store = JobStore.from_settings(settings)
    sys.exit(serve(FakeHandler(kind, store, folder, pause_s), store, settings, kind))


if __name__ == "__main__":
    run_process(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0, {})
