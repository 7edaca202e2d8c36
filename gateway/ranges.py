"""Byte ranges of an artifact over HTTP (RFC 9110, section 14): seeking in a video without sending all of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from shared.artifacts import ArtifactStore

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a file; ``is_partial`` when a range was asked for."""

    start: int
    stop: int
    is_partial: bool


def requested_span(header: str | None, n_bytes: int) -> Span:
    """Read a Range header. Several ranges, and units other than bytes, get the whole file, as the RFC allows.

    Raises:
        HTTPException: 416, the range begins behind the end.
    """
    whole = Span(0, n_bytes, is_partial=False)
    unit, _, text = (header or "").partition("=")
    first, dash, last = text.strip().partition("-")
    numbers = [part for part in (first, last) if part]
    if unit.strip().lower() != "bytes" or not dash or not numbers or not all(_is_number(n) for n in numbers):
        return whole
    if not first:
        start, stop = max(0, n_bytes - int(last)), n_bytes
    else:
        start, stop = int(first), min(n_bytes, int(last) + 1) if last else n_bytes
        if last and int(last) < start:
            return whole
    if start >= stop:
        raise HTTPException(416, f"range {header!r} of {n_bytes} bytes", {"Content-Range": f"bytes */{n_bytes}"})
    return Span(start, stop, is_partial=True)


async def artifact_response(
    request: Request, artifacts: ArtifactStore, path: str, media_type: str, etag: str
) -> Response:
    """Answer a GET or HEAD with an immutable artifact or the part of it that was asked for.

    Raises:
        ArtifactMissing: it is not there.
    """
    n_bytes = await asyncio.to_thread(artifacts.size, path)
    headers = {"Accept-Ranges": "bytes", "ETag": etag, "Cache-Control": "private, max-age=3600"}
    if etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    is_same = request.headers.get("if-range", etag) == etag
    span = requested_span(request.headers.get("range") if is_same else None, n_bytes)
    headers["Content-Length"] = str(span.stop - span.start)
    if span.is_partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{n_bytes}"
    status = 206 if span.is_partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(_chunks(artifacts, path, span), status, headers, media_type)


async def _chunks(artifacts: ArtifactStore, path: str, span: Span) -> AsyncIterator[bytes]:
    for start in range(span.start, span.stop, CHUNK_BYTES):
        yield await asyncio.to_thread(artifacts.read_range, path, start, min(span.stop, start + CHUNK_BYTES))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
