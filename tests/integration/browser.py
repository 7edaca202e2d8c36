"""The page in a real Chromium: its process, a browser, and what one tab showed, asked for and complained about."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gateway.cli.ports import free_port
from tests.integration.stack import STOP_S, until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--autoplay-policy=document-user-activation-required",
)
START_S = 180.0
STEP_S = 60.0
PLAYER = "document.querySelector('talking-head-player')"
# Notes every picture the canvas shows: state of the job, frame, position of the sound in seconds, total, checksum.
RECORD = """() => {
  const player = document.querySelector('talking-head-player'), canvas = player.querySelector('canvas');
  const small = new OffscreenCanvas(32, 32).getContext('2d', {willReadFrequently: true});
  const checksum = () => {
    small.drawImage(canvas, 0, 0, 32, 32);
    return small.getImageData(0, 0, 32, 32).data.reduce((sum, value) => (sum * 31 + value) % 1000003, 7);
  };
  let last = -1;
  window.recorded = [];
  setInterval(() => {
    const {state, frame, position, total} = player.stats;
    if (frame !== last) window.recorded.push([state, last = frame, position, total, checksum()]);
  }, 20);
}"""
Stats = dict[str, Any]


@contextmanager
def running_page(api_url: str, log: Path) -> Iterator[str]:
    """Run `talkinghead demo` before a gateway; yields the page's URL."""
    port = free_port()
    command = (sys.executable, "-m", "gateway.cli.main", "demo", "--url", api_url, "--port", str(port))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TH_")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=clean, stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(process, url, log), START_S, f"the page; log in {log}", 0.1)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
            process.wait()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium that allows sound after a click only, as people's browsers do."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        can_install = os.geteuid() == 0 and shutil.which("apt-get")
        pytest.fail("no browser: sh deploy/browser.sh") if can_install else pytest.skip(
            "no Chromium on PATH, and no root with apt to install it: apt install chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One tab of one user.

    Args:
        browser: opens it, with storage of its own.
        url: of the page.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self._host = urlsplit(url).netloc
        self._context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        self.page: Page = self._context.new_page()
        self.page.on("request", lambda request: self._note_request(request.url))
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("talking-head-player canvas", timeout=STEP_S * 1000)

    def close(self) -> None:
        """Leave; the job goes on."""
        self._context.close()

    def fill(self, portrait: Path, speech: Path) -> None:
        """Choose both files, as a person would, and wait until they are uploaded."""
        for field, path, shown in (("portrait", portrait, "img"), ("speech", speech, "#waveform, .waveform-container")):
            self.page.locator(f"#th-{field} input[type=file]").set_input_files(path)
            self.page.locator(f"#th-{field}").locator(shown).first.wait_for(timeout=STEP_S * 1000)

    def generate(self) -> None:
        """Press the button."""
        self.page.locator("#th-generate").click()

    def stats(self) -> Stats:
        """The player's own counters."""
        stats: Stats = self.page.evaluate(f"{PLAYER}.stats")
        return stats

    def wait(self, seen: Callable[[Stats], object], what: str, timeout_s: float = STEP_S) -> Stats:
        """Wait until the player's counters show something.

        Raises:
            TimeoutError: they did not in time.
        """

        def look() -> Stats | None:
            self.page.wait_for_timeout(20)  # lets events of the browser in
            found = self.stats()
            return found if seen(found) else None

        try:
            return until(look, timeout_s, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {json.dumps(self.stats())}; notices {self.notices()}") from error

    def notices(self) -> list[str]:
        """Messages on the page."""
        return self.page.locator(".th-notice").all_inner_texts()

    def job_id(self) -> str:
        """The job this tab follows."""
        stored: str = self.page.evaluate("JSON.parse(sessionStorage.getItem('talkinghead.job')).id")
        return stored

    def record(self) -> None:
        """Begin to note every picture the canvas shows."""
        self.page.evaluate(RECORD)

    def recorded(self) -> list[tuple[str, int, float, int, int]]:
        """(state, frame, position in seconds, total frames, checksum) of every picture since `record`."""
        return [tuple(entry) for entry in self.page.evaluate("window.recorded")]

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != self._host:
            self.foreign.append(url)

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)


def _answers(process: "subprocess.Popen[bytes]", url: str, log: Path) -> bool:
    assert process.poll() is None, f"the page ended: {log.read_text()}"
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False
