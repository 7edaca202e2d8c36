"""The page's own server: its files, its words for every problem, and that it needs nobody else's host."""

import json
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from gateway.cli.ports import free_port
from gateway.demo import submission
from gateway.demo.page import STATIC, create_app, serve
from gateway.demo.settings import DemoSettings
from shared.errors import DependencyError

ROOT = Path(__file__).parents[2]
WITHOUT_A_CLASS = {"not_ready", "not_found", "client_left", "page_failed"}
ELSEWHERE = re.compile(r"""(?:https?:)?//(?!www\.w3\.org)[a-z0-9.-]+\.[a-z]{2,}""")
MESSAGES: dict[str, list[str]] = json.loads((STATIC / "messages.json").read_text())


def known_codes() -> set[str]:
    """Every code that a process of ours can give an error."""
    sources = [
        path.read_text() for package in ("shared", "gateway", "services") for path in (ROOT / package).rglob("*.py")
    ]
    found = {code for text in sources for code in re.findall(r'^    code(?:: [^=]+)? = "(\w+)"', text, re.MULTILINE)}
    return found | {code for code, _ in submission.MISSING.values()} | WITHOUT_A_CLASS


@pytest.fixture
async def user() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(DemoSettings(log_level="warning"), "http://127.0.0.1:9")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client,
    ):
        yield client


def test_every_typed_error_has_a_title_and_says_what_to_do() -> None:
    assert "no_face_found" in known_codes()
    assert known_codes() - set(MESSAGES) == set()
    for code, (title, advice) in MESSAGES.items():
        assert len(title) > 5, code
        assert not title.endswith("."), code
        assert len(advice) > 5, code
        assert advice.endswith("."), code


def test_the_player_asks_no_other_host_and_stays_small() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        assert not ELSEWHERE.search(text), path.name
        assert len(text.splitlines()) < 300, path.name


async def test_the_page_serves_itself(user: httpx.AsyncClient) -> None:
    page = await user.get("/")
    assert page.status_code == 200
    assert '"title":"Talking Head"' in page.text
    assert "player/main.js" in page.text
    assert "fonts.googleapis.com" not in page.text
    assert '"analytics_enabled":false' in page.text.replace(" ", "")
    assert (await user.get("/health/live")).json() == {"status": "live"}


async def test_every_file_of_the_player_is_served_and_no_other(user: httpx.AsyncClient) -> None:
    for path in STATIC.iterdir():
        answer = await user.get(f"/player/{path.name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["cache-control"] == "no-cache"
    assert "javascript" in (await user.get("/player/main.js")).headers["content-type"]
    for name in ("nothing.js", "..%2fpage.py", "%2e%2e%2fsettings.py"):
        assert (await user.get(httpx.URL(f"http://page/player/{name}"))).status_code == 404


async def test_only_the_browser_may_submit(user: httpx.AsyncClient) -> None:
    """Gradio lists no public endpoint: programs use the gateway's own interface."""
    described = (await user.get("/gradio_api/info")).json()
    assert described["named_endpoints"] == {}


def test_a_stack_that_was_given_up_ends_the_page() -> None:
    told: list[str] = []

    def check() -> None:
        raise DependencyError("renderer-0 ended 4 times soon after its start")

    settings = DemoSettings(log_level="warning")
    announce = partial(told.append, "ready")
    with ThreadPoolExecutor(1) as own_thread, pytest.raises(DependencyError, match="renderer-0 ended"):
        own_thread.submit(serve, settings, "http://127.0.0.1:9", free_port(), check, announce).result(60.0)
    assert told == ["ready"]
