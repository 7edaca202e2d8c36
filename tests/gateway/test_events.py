"""Event streams: order, frames byte for byte, resuming, gaps, heartbeats, ends and clients that leave."""

import asyncio
import base64
import json

import httpx
import pytest
from fastapi import FastAPI

from gateway.dependencies import Services
from gateway.ingest import ControlContext, assemble_job, ingest_job
from gateway.routes.events import encode
from gateway.upkeep import reconcile_marks
from gateway.viewer import Event, jpeg_size
from shared.errors import NoFaceFound
from shared.protocol import JobState, Stage
from tests.gateway.hands import Hands, frame_jpeg
from tests.gateway.streams import Sent, opened_stream
from tests.gateway.test_jobs import Upload, submitted

pytestmark = [pytest.mark.redis]
N_FRAMES = 75
LATE_STAGES = (Stage.PORTRAIT, Stage.ENCODE, Stage.MOTION)


def frames(events: list[Sent]) -> list[Sent]:
    return [event for event in events if event.name == "frame"]


async def test_a_job_seen_from_its_start(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.name, first.data["state"], first.id) == ("job.state", "queued", "")
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        await asyncio.to_thread(ingest_job, context, job_id)
        await asyncio.to_thread(hands.work)
        await asyncio.to_thread(assemble_job, context, job_id)
        events = await stream.rest()
    assert [event.data["index"] for event in frames(events)] == list(range(N_FRAMES))
    for event in frames(events):
        index = event.data["index"]
        assert event.id == str(index)
        assert event.data["time_s"] == pytest.approx(index / 25)
        assert (event.data["width"], event.data["height"]) == (64, 64)
        assert base64.b64decode(event.data["jpeg"]) == frame_jpeg(index)
    assert all(event.id == "" for event in events if event.name != "frame")
    assert "gap" not in {event.name for event in events}
    states = [event.data["state"] for event in events if event.name == "job.state"]
    assert states == [state for state in ("ingesting", "ready", "running", "finalizing") if state in states]
    totals = [event.data["frames_total"] for event in events if event.name == "job.progress"]
    assert totals
    assert set(totals) == {N_FRAMES}
    assert events[-1].name == "job.done"
    assert events[-1].data["links"]["video"] == f"/v1/jobs/{job_id}/video"


