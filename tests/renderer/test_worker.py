"""The renderer's handler on a real Redis; only encoder and motion are fakes."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.renderer.drawn_face import draw_face
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.renderer import EmbeddedRenderer, Puppet
from services.renderer.jpeg import encode_jpeg
from services.renderer.settings import Limits
from services.renderer.worker import RenderHandler
from shared.artifacts import open_store
from shared.errors import BadMessage, NonFiniteOutput
from shared.frames import decode_slice
from shared.jobs import JobStore
from shared.protocol import EncodePayload, JobState, RenderPayload, Unit, artifact_path
from shared.settings import Settings
from shared.task import Task
from shared.worker import serve
from tests.fakes import Crew, submit
from tests.polling import eventually
from tests.renderer.fake_renderer import N_ROWS, FakeRenderer
from tests.renderer.motion_rows import talking

pytestmark = pytest.mark.redis
N_FRAMES = 8


@contextmanager
def _renderer(url: str, folder: Path) -> Iterator[None]:
    settings = Settings.model_validate({"redis_url": url, "worker_name": "renderer-under-test"})
    store = JobStore.from_settings(settings)
    handler = RenderHandler(store, open_store(str(folder)), EmbeddedRenderer())
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(handler, store, settings, "renderer", stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        handler.close()
        store.client.close()


def _upload(folder: Path, job_id: str, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    open_store(str(folder)).write(artifact_path(job_id, "portrait.png"), data.tobytes())


def _slices(store: JobStore, job_id: str) -> list[bytes] | None:
    first, second = store.load_slices(job_id, [0, 5])
    return None if first is None or second is None else [*decode_slice(first), *decode_slice(second)]


def test_a_portrait_and_motion_become_jpeg_frames(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    _upload(tmp_path, "0-drawn", draw_face())
    job_id = submit(store, "drawn", N_FRAMES)
    with Crew(redis_url, tmp_path, ("encoder", "motion")), _renderer(redis_url, tmp_path):
        jpegs = eventually(lambda: _slices(store, job_id), 30.0)
    assert jpegs is not None
    assert len(jpegs) == N_FRAMES
    for jpeg in jpegs:
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)
    stored = store.load_appearance("0", "digest-drawn")
    assert stored is not None
    assert Appearance.from_bytes(stored).texture.shape == (512, 512, 3)


def test_an_appearance_that_expired_is_prepared_again(store: JobStore, tmp_path: Path) -> None:
    _upload(tmp_path, "0-lost", draw_face())
    job_id = submit(store, "lost", N_FRAMES)
    payload = RenderPayload("digest-lost", artifact_path(job_id, "portrait.png"), "square", N_FRAMES, talking(N_FRAMES))
    task = Task(job_id, Unit.parse("render:0"), "1-1", "th:{0}:render:embedded", 1, payload)
    assert store.load_appearance("0", "digest-lost") is None
    with closing(RenderHandler(store, open_store(str(tmp_path)), EmbeddedRenderer())) as handler:
        handler.handle([task])
    stored = store.load_appearance("0", "digest-lost")
    assert stored is not None
    assert Appearance.from_bytes(stored).output == "square"


def test_a_second_face_is_a_warning_of_the_job(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    face = draw_face()
    _upload(tmp_path, "0-two", np.concatenate([face, cv2.resize(face, (448, 512))], axis=1))
    job_id = submit(store, "two", N_FRAMES)
    with _renderer(redis_url, tmp_path):
        eventually(lambda: store.get(job_id).warnings, 30.0)
    assert store.get(job_id).warnings == ("2 faces found; the largest one speaks",)


def test_a_portrait_without_a_face_fails_the_job(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    _upload(tmp_path, "0-empty", np.full((300, 300, 3), 90, np.uint8))
    job_id = submit(store, "empty", N_FRAMES)
    with _renderer(redis_url, tmp_path):
        eventually(lambda: store.get(job_id).state is JobState.FAILED, 30.0)
    assert "no_face_found" in str(store.get(job_id).error)


@contextmanager
def _fake_renderer(url: str, folder: Path, renderer: FakeRenderer) -> Iterator[None]:
    """A worker around a fake renderer that takes four messages at once, and another bundle's name for its portraits."""
    settings = Settings.model_validate({"redis_url": url, "worker_name": "fake-renderer", "max_tries": 2})
    store = JobStore.from_settings(settings)
    stop = threading.Event()
    with closing(RenderHandler(store, open_store(str(folder)), renderer, Limits(messages=4))) as handler:
        thread = threading.Thread(target=serve, args=(handler, store, settings, "renderer", stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            store.client.close()


def _grey(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A portrait that the fake renderer reads as a number."""
    return np.full((64, 64, 3), number, np.uint8)


def test_a_job_whose_frames_are_not_finite_fails_and_the_others_do_not(
    redis_url: str, store: JobStore, tmp_path: Path
) -> None:
    """Slices of three jobs are drawn together, one of them is poison; the worker lives on and draws a fourth."""
    renderer = FakeRenderer(64, bad={(2, row): NonFiniteOutput("NaN") for row in range(N_ROWS)})
    jobs = {}
    for number in (1, 2, 3):
        name = f"n{number}"
        _upload(tmp_path, f"0-{name}", _grey(number))
        jobs[number] = submit(store, name, N_FRAMES)
    with Crew(redis_url, tmp_path, ("encoder", "motion")), _fake_renderer(redis_url, tmp_path, renderer):
        eventually(lambda: store.get(jobs[2]).state is JobState.FAILED, 30.0)
        eventually(lambda: _slices(store, jobs[1]) and _slices(store, jobs[3]), 30.0)
        _upload(tmp_path, "0-late", _grey(4))
        late = submit(store, "late", N_FRAMES)
        eventually(lambda: _slices(store, late), 30.0)
    assert "non_finite_output" in str(store.get(jobs[2]).error)
    assert [store.get(jobs[number]).state for number in (1, 3)] == [JobState.RUNNING] * 2


def test_work_of_another_stage_is_refused(store: JobStore, tmp_path: Path) -> None:
    task = Task("0-x", Unit.parse("encode:0"), "1-1", "s", 1, EncodePayload("f", 1, 65, 1.0))
    with (
        closing(RenderHandler(store, open_store(str(tmp_path)), EmbeddedRenderer())) as handler,
        pytest.raises(BadMessage, match="encode:0"),
    ):
        handler.handle([task])


def test_equal_frames_are_equal_bytes_with_halved_chroma(drawn_puppet: Puppet) -> None:
    (frame,) = drawn_puppet.frames(talking(1))
    jpeg = encode_jpeg(frame, 90)
    assert jpeg == encode_jpeg(frame.copy(), 90)
    start = jpeg.index(b"\xff\xc0")
    assert jpeg[start + 11] == 0x22  # sampling factors of luma: 2 x 2
