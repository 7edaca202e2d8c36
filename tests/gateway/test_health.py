"""Health says what is missing; metrics can be scraped; problems are problems everywhere."""

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.app import create_app
from gateway.dependencies import Services
from gateway.errors import status_of
from gateway.routes.health import WORKER_KINDS
from gateway.settings import GatewaySettings
from shared import errors
from shared.protocol import heartbeat_key
from tests.gateway.test_jobs import Upload
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis]


def announce(services: Services, *kinds: str) -> None:
    for kind in kinds:
        services.jobs.client.set(heartbeat_key(kind, "embedded", f"{kind}-1"), "1", ex=15)


async def test_alive_without_anything(tmp_path: Path) -> None:
    app = create_app(GatewaySettings(redis_url="redis://127.0.0.1:1/0", artifacts_url=str(tmp_path)))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client,
    ):
        answer = await client.get("/v1/health/live")
        assert (answer.status_code, answer.json()["status"]) == (200, "live")


async def test_ready_when_every_kind_of_worker_lives(client: httpx.AsyncClient, services: Services) -> None:
    announce(services, *WORKER_KINDS)
    answer = await client.get("/v1/health/ready")
    assert answer.status_code == 200
    assert {check["name"] for check in answer.json()["checks"]} >= {"redis", "artifacts", "worker:renderer"}


@pytest.mark.parametrize("missing", WORKER_KINDS)
async def test_a_missing_kind_is_named(client: httpx.AsyncClient, services: Services, missing: str) -> None:
    announce(services, *(kind for kind in WORKER_KINDS if kind != missing))
    answer = await client.get("/v1/health/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["missing"] == [f"worker:{missing}"]
    assert missing in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_workers_of_another_bundle_do_not_count(client: httpx.AsyncClient, services: Services) -> None:
    announce(services, *WORKER_KINDS[1:])
    services.jobs.client.set(heartbeat_key(WORKER_KINDS[0], "other", "x"), "1")
    assert (await client.get("/v1/health/ready")).json()["missing"] == [f"worker:{WORKER_KINDS[0]}"]


async def test_a_store_that_cannot_be_written_is_named(
    client: httpx.AsyncClient, services: Services, tmp_path: Path
) -> None:
    announce(services, *WORKER_KINDS)
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_bytes(b"")
    answer = await client.get("/v1/health/ready")
    assert answer.json()["missing"] == ["artifacts"]


async def test_redis_gone_and_back(own_redis: RedisServer, tmp_path: Path, upload: Upload) -> None:
    settings = GatewaySettings(redis_url=own_redis.url, artifacts_url=str(tmp_path / "a"), log_level="error")
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://test", timeout=30.0
        ) as client,
    ):
        first = await client.post("/v1/jobs", files=upload)
        assert first.status_code == 202
        await asyncio.to_thread(own_redis.kill)
        for request in (client.post("/v1/jobs", files=upload), client.get(first.headers["location"])):
            answer = await request
            assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
            assert answer.json()["retryable"] is True
            assert answer.headers["retry-after"]
        ready = await client.get("/v1/health/ready")
        assert "redis" in ready.json()["missing"]
        await asyncio.to_thread(own_redis.start)
        assert (await client.post("/v1/jobs", files=upload)).status_code == 202


async def test_metrics_can_be_scraped(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert 'talkinghead_stream_lag_entries{stage="render"} 0.0' in answer.text
    assert "talkinghead_build_info" in answer.text


def test_every_error_has_a_status() -> None:
    expected = {
        errors.UnsupportedMedia: 415,
        errors.LimitExceeded: 413,
        errors.InputError: 422,
        errors.NoFaceFound: 422,
        errors.JobNotFound: 404,
        errors.JobExpired: 410,
        errors.ResultNotReady: 409,
        errors.JobCancelled: 409,
        errors.RateLimited: 429,
        errors.QueueFull: 503,
        errors.ArtifactUnavailable: 503,
        errors.RedisUnavailable: 503,
        errors.BadMessage: 500,
        errors.NonFiniteOutput: 500,
    }
    for cls, status in expected.items():
        assert status_of(cls("x")) == status


async def test_the_interface_is_described(client: httpx.AsyncClient, app: FastAPI) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/video"} <= set(
        document["paths"]
    )
    form = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["portrait", "audio"]
    assert set(document["paths"]["/v1/jobs"]["post"]["responses"]) >= {"202", "413", "415", "422", "503"}
