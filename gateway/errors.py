"""Typed errors to HTTP: the only place that knows status codes. Bodies are RFC 9457 problem details.

`code` is stable and for programs, `detail` says what was seen, what was expected and what to do, `retryable` whether
the same request can succeed later; Retry-After says when.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared import errors
from shared.metrics import http_problems_total

MEDIA_TYPE = "application/problem+json"
DEFAULT_RETRY_AFTER_S = 5.0

# The first class that fits decides.
STATUS: tuple[tuple[type[errors.TalkingHeadError], HTTPStatus], ...] = (
    (errors.UnsupportedMedia, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (errors.LimitExceeded, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.JobNotFound, HTTPStatus.NOT_FOUND),
    (errors.ArtifactMissing, HTTPStatus.NOT_FOUND),
    (errors.JobExpired, HTTPStatus.GONE),
    (errors.StateError, HTTPStatus.CONFLICT),
    (errors.RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.CapacityError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DependencyError, HTTPStatus.SERVICE_UNAVAILABLE),
)
FRAMEWORK_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "range_not_satisfiable",
}
log = structlog.get_logger(__name__)


def problem(code: str, detail: str, *, retryable: bool, status: int = 500, **more: object) -> dict[str, object]:
    """A problem object; also stored as the `error` of a failed job."""
    title = HTTPStatus(status).phrase
    return {
        "type": f"urn:talkinghead:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "retryable": retryable,
        **more,
    }


def status_of(error: errors.TalkingHeadError) -> HTTPStatus:
    """The HTTP status that says what happened."""
    for cls, status in STATUS:
        if isinstance(error, cls):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def install(app: FastAPI) -> None:
    """Answer every error of the app, ours and the framework's, with a problem."""
    app.add_exception_handler(errors.TalkingHeadError, _own)
    app.add_exception_handler(RedisError, _redis)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


async def _own(request: Request, error: Exception) -> JSONResponse:
    return _own_answer(request, cast(errors.TalkingHeadError, error))


def _own_answer(request: Request, error: errors.TalkingHeadError) -> JSONResponse:
    status = status_of(error)
    headers = {}
    if error.retryable:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or DEFAULT_RETRY_AFTER_S))
    body = problem(error.code, error.message, retryable=error.retryable, status=status, instance=request.url.path)
    log.info("request.refused", code=error.code, status=int(status), path=request.url.path)
    return _answer(body, status, headers)


async def _redis(request: Request, error: Exception) -> JSONResponse:
    log.warning("redis.unavailable", error=str(error))
    away = errors.RedisUnavailable("the job queue does not answer; it usually returns soon. Try again in a moment.")
    return _own_answer(request, away)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    invalid = cast(RequestValidationError, error)
    found = [{"field": ".".join(map(str, e["loc"])), "detail": str(e["msg"])} for e in invalid.errors()]
    detail = "; ".join(f"{e['field']}: {e['detail']}" for e in found)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    body = problem("invalid_input", detail, retryable=False, status=status, instance=request.url.path, errors=found)
    return _answer(body, status, {})


async def _framework(request: Request, error: Exception) -> JSONResponse:
    refused = cast(HTTPException, error)
    status = HTTPStatus(refused.status_code)
    code = FRAMEWORK_CODES.get(status, status.name.lower())
    detail = f"{request.method} {request.url.path}: {refused.detail}. The interface is described at /docs."
    body = problem(code, detail, retryable=False, status=status, instance=request.url.path)
    return _answer(body, status, dict(refused.headers or {}))


async def _left(request: Request, error: Exception) -> JSONResponse:
    log.info("request.abandoned", path=request.url.path)
    status = HTTPStatus.BAD_REQUEST
    body = problem("client_left", "the upload broke off before its end.", retryable=True, status=status)
    return _answer(body, status, {})


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", path=request.url.path, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "an error inside the gateway that should not happen; its log says more. Trying again may help."
    body = problem("internal", detail, retryable=True, status=status, instance=request.url.path)
    return _answer(body, status, {})


def _answer(body: dict[str, Any], status: HTTPStatus, headers: Mapping[str, str]) -> JSONResponse:
    http_problems_total.labels(body["code"]).inc()
    return JSONResponse(body, status, dict(headers), MEDIA_TYPE)
