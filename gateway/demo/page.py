"""START HERE: the page's process. A Gradio form, the player's files, and a narrow way through to the gateway.

The browser needs one origin only: what the player follows comes through `proxy.py`. Nothing is loaded from other hosts.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import gradio as gr
import httpx
import structlog
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

from gateway.demo import proxy
from gateway.demo.layout import FOOTER, STYLE, THEME, TITLE, build_layout
from gateway.demo.proxy import Upstream
from gateway.demo.settings import DemoSettings
from shared.log import configure_logging

HERE = Path(__file__).parent
STATIC, SAMPLES = HERE / "static", HERE / "samples"
HEAD = '<script type="module" src="player/main.js"></script>'
TIMEOUT = httpx.Timeout(10.0, read=60.0, write=60.0, pool=None)
SHUTDOWN_S = 2
CHECK_S = 1.0
STARTED_POLL_S = 0.05
Call = Callable[[], None]
log = structlog.get_logger(__name__)


def serve(settings: DemoSettings, api_url: str, port: int, check: Call, announce: Call) -> None:
    """Run the page until the process is told to stop.

    Args:
        settings: host, limits, logging.
        api_url: base URL of the gateway.
        port: free TCP port.
        check: called every second; what it raises ends the page.
        announce: called once the page can be opened.
    """
    configure_logging(settings.log_level, settings.log_format, kind="demo")
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    log.info("page.started", host=settings.demo_host, port=port, api_url=api_url)
    asyncio.run(_serve(settings, api_url, port, check, announce))


def create_app(settings: DemoSettings, api_url: str) -> FastAPI:
    """Make the application; connections to the gateway are opened when first needed.

    Args:
        settings: limits of the page.
        api_url: base URL of the gateway.
    """
    client = httpx.AsyncClient(
        base_url=api_url.rstrip("/"),
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        headers={"Accept-Encoding": "identity"},  # bytes are passed on as they are
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(title=TITLE, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    proxy.install(app, Upstream(client))
    app.add_api_route("/health/live", _live, include_in_schema=False)
    app.add_api_route("/player/{name}", _player_file, include_in_schema=False)
    gr.mount_gradio_app(
        app,
        build_layout(client, SAMPLES, settings.demo_keep_uploads_s),
        path="/",
        head=HEAD,
        css_paths=[STATIC / STYLE],
        theme=THEME,
        footer_links=FOOTER,
        favicon_path=str(STATIC / "icon.svg"),
        max_file_size=settings.demo_max_upload_bytes,
        allowed_paths=[str(SAMPLES)],
        ssr_mode=False,
        pwa=False,
    )
    return app


async def _serve(settings: DemoSettings, api_url: str, port: int, check: Call, announce: Call) -> None:
    config = uvicorn.Config(
        create_app(settings, api_url),  # within the loop that Gradio then uses
        host=settings.demo_host,
        port=port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    watching = asyncio.create_task(_watch(server, check, announce))
    await server.serve()
    if watching.done():
        watching.result()
    watching.cancel()


async def _watch(server: uvicorn.Server, check: Call, announce: Call) -> None:
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn sets a flag, there is no event
            await asyncio.sleep(STARTED_POLL_S)
        announce()
        while True:
            check()
            await asyncio.sleep(CHECK_S)
    finally:
        server.should_exit = True


async def _live() -> dict[str, str]:
    return {"status": "live"}


async def _player_file(name: str) -> FileResponse:
    """A file of the player; names are compared with what ships, never joined to a path."""
    for path in STATIC.iterdir():
        if path.name == name:
            return FileResponse(path, headers={"Cache-Control": "no-cache"})
    raise HTTPException(HTTPStatus.NOT_FOUND, f"no file {name!r} of the player")
