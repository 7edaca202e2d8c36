"""A whole job through the real processes, over HTTP and server-sent events."""

import io
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from shared.timeline import FPS, SAMPLE_RATE, frame_count
from tests.integration.conftest import SEED, Run, run_job
from tests.integration.speech import repeated
from tests.integration.stack import PORTRAIT, SPEECH, SPEECH_SHORT, Stack
from tests.integration.video import facts, frame_hashes
from tests.integration.viewer import Viewer

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

SPEECH_S = 9.25


def test_every_frame_is_seen_once_and_in_order(reference: Run) -> None:
    n_frames = reference.n_frames
    assert n_frames == frame_count(round(SPEECH_S * SAMPLE_RATE))
    assert reference.viewer.indices == list(range(n_frames))
    assert reference.viewer.connections == 1
    assert not reference.viewer.gaps


def test_states_follow_the_contract(reference: Run) -> None:
    states = [event.data["state"] for event in reference.viewer.events if event.name == "job.state"]
    order = ["queued", "ingesting", "ready", "running", "finalizing", "succeeded"]
    ranks = [order.index(state) for state in states]
    assert ranks == sorted(ranks)
    assert "running" in states
    assert reference.viewer.events[0].name == "job.state", "the first event is a snapshot"


def test_video_has_the_promised_form(reference: Run) -> None:
    seen = facts(reference.mp4)
    assert (seen.width, seen.height, seen.rate) == (512, 512, Fraction(FPS))
    assert (seen.video_codec, seen.pixel_format, seen.audio_codec) == ("h264", "yuv420p", "aac")
    assert seen.n_frames == reference.n_frames
    assert abs(seen.video_s - seen.n_frames / FPS) < 1e-6
    assert abs(seen.audio_s - seen.video_s) <= 1 / FPS
    assert abs(seen.audio_s - SPEECH_S) <= 1 / FPS


