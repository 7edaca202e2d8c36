"""What routes are given: one typed bundle of open connections, made in the app's lifespan."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis

from gateway.control import Control
from gateway.records import Records, is_job_id
from gateway.settings import GatewaySettings
from shared.artifacts import ArtifactStore
from shared.bundles import Bundle
from shared.errors import JobNotFound
from shared.jobs import JobStore
from shared.redis_client import Shards


@dataclass(frozen=True)
class Services:
    """Everything a route may use.

    Attributes:
        jobs: job states; blocking, call it through `asyncio.to_thread`.
        redis: asynchronous clients for viewers and health.
        seats: one per event stream that may be open.
    """

    settings: GatewaySettings
    bundle: Bundle
    jobs: JobStore
    redis: Shards[Redis]
    artifacts: ArtifactStore
    records: Records
    control: Control
    seats: asyncio.Semaphore


def services(request: Request) -> Services:
    """The bundle of this process."""
    found = request.app.state.services
    if not isinstance(found, Services):
        raise TypeError("the app was not started: its lifespan makes the services")
    return found


def known_id(job_id: str, request: Request) -> str:
    """A job id from the path, checked before it names keys or files.

    Raises:
        JobNotFound: it cannot be one.
    """
    if not is_job_id(job_id, services(request).settings.shard_tags):
        raise JobNotFound(f"no job {job_id[:60]!r}; ids are returned by POST /v1/jobs.")
    return job_id


ServicesDep = Annotated[Services, Depends(services)]
JobId = Annotated[str, Depends(known_id)]
