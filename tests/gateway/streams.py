"""An event stream read straight from the ASGI application: chunk by chunk, with a client that can leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI


@dataclass(frozen=True)
class Sent:
    """One event; ``name`` is "comment" for heartbeats."""

    name: str
    data: Any
    id: str


class EventStream:
    """What the application has sent to one client."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: asyncio.Queue[str | None] = asyncio.Queue()
        self._text = ""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.parts.put_nowait(message.get("body", b"").decode())
        if not message.get("more_body", False):
            self.parts.put_nowait(None)

    async def next(self, timeout_s: float = 5.0) -> Sent | None:
        """The next event, or None when the stream has ended."""
        while "\n\n" not in self._text:
            part = await asyncio.wait_for(self.parts.get(), timeout_s)
            if part is None:
                return None
            self._text += part
        block, _, self._text = self._text.partition("\n\n")
        return _parsed(block) or await self.next(timeout_s)

    async def rest(self, timeout_s: float = 10.0) -> list[Sent]:
        """Every event until the stream ends, without heartbeats."""
        found = []
        while (event := await self.next(timeout_s)) is not None:
            if event.name != "comment":
                found.append(event)
        return found

    async def until(self, name: str) -> list[Sent]:
        """Events up to and with the first of this name."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
            if event.name == name:
                return found
        raise AssertionError(f"the stream ended before {name}: {[e.name for e in found]}")


@asynccontextmanager
async def opened_stream(app: FastAPI, path: str, headers: dict[str, str] | None = None) -> AsyncIterator[EventStream]:
    """Open a stream; the client leaves at the end of the block."""
    stream, has_left = EventStream(), asyncio.Event()
    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("test", 1),
        "server": ("test", 80),
    }
    is_first = True

    async def receive() -> dict[str, Any]:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await has_left.wait()
        return {"type": "http.disconnect"}

    task = asyncio.create_task(app(scope, receive, stream.send))
    try:
        yield stream
    finally:
        has_left.set()
        await asyncio.wait_for(task, 5.0)


def _parsed(block: str) -> Sent | None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        if line.startswith(":"):
            return Sent("comment", line[1:].strip(), "")
        name, _, value = line.partition(": ")
        fields[name] = value
    if "data" not in fields:
        return None
    return Sent(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id", ""))
