"""START HERE: the HTTP gateway. Takes uploads, answers with job states, videos and frame streams; computes nothing.

Run it with ``uvicorn --factory gateway.app:create_app``. It holds no state of its own: any number may run, any may die.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import structlog
from fastapi import FastAPI

from gateway import errors
from gateway.control import Control
from gateway.dependencies import Services
from gateway.records import Records
from gateway.routes import events, health, jobs
from gateway.settings import GatewaySettings
from shared.artifact_access import require_writable
from shared.artifacts import open_store
from shared.bundles import Bundle, load_bundle
from shared.errors import ConfigurationError
from shared.jobs import JobStore
from shared.log import configure_logging
from shared.metrics import announce
from shared.redis_access import require_access
from shared.redis_client import connect_shards, connect_shards_async
from shared.refusal import refusals
from shared.scripts import Limits
from shared.settings import unknown_variables

DESCRIPTION = "A portrait and speech go in; a video of that person speaking comes out, frame by frame while it is made."
SPARE_CONNECTIONS = 50
BLOCKING_CALLS = 32
REQUEST_ANSWER_S, REQUEST_RETRIES = 3.0, 1
log = structlog.get_logger(__name__)


def create_app(settings: GatewaySettings | None = None) -> FastAPI:
    """Make the application.

    Args:
        settings: read from the environment when not given.
    """
    with refusals("gateway.refused"):
        effective = settings or GatewaySettings()
        bundle = load_bundle(effective.bundle, effective.bundle_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = open_services(effective, bundle)
        try:
            await asyncio.to_thread(require_access, effective.redis_url)
            await asyncio.to_thread(require_writable, opened.artifacts, effective.artifacts_url)
        except ConfigurationError as error:
            log.error("gateway.refused", error=error.message)
            raise
        app.state.services = opened
        # One slow answer of Redis or the store must not hold the others up.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(BLOCKING_CALLS, "blocking"))
        warming = asyncio.create_task(asyncio.to_thread(opened.control.warm_up))
        log.info("gateway.started", **effective.effective())
        yield
        await warming
        opened.control.close()
        for client in opened.redis.every():
            await client.aclose()
        opened.jobs.close()

    app = FastAPI(title="talkinghead", version=_version(), description=DESCRIPTION, lifespan=lifespan)
    errors.install(app)
    app.include_router(jobs.router)
    app.include_router(events.router)
    app.include_router(health.router)
    return app


def open_services(settings: GatewaySettings, bundle: Bundle) -> Services:
    """Open everything routes use; connections are made when first needed."""
    configure_logging(settings.log_level, settings.log_format, kind="gateway")
    for name in unknown_variables(GatewaySettings):
        log.debug("setting.unused", name=name)
    announce()
    artifacts = open_store(settings.artifacts_url)
    redis = connect_shards_async(settings.redis_url, settings.shard_tags, settings.gateway_heartbeat_s)
    for client in redis.every():
        # Every viewer holds one connection while it waits.
        client.connection_pool.max_connections = settings.gateway_max_viewers + SPARE_CONNECTIONS
    return Services(
        settings=settings,
        bundle=bundle,
        jobs=_impatient_store(settings),
        redis=redis,
        artifacts=artifacts,
        records=Records(artifacts),
        control=Control.connect(settings.broker_url),
        seats=asyncio.Semaphore(settings.gateway_max_viewers),
    )


def _impatient_store(settings: GatewaySettings) -> JobStore:
    """A job store whose callers hear within seconds that Redis hangs: somebody waits for the response."""
    clients = connect_shards(settings.redis_url, settings.shard_tags, REQUEST_RETRIES, REQUEST_ANSWER_S)
    return JobStore(clients, Limits.from_settings(settings), settings.shard_tags, settings.task_lease_s)


def _version() -> str:
    try:
        return version("talkinghead")
    except PackageNotFoundError:
        return "0"