def test_video_is_served_in_ranges(stack: Stack, reference: Run) -> None:
    url = f"/v1/jobs/{reference.job['id']}/video"
    part = stack.http.get(url, headers={"Range": "bytes=100-299"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 100-299/{len(reference.mp4)}"
    assert part.content == reference.mp4[100:300]
    tail = stack.http.get(url, headers={"Range": "bytes=-50"})
    assert (tail.status_code, tail.content) == (206, reference.mp4[-50:])
    beyond = stack.http.get(url, headers={"Range": f"bytes={len(reference.mp4)}-"})
    assert beyond.status_code == 416


def test_equal_seeds_give_equal_frames_and_another_seed_does_not(ready_stack: Stack, reference: Run) -> None:
    again = run_job(ready_stack, seed=SEED)
    assert again.viewer.hashes == reference.viewer.hashes
    assert again.mp4_hashes == reference.mp4_hashes
    assert again.rows is not None
    assert reference.rows is not None
    assert again.rows.tobytes() == reference.rows.tobytes()
    other = run_job(ready_stack, seed=SEED + 1)
    assert other.viewer.hashes != reference.viewer.hashes


def test_a_seed_is_drawn_and_returned(ready_stack: Stack) -> None:
    job_id = ready_stack.submit()
    drawn = ready_stack.wait_final(job_id)
    assert 0 <= drawn["options"]["seed"] < 2**63


def test_viewer_resumes_after_the_last_frame_it_saw(ready_stack: Stack, reference: Run) -> None:
    job_id = ready_stack.submit(SPEECH, seed=SEED)
    with Viewer(ready_stack.url, job_id) as first:
        first.wait_frame(37)
    last_seen = first.indices[-1]
    with Viewer(ready_stack.url, job_id, after=last_seen) as second:
        second.wait_end()
    assert second.indices == list(range(last_seen + 1, reference.n_frames))
    assert first.hashes + second.hashes == reference.viewer.hashes
    assert not second.gaps


def test_late_viewer_is_told_of_the_gap(ready_stack: Stack) -> None:
    long = repeated(SPEECH_SHORT, 16.0)
    response = ready_stack.post("long.wav", long, PORTRAIT.name, PORTRAIT.read_bytes(), seed=SEED)
    job_id = response.json()["id"]
    job = ready_stack.wait_final(job_id)
    with Viewer(ready_stack.url, job_id) as late:
        end = late.wait_end()
    assert end.name == "job.done"
    assert len(late.gaps) == 1
    gap = late.gaps[0]
    assert gap["from"] == 0
    assert late.indices == list(range(gap["to"] + 1, job["progress"]["frames_total"]))
    assert len(late.indices) >= 250, "the viewer tail is kept"


def test_cancelled_job_ends_and_leaves_no_work(ready_stack: Stack) -> None:
    job_id = ready_stack.submit(SPEECH)
    with Viewer(ready_stack.url, job_id) as viewer:
        viewer.wait_frame(10)
        assert ready_stack.http.delete(f"/v1/jobs/{job_id}").status_code in (200, 202, 204)
        viewer.wait_end(30.0)
    job = ready_stack.job(job_id)
    assert job["state"] == "canceled"
    assert ready_stack.http.get(f"/v1/jobs/{job_id}/video").status_code in (404, 409)
    assert not ready_stack.redis.exists(f"th:{{0}}:job:{job_id}:turns")
    after = ready_stack.submit()
    assert ready_stack.wait_final(after)["state"] == "succeeded"


def test_picture_without_a_face_fails_the_job_with_a_reason(ready_stack: Stack) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (400, 400, 3), np.uint8)
    response = ready_stack.post("a.flac", SPEECH_SHORT.read_bytes(), "noise.png", png(noise))
    assert response.status_code == 202
    job = ready_stack.wait_final(response.json()["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "no_face_found")
    assert "face" in job["error"]["detail"]
    with Viewer(ready_stack.url, job["id"]) as viewer:
        end = viewer.wait_end()
    assert end.name == "job.error"
    assert not viewer.frames


def test_damaged_sound_fails_the_job_with_a_reason(ready_stack: Stack) -> None:
    flac = SPEECH_SHORT.read_bytes()
    damaged = flac[:200] + bytes(range(256)) * 40
    response = ready_stack.post("a.flac", damaged, PORTRAIT.name, PORTRAIT.read_bytes())
    if response.status_code == 202:
        job = ready_stack.wait_final(response.json()["id"])
        assert job["state"] == "failed"
        problem = job["error"]
    else:
        assert response.status_code in (415, 422)
        problem = response.json()
    assert problem["code"] == "unsupported_media", problem
    assert len(problem["detail"]) > 20


@pytest.mark.parametrize(
    ("audio", "portrait", "fields", "status"),
    [
        ("speech", b"this is no picture", {}, {415, 422}),
        (b"this is no sound", "portrait", {}, {415, 422}),
        ("speech", "portrait", {"seed": -1}, {422}),
        ("speech", "portrait", {"head_motion": 9}, {422}),
        ("speech", "portrait", {"output": "round"}, {422}),
        ("speech", "portrait", {"sped": 1}, {422}),
        ("speech", "tiny", {}, {413, 415, 422}),
        ("huge", "portrait", {}, {413}),
    ],
)
def test_bad_requests_are_refused_at_once(
    ready_stack: Stack, audio: bytes | str, portrait: bytes | str, fields: dict[str, object], status: set[int]
) -> None:
    bodies: dict[str, Callable[[], bytes]] = {
        "speech": SPEECH_SHORT.read_bytes,
        "portrait": PORTRAIT.read_bytes,
        "tiny": lambda: png(np.zeros((32, 32, 3), np.uint8)),
        "huge": lambda: b"fLaC" + bytes(26_000_000),
    }
    sound = bodies[audio]() if isinstance(audio, str) else audio
    picture = bodies[portrait]() if isinstance(portrait, str) else portrait
    response = ready_stack.post("a.flac", sound, "p.jpg", picture, **fields)
    assert response.status_code in status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert re.fullmatch(r"[a-z_]+", problem["code"])
    assert problem["detail"]


def test_unknown_job_is_a_problem_document(stack: Stack) -> None:
    for path in ("", "/video", "/events"):
        response = stack.http.get(f"/v1/jobs/0-NOPE{path}")
        assert (response.status_code, response.json()["code"]) == (404, "job_not_found")


def test_full_output_pastes_the_face_back_into_the_photo(ready_stack: Stack) -> None:
    photo = Image.open(PORTRAIT).convert("RGB")
    wide = Image.new("RGB", (900, 700), (90, 120, 60))
    wide.paste(photo, (200, 100))
    response = ready_stack.post(
        "a.flac", SPEECH_SHORT.read_bytes(), "wide.png", png(np.asarray(wide)), output="full", seed=SEED
    )
    job = ready_stack.wait_final(response.json()["id"])
    assert job["state"] == "succeeded", job
    seen = facts(ready_stack.video(job["id"]))
    assert (seen.width, seen.height) == (900, 700)


def test_jobs_are_listed_newest_first(ready_stack: Stack, reference: Run) -> None:
    newest = ready_stack.submit()
    listed = [job["id"] for job in ready_stack.http.get("/v1/jobs").json()["jobs"]]
    assert listed[0] == newest
    ready_stack.wait_final(newest)


def test_same_video_is_served_again(stack: Stack, reference: Run) -> None:
    assert frame_hashes(stack.video(reference.job["id"])) == reference.mp4_hashes


def png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