async def test_frames_arrive_before_later_ones_are_drawn(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work(*LATE_STAGES)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job.state")
        for _ in range(3):
            await asyncio.to_thread(hands.work, Stage.RENDER, limit=1)
        seen: list[int] = []
        while len(seen) < 15:
            event = await stream.next()
            assert event is not None
            if event.name == "frame":
                seen.append(event.data["index"])
    assert seen == list(range(15))


async def test_slices_drawn_out_of_order_are_told_in_order(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work(*LATE_STAGES)
    first = hands._next(Stage.RENDER)
    assert first is not None
    hands.work(Stage.RENDER, limit=2)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        event = await stream.until("comment")
        assert frames(event) == []
        await asyncio.to_thread(hands.do, first)
        shown = await stream.until("frame")
        assert shown[-1].data["index"] == 0


@pytest.mark.parametrize("by_header", [True, False])
async def test_resuming_continues_after_the_last_frame(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, by_header: bool
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    path, headers = f"/v1/jobs/{job_id}/events", {"Last-Event-ID": "41"}
    if not by_header:
        path, headers = f"{path}?after=41", {}
    async with opened_stream(app, path, headers) as stream:
        events = await stream.rest()
    assert events[0].name == "job.state"
    assert [event.data["index"] for event in frames(events)] == list(range(42, N_FRAMES))
    assert events[-1].name == "job.done"


async def test_resuming_after_the_last_frame_only_ends(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events", {"Last-Event-ID": str(N_FRAMES - 1)}) as stream:
        events = await stream.rest()
    assert frames(events) == []
    assert [event.name for event in events if event.name != "job.progress"] == ["job.state", "job.done"]


async def test_dropped_frames_are_one_gap(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, services: Services
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    for first in (0, 5, 10):
        services.jobs.client.delete(f"th:{{0}}:job:{job_id}:slice:{first}")
    async with opened_stream(app, f"/v1/jobs/{job_id}/events", {"Last-Event-ID": "2"}) as stream:
        events = await stream.rest()
    assert [event.data for event in events if event.name == "gap"] == [{"from": 3, "to": 14}]
    assert [event.data["index"] for event in frames(events)] == list(range(15, N_FRAMES))


async def test_nothing_left_is_one_gap_to_the_end(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, services: Services
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    services.jobs.client.delete(*services.jobs.client.keys(f"th:{{0}}:job:{job_id}:slice:*"))
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        events = await stream.rest()
    assert [event.data for event in events if event.name == "gap"] == [{"from": 0, "to": N_FRAMES - 1}]
    assert events[-1].name == "job.done"


async def test_silence_is_filled_with_heartbeats(app: FastAPI, client: httpx.AsyncClient, upload: Upload) -> None:
    job_id = await submitted(client, upload)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job.state")
        for _ in range(3):
            event = await stream.next(timeout_s=3.0)
            assert event is not None
            assert event.name == "comment"


async def test_a_canceled_job_ends_the_stream(app: FastAPI, client: httpx.AsyncClient, upload: Upload) -> None:
    job_id = await submitted(client, upload)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job.state")
        await client.delete(f"/v1/jobs/{job_id}")
        events = await stream.rest()
    assert events[-1].name == "job.error"
    assert events[-1].data["code"] == "job_canceled"


async def test_a_failed_job_says_why(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, services: Services
) -> None:
    job_id = await submitted(client, upload)
    services.jobs.finish(job_id, JobState.FAILED, NoFaceFound("the portrait shows no face; send one that does."))
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        events = await stream.rest()
    assert [event.name for event in events] == ["job.state", "job.error"]
    assert events[-1].data["code"] == "no_face_found"
    assert events[-1].data["detail"].startswith("the portrait shows no face")
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["error"] == events[-1].data


async def test_a_job_lost_by_redis_goes_on_when_restarted(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, services: Services
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work(*LATE_STAGES)
    hands.work(Stage.RENDER, limit=2)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        seen = frames(await stream.until("frame"))
        while len(seen) < 10:
            seen += frames(await stream.until("frame"))
        await asyncio.to_thread(services.jobs.client.flushall)
        await asyncio.to_thread(reconcile_marks, context, services.control)
        await asyncio.to_thread(ingest_job, context, job_id)
        await asyncio.to_thread(hands.work)
        await asyncio.to_thread(assemble_job, context, job_id)
        seen += frames(await stream.rest())
    assert [event.data["index"] for event in seen] == list(range(N_FRAMES))


async def test_a_client_that_leaves_frees_its_seat(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, services: Services
) -> None:
    job_id = await submitted(client, upload)
    n_seats = services.seats._value
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job.state")
        assert services.seats._value == n_seats - 1
    assert services.seats._value == n_seats


async def test_no_seat_is_refused(app: FastAPI, client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    job_id = await submitted(client, upload)
    taken = [await services.seats.acquire() for _ in range(services.settings.gateway_max_viewers)]
    answer = await client.get(f"/v1/jobs/{job_id}/events")
    for _ in taken:
        services.seats.release()
    assert (answer.status_code, answer.json()["code"]) == (503, "capacity")


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "1" * 30])
async def test_bad_resume_ids(client: httpx.AsyncClient, upload: Upload, last_id: str) -> None:
    job_id = await submitted(client, upload)
    answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_events_of_unknown_jobs(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jobs/0-01ARZ3NDEKTSV4RRFFQ69G5FAV/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_lines_of_an_event() -> None:
    text = encode(Event("frame", {"index": 3}, frame=3)).decode()
    assert text == 'id: 3\nevent: frame\ndata: {"index":3}\n\n'
    assert json.loads(encode(Event("gap", {"from": 1, "to": 2})).decode().split("data: ")[1]) == {"from": 1, "to": 2}


def test_size_of_a_jpeg() -> None:
    assert jpeg_size(frame_jpeg(0, 48)) == (48, 48)
    assert jpeg_size(b"nonsense") == (0, 0)
