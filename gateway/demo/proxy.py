"""The narrow way from the browser to the gateway: follow, read, cancel and download one job whose id is known.

Nothing else of the gateway can be reached: no list of jobs, no metrics, no upload. A job id is 80 random bits, so only
who started a job can follow it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import httpx
import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Path, Request
from fastapi.responses import Response, StreamingResponse

from gateway import errors
from shared.errors import DependencyError

PASSED_ON = ("range", "if-range", "if-none-match", "last-event-id")
PASSED_BACK = (
    "content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified", "cache-control",
    "retry-after", "x-accel-buffering",
)  # fmt: skip
RETRY_S = 2.0
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
log = structlog.get_logger(__name__)


class GatewayUnreachable(DependencyError):
    """The gateway behind the page does not answer."""

    code = "gateway_unreachable"


@dataclass(frozen=True)
class Upstream:
    """The gateway, as the routes of the page see it."""

    client: httpx.AsyncClient

    async def relay(self, request: Request, path: str) -> Response:
        """Pass a request on and its answer back as it arrives, whatever its status.

        Args:
            request: what the browser sent; its body is not passed on.
            path: path on the gateway, with the query.

        Raises:
            GatewayUnreachable: no answer.
        """
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            answer = await self.client.send(
                self.client.build_request(request.method, path, headers=headers), stream=True
            )
        except httpx.TransportError as error:
            raise unreachable(error) from error
        kept = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        return StreamingResponse(_body(answer), answer.status_code, kept)


def install(app: FastAPI, upstream: Upstream) -> None:
    """Add the routes and the problem documents to the page's application."""
    errors.install(app)
    router = APIRouter(prefix="/gateway", include_in_schema=False)

    @router.get("/ready")
    async def ready(request: Request) -> Response:
        return await upstream.relay(request, "/v1/health/ready")

    @router.get("/jobs/{job_id}")
    async def read(job_id: JobId, request: Request) -> Response:
        return await upstream.relay(request, f"/v1/jobs/{job_id}")

    @router.delete("/jobs/{job_id}")
    async def cancel(job_id: JobId, request: Request) -> Response:
        return await upstream.relay(request, f"/v1/jobs/{job_id}")

    @router.get("/jobs/{job_id}/events")
    async def events(job_id: JobId, request: Request, after: int | None = None) -> Response:
        query = "" if after is None else f"?after={after}"
        return await upstream.relay(request, f"/v1/jobs/{job_id}/events{query}")

    @router.get("/jobs/{job_id}/video")
    async def video(job_id: JobId, request: Request) -> Response:
        answer = await upstream.relay(request, f"/v1/jobs/{job_id}/video")
        answer.headers["Content-Disposition"] = f'inline; filename="talkinghead-{job_id}.mp4"'
        return answer

    @router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
    async def nothing_else(rest: str) -> Response:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"{rest!r} is not one of the page's ways to the gateway")

    app.include_router(router)


def unreachable(error: httpx.TransportError) -> GatewayUnreachable:
    """Why there is no answer, for people."""
    log.warning("gateway.unreachable", error=str(error) or type(error).__name__)
    return GatewayUnreachable("the service behind this page does not answer.", retry_after_s=RETRY_S)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes as they come; a stream that breaks off ends, the browser then resumes it."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        log.info(
            "gateway.stream_broken", error=str(error) or type(error).__name__, status=HTTPStatus(answer.status_code)
        )
    finally:
        await answer.aclose()
