"""What the gateway's scrape says: of itself, of its sibling processes, of the system as Redis knows it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi import FastAPI

from gateway.app import create_app
from gateway.control import Control, make_celery
from gateway.control_metrics import count_start, measured_task
from gateway.dependencies import Services
from gateway.ingest import ControlContext, assemble_job, ingest_job
from gateway.routes.health import WORKER_KINDS
from gateway.settings import ControlSettings, GatewaySettings
from gateway.tasks import make_app
from shared.protocol import JobState, Stage, heartbeat_key
from tests.gateway.hands import Hands
from tests.gateway.streams import opened_stream
from tests.gateway.test_jobs import Upload, submitted
from tests.metric_values import Counts, Samples
from tests.polling import eventually
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis]


async def scraped(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Samples(answer.text)


async def test_the_backlog_of_every_stage(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    before = await scraped(client)
    assert before.value("stream_lag_entries", stage="encode") == 2
    assert before.value("stream_lag_entries", stage="portrait") == 1
    assert before.value("stream_pending_entries", stage="encode") == 0
    assert before.value("jobs_unfinished", state="running") == 1
    hands.consumers[Stage.ENCODE].read(1, 0.05)
    after = await scraped(client)
    assert after.value("stream_lag_entries", stage="encode") == 1
    assert after.value("stream_pending_entries", stage="encode") == 1
    for name in ("stream_oldest_waiting_seconds", "stream_oldest_pending_seconds"):
        assert 0 < (after.value(name, stage="encode") or 0) < 30
    assert after.value("stream_oldest_pending_seconds", stage="mux") == 0


async def test_workers_are_counted_by_kind(client: httpx.AsyncClient, services: Services) -> None:
    assert {(await scraped(client)).value("workers", kind=kind) for kind in WORKER_KINDS} == {0}
    for name in ("a", "b"):
        services.jobs.client.set(heartbeat_key("renderer", "embedded", name), "1", ex=15)
    services.jobs.client.set(heartbeat_key("renderer", "other-bundle", "c"), "1", ex=15)
    told = await scraped(client)
    assert told.value("workers", kind="renderer") == 2
    assert told.value("workers", kind="muxer") == 0


async def test_redis_memory_has_a_ratio_where_there_is_a_limit(client: httpx.AsyncClient, services: Services) -> None:
    unlimited = await scraped(client)
    assert unlimited.value("redis_memory_ratio") is None
    used = unlimited.value("redis_memory_bytes") or 0
    assert used > 100_000
    services.jobs.client.config_set("maxmemory", int(4 * used))
    assert 0.2 < ((await scraped(client)).value("redis_memory_ratio") or 0) < 0.4


async def test_a_redis_that_is_away_leaves_no_old_numbers(own_redis: RedisServer, tmp_path: Path) -> None:
    settings = GatewaySettings(redis_url=own_redis.url, artifacts_url=str(tmp_path / "a"), log_level="error")
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30.0) as client,
    ):
        assert (await scraped(client)).value("redis_up") == 1
        await asyncio.to_thread(own_redis.kill)
        told = await scraped(client)
        assert told.value("redis_up") == 0
        assert told.value("stream_lag_entries") is None
        assert told.value("workers") is None
        assert told.value("build_info") == 1, "the gateway's own metrics are still there"


async def test_who_watches_and_how_soon_the_first_frame_came(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    counts = Counts()
    job_id = await submitted(client, upload)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job.state")
        assert (await scraped(client)).value("viewers") == 1
        await asyncio.to_thread(ingest_job, context, job_id)
        await asyncio.to_thread(hands.work)
        await asyncio.to_thread(assemble_job, context, job_id)
        events = await stream.rest()
    n_frames = sum(event.name == "frame" for event in events)
    assert n_frames == 75
    assert counts.grown("frames_total", stage="viewer") == n_frames
    assert counts.grown("first_frame_seconds_count") == 1
    took_s = time.time() - context.jobs.get(job_id).created
    assert 0 < counts.grown("first_frame_seconds_sum") < took_s
    assert (await scraped(client)).value("viewers") == 0


async def test_late_and_resuming_viewers_say_nothing_about_the_first_frame(
    app: FastAPI, client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    async with opened_stream(app, f"/v1/jobs/{job_id}/events", {"Last-Event-ID": "3"}) as resuming:
        await resuming.until("job.state")
        counts = Counts()
        await asyncio.to_thread(hands.work)
        assemble_job(context, job_id)
        assert next(event.data["index"] for event in await resuming.rest() if event.name == "frame") == 4
    async with opened_stream(app, f"/v1/jobs/{job_id}/events") as late:
        assert sum(event.name == "frame" for event in await late.rest()) == 75
    assert counts.grown("frames_total", stage="viewer") == 75 + 71
    assert counts.grown("first_frame_seconds_count") == 0


async def test_realtime_speed_is_observed_once_however_often_assemble_runs(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    counts = Counts()
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    for _ in range(3):
        assemble_job(context, job_id)
    record = context.jobs.get(job_id)
    assert counts.grown("realtime_speed_count") == 1
    assert counts.grown("realtime_speed_sum") == pytest.approx(3.0 / (record.ended_at - record.created), rel=0.2)
    assert counts.grown("jobs_total", outcome="succeeded") == 1
    assert counts.grown("frames_total", stage="mux") == 75


async def test_a_canceled_job_has_no_speed(client: httpx.AsyncClient, upload: Upload) -> None:
    counts = Counts()
    job_id = await submitted(client, upload)
    for _ in range(2):
        assert (await client.delete(f"/v1/jobs/{job_id}")).json()["state"] == JobState.CANCELED
    assert counts.grown("jobs_total", outcome="canceled") == 1
    assert counts.grown("realtime_speed_count") == 0


async def test_problems_are_counted_by_code(client: httpx.AsyncClient) -> None:
    counts = Counts()
    await client.get("/v1/jobs/nobody")
    await client.get("/nowhere")
    await client.get("/v1/jobs?limit=0")
    for code in ("job_not_found", "not_found", "invalid_input"):
        assert counts.grown("http_problems_total", code=code) == 1


def test_sent_tasks_are_counted_once_however_many_applications_there_are(redis_url: str) -> None:
    make_celery(redis_url)
    counts = Counts()
    assert Control.connect(redis_url).send("ingest", "0-a")
    assert counts.grown("control_tasks_sent_total", task="ingest") == 1


@pytest.mark.parametrize(
    ("facts", "n_waited", "n_delivered_again"),
    [({}, 1, 0), ({"retries": 1}, 0, 0), ({"delivery_info": {"redelivered": True}}, 0, 1)],
)
def test_a_task_waited_since_it_was_sent_unless_it_ran_before(
    facts: dict[str, Any], n_waited: int, n_delivered_again: int
) -> None:
    counts = Counts()
    task: Any = make_app(ControlSettings()).tasks["ingest"]
    task.push_request(**{"sent_at": time.time() - 2.0, **facts})
    count_start(task)
    task.pop_request()
    assert counts.grown("queue_duration_seconds_count", stage="ingest") == n_waited
    assert counts.grown("queue_duration_seconds_sum", stage="ingest") == pytest.approx(2.0 * n_waited, abs=0.5)
    assert counts.grown("deliveries_total", stage="ingest") == n_delivered_again


def test_a_task_that_raises_is_counted_with_its_outcome() -> None:
    counts = Counts()

    def retried() -> None:
        with measured_task("ingest") as measure:
            measure.outcome = "retried"
            raise ConnectionError

    with pytest.raises(ConnectionError):
        retried()
    assert counts.grown("messages_total", stage="ingest", outcome="retried") == 1
    assert counts.grown("messages_total", stage="ingest", outcome="done") == 0
    assert counts.grown("stage_duration_seconds_count", stage="ingest") == 1


@pytest.fixture
def two_gateways(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A gateway with two uvicorn processes: its URL and the process that watches them."""
    port_file, environment = tmp_path / "log", dict(os.environ)
    environment |= {"TH_REDIS_URL": redis_url, "TH_ARTIFACTS_URL": str(tmp_path / "artifacts")}
    environment |= {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    command = [sys.executable, "-m", "uvicorn", "gateway.app:create_app", "--factory", "--port", "0", "--workers", "2"]
    with port_file.open("wb") as log:
        parent = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def url() -> str:
        found = port_file.read_text().partition("running on ")[2].partition(" ")[0]
        return found if "startup complete" in port_file.read_text() else ""

    try:
        yield eventually(url, 60.0, "two gateways"), psutil.Process(parent.pid)
    finally:
        parent.terminate()
        parent.wait()


@pytest.mark.slow
def test_several_uvicorn_processes_answer_as_one(two_gateways: tuple[str, psutil.Process], tmp_path: Path) -> None:
    url, parent = two_gateways
    n_asked = 0

    def asked(path: str) -> httpx.Response:
        with httpx.Client(base_url=url, timeout=10.0) as fresh_connection:
            return fresh_connection.get(path)

    def counting() -> set[int]:
        """Processes that have counted a problem."""
        nonlocal n_asked
        n_asked += 1
        assert asked("/nowhere").status_code == 404
        files = (tmp_path / "metrics").glob("counter_*.db")
        return {int(path.stem.rpartition("_")[2]) for path in files if b"http_problems_total" in path.read_bytes()}

    pids = eventually(lambda: found if len(found := counting()) == 2 else set(), 30.0, "requests served by both")
    told = Samples(asked("/metrics").text)
    assert told.value("http_problems_total", code="not_found") == n_asked
    assert told.value("redis_up") == 1
    os.kill(min(pids), signal.SIGKILL)
    eventually(lambda: min(pids) not in {child.pid for child in parent.children()}, 30.0, "the end of one")
    assert Samples(asked("/metrics").text).value("http_problems_total", code="not_found") == n_asked
