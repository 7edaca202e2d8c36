"""Is the process alive, can the system take a job, and what do its counters say?"""

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from redis.exceptions import RedisError

from gateway.dependencies import Services, ServicesDep
from gateway.errors import MEDIA_TYPE, problem
from gateway.readings import Readings, scrape
from shared.artifact_access import probe
from shared.errors import NoWorker, TalkingHeadError

WORKER_KINDS = ("audio_encoder", "motion_dit", "renderer", "muxer", "control")
CHECK_TIMEOUT_S = 3.0
RETRY_AFTER_S = 2
router = APIRouter(tags=["health"])


class Check(BaseModel):
    """One thing a job needs."""

    name: str
    ok: bool
    detail: str


class Health(BaseModel):
    """Answer of the health routes."""

    status: str
    checks: list[Check] = []


@router.get("/v1/health/live", summary="The process answers")
async def live() -> Health:
    """Always 200; says nothing about Redis or workers."""
    return Health(status="live")


@router.get("/v1/health/ready", response_model=Health, responses={503: {"description": "not ready, with reasons"}})
async def ready(found: ServicesDep) -> Response:
    """200 when Redis answers, artifacts can be written and every kind of worker is alive; else 503 with reasons."""
    names = ["redis", "artifacts", *(f"worker:{kind}" for kind in WORKER_KINDS)]
    probes: list[Awaitable[str]] = [_redis(found), _artifacts(found), *(_worker(found, kind) for kind in WORKER_KINDS)]
    checks = await asyncio.gather(*(_checked(name, probe) for name, probe in zip(names, probes, strict=True)))
    if all(check.ok for check in checks):
        return JSONResponse(Health(status="ready", checks=list(checks)).model_dump())
    failed = [check for check in checks if not check.ok]
    reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    listed = {"missing": [check.name for check in failed], "checks": [check.model_dump() for check in checks]}
    body = problem("not_ready", f"not ready yet: {reasons}.", retryable=True, status=status, **listed)
    return JSONResponse(body, status, {"Retry-After": str(RETRY_AFTER_S)}, MEDIA_TYPE)


@router.get("/metrics", summary="Prometheus metrics of the gateway, and of the system as Redis knows it")
async def metrics(found: ServicesDep) -> Response:
    """Text format of Prometheus."""
    readings = Readings(found.jobs, found.bundle.name, WORKER_KINDS)
    return Response(await asyncio.to_thread(scrape, readings), media_type=CONTENT_TYPE_LATEST)


async def _checked(name: str, probe: Awaitable[str]) -> Check:
    try:
        detail = await asyncio.wait_for(probe, CHECK_TIMEOUT_S)
    except (RedisError, OSError, TalkingHeadError, TimeoutError) as error:
        return Check(name=name, ok=False, detail=str(error) or type(error).__name__)
    return Check(name=name, ok=True, detail=detail)


async def _redis(found: Services) -> str:
    await asyncio.gather(*(client.ping() for client in found.redis.every()))
    return "answers"


async def _artifacts(found: Services) -> str:
    await asyncio.to_thread(probe, found.artifacts)
    return "writable"


async def _worker(found: Services, kind: str) -> str:
    live = await asyncio.to_thread(found.jobs.live_workers)
    n_alive = sum(1 for other, bundle, _ in live if (other, bundle) == (kind, found.bundle.name))
    if not n_alive:
        raise NoWorker(f"no live {kind} worker of bundle {found.bundle.name}")
    return f"{n_alive} alive"
