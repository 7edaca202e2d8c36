"""The page's way to the gateway: what it lets through, what it keeps out, and a gateway that is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from gateway.demo import proxy
from gateway.demo.proxy import Upstream
from tests.gateway.streams import opened_stream
from tests.gateway.test_jobs import Upload, submitted

UNUSED_URL = "http://127.0.0.1:9"
FRAME = b'id: 0\nevent: frame\ndata: {"index":0}\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Secret: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def page_on(client: httpx.AsyncClient) -> FastAPI:
    made = FastAPI()
    proxy.install(made, Upstream(client))
    return made


def browser(page: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(page, raise_app_exceptions=False), base_url="http://page")


@asynccontextmanager
async def page_before(serve: Connection) -> AsyncIterator[FastAPI]:
    """A page whose gateway answers every connection with ``serve``."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx.AsyncClient(base_url=url) as client:
        yield page_on(client)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.redis
async def test_one_job_can_be_read_and_canceled(client: httpx.AsyncClient, upload: Upload) -> None:
    job_id = await submitted(client, upload)
    async with browser(page_on(client)) as user:
        read = await user.get(f"/gateway/jobs/{job_id}")
        assert (read.status_code, read.json()["id"]) == (200, job_id)
        early = await user.get(f"/gateway/jobs/{job_id}/video")
        assert (early.status_code, early.json()["code"]) == (409, "result_not_ready")
        assert early.headers["retry-after"]
        canceled = await user.delete(f"/gateway/jobs/{job_id}")
        assert canceled.json()["state"] == "canceled"
        told = await user.get(f"/gateway/jobs/{job_id}/events")
        assert told.headers["content-type"].startswith("text/event-stream")
        assert "job_canceled" in told.text


@pytest.mark.redis
async def test_problems_come_through_as_they_are(client: httpx.AsyncClient) -> None:
    async with browser(page_on(client)) as user:
        unknown = await user.get("/gateway/jobs/0-00000000000000000000000000")
        assert unknown.status_code == 404
        assert unknown.json()["code"] == "job_not_found"
        unready = await user.get("/gateway/ready")
        assert unready.status_code == 503
        assert "worker:renderer" in unready.json()["missing"]


@pytest.mark.redis
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gateway/jobs"),
        ("POST", "/gateway/jobs"),
        ("GET", "/gateway/metrics"),
        ("GET", "/gateway/v1/jobs"),
        ("GET", "/gateway/docs"),
        ("GET", "/gateway/jobs/../health/ready"),
        ("GET", "/gateway/jobs/%2e%2e%2fhealth%2fready"),
        ("GET", "/gateway/jobs/a%3Flimit=1"),
        ("GET", "/gateway/jobs/" + "A" * 81),
        ("PUT", "/gateway/jobs/0-1/video"),
        ("DELETE", "/gateway/jobs/0-1/video"),
    ],
)
async def test_nothing_else_of_the_gateway_can_be_reached(client: httpx.AsyncClient, method: str, path: str) -> None:
    async with browser(page_on(client)) as user:
        answer = await user.request(method, httpx.URL(f"http://page{path}"))
    assert answer.status_code in {404, 405, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert "jobs" not in answer.json()


async def test_a_gateway_that_is_away_is_a_typed_problem() -> None:
    async with httpx.AsyncClient(base_url=UNUSED_URL) as gateway, browser(page_on(gateway)) as user:
        for path in ("ready", "jobs/0-1", "jobs/0-1/events", "jobs/0-1/video"):
            answer = await user.get(f"/gateway/{path}")
            assert (answer.status_code, answer.json()["code"]) == (503, "gateway_unreachable")
            assert int(answer.headers["retry-after"]) > 0


async def test_ranges_and_last_event_ids_are_passed_on_and_nothing_private() -> None:
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\nETag: x\r\n\r\nab"
        )
        await writer.drain()
        writer.close()

    async with page_before(serve) as page, browser(page) as user:
        headers = {"Range": "bytes=0-1", "Last-Event-ID": "7", "Cookie": "secret=1", "Authorization": "Basic x"}
        part = await user.get("/gateway/jobs/0-1/video", headers=headers)
        await user.get("/gateway/jobs/0-1/events?after=12&more=1", headers=headers)
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ab", "bytes 0-1/9")
    assert 'filename="talkinghead-0-1.mp4"' in part.headers["content-disposition"]
    assert "range: bytes=0-1" in heads[0]
    assert heads[1].startswith("get /v1/jobs/0-1/events?after=12 http/1.1")
    assert "last-event-id: 7" in heads[1]
    assert not any(word in head for head in heads for word in ("cookie", "authorization"))


async def test_frames_come_through_before_the_stream_ends_and_a_broken_stream_ends() -> None:
    may_break = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM_HEAD + chunk(FRAME))
        await writer.drain()
        await may_break.wait()
        writer.close()

    async with page_before(serve) as page, opened_stream(page, "/gateway/jobs/0-1/events") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.name, first.id) == ("frame", "0")
        assert (stream.status, "x-secret" in stream.headers) == (200, False)
        may_break.set()
        assert await stream.rest() == []


async def test_a_browser_that_leaves_is_left_by_the_page_too() -> None:
    has_left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM_HEAD + chunk(FRAME))
        await reader.read()  # until the other side closes
        has_left.set()
        writer.close()

    async with page_before(serve) as page:
        async with opened_stream(page, "/gateway/jobs/0-1/events") as stream:
            await stream.next()
        await asyncio.wait_for(has_left.wait(), 5.0)
