"""The page in a real browser, from the upload to the download, on a real stack.

PAGE_SCREENSHOT names a file for a picture of the page at work (docs/page.png is one, reduced to 256 colours).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from shared.timeline import FPS
from tests.integration.browser import Stats, Tab, running_browser, running_page
from tests.integration.stack import PORTRAIT, SPEECH, SPEECH_SHORT, Stack
from tests.integration.video import facts

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

N_FRAMES, N_FRAMES_SHORT = 232, 60
MAX_MEDIAN_LAG_FRAMES = 2


def is_complete(stats: Stats) -> bool:
    """True when the job is over and each of its frames came or was told to be gone; frames may follow the state."""
    return bool(stats["state"] == "succeeded" and stats["received"] + stats["gone"] >= N_FRAMES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def page_url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_page(stack.url, tmp_path_factory.mktemp("page") / "page.log") as url:
        yield url


@pytest.fixture
def tab(browser: Browser, page_url: str, ready_stack: Stack) -> Iterator[Tab]:
    opened = Tab(browser, page_url)
    yield opened
    opened.close()


def test_the_sample_job_is_shown_while_it_is_made_and_can_be_downloaded(
    tab: Tab, ready_stack: Stack, tmp_path: Path
) -> None:
    tab.fill(PORTRAIT, SPEECH)
    tab.record()
    tab.generate()
    tab.wait(lambda s: s["frame"] > 10, "the eleventh frame")
    if "PAGE_SCREENSHOT" in os.environ:
        tab.page.wait_for_timeout(float(os.environ.get("PAGE_SCREENSHOT_MS", "1000")))
        tab.page.screenshot(path=os.environ["PAGE_SCREENSHOT"])
    end = tab.wait(lambda s: s["phase"] == "ended", "the end of the speech")

    assert (end["received"], end["total"], end["frame"]) == (N_FRAMES, N_FRAMES, N_FRAMES - 1)
    assert end["shown"] + end["skipped"] == N_FRAMES
    assert (end["gone"], end["broken"], end["state"]) == (0, 0, "succeeded")
    assert end["firstFrameMs"] > 0

    seen = [entry for entry in tab.recorded() if entry[1] >= 0]
    early = {checksum for state, _, _, _, checksum in seen if state != "succeeded"}
    assert len(early) >= 2, "pictures change before the job is finished"
    indices = [frame for _, frame, _, _, _ in seen]
    assert indices == sorted(indices)
    assert all(frame <= position * FPS for _, frame, position, _, _ in seen), "no picture before its sound"
    calm = [entry for entry in seen if entry[0] == "succeeded"] or seen  # the cores are free again
    lags = sorted(int(position * FPS) - frame for _, frame, position, _, _ in calm)
    assert lags[len(lags) // 2] <= MAX_MEDIAN_LAG_FRAMES
    assert end["offsetSamples"] > end["late"]

    with tab.page.expect_download() as download:
        tab.page.locator(".th-download").click()
    saved = tmp_path / "saved.mp4"
    download.value.save_as(saved)
    assert download.value.suggested_filename.endswith(".mp4")
    assert saved.read_bytes() == ready_stack.video(tab.job_id())
    assert facts(saved.read_bytes()).n_frames == N_FRAMES

    tab.page.locator(".th-toggle").click()
    tab.page.wait_for_function("document.querySelector('talking-head-player video').readyState >= 2")
    video_s = tab.page.evaluate("document.querySelector('talking-head-player video').duration")
    assert video_s == pytest.approx(N_FRAMES / FPS, abs=0.1)
    assert tab.foreign == []
    assert tab.errors == []
    assert tab.notices() == []


def test_a_portrait_without_a_face_is_explained(tab: Tab, tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    Image.new("RGB", (300, 300), "white").save(wall)
    tab.fill(wall, SPEECH_SHORT)
    tab.generate()
    tab.page.locator(".th-error").wait_for(timeout=60_000)
    (notice,) = tab.notices()
    assert "No face in the portrait" in notice
    assert "seen from the front" in notice
    assert tab.page.locator("#th-generate").is_enabled()
    assert (tab.foreign, tab.errors) == ([], [])


def test_a_file_that_is_no_image_is_refused_in_words(tab: Tab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff" + b"no picture" * 50)
    tab.page.locator("#th-portrait input[type=file]").set_input_files(broken)
    tab.page.locator("#th-speech input[type=file]").set_input_files(SPEECH_SHORT)
    tab.page.locator("#th-speech #waveform").wait_for(timeout=60_000)
    tab.generate()
    tab.page.locator(".th-error").wait_for(timeout=60_000)
    assert "This file cannot be read" in tab.notices()[0]


def test_tabs_do_not_disturb_each_other_and_one_can_cancel(
    tab: Tab, browser: Browser, page_url: str, ready_stack: Stack
) -> None:
    other = Tab(browser, page_url)
    try:
        for each, speech in ((tab, SPEECH), (other, SPEECH_SHORT)):
            each.fill(PORTRAIT, speech)
            each.generate()
        tab.wait(lambda s: s["received"] > 0, "a frame")
        tab.page.locator(".th-cancel").click()
        tab.page.locator(".th-info").wait_for(timeout=60_000)
        assert "Cancelled" in tab.notices()[0]
        assert ready_stack.job(tab.job_id())["state"] == "canceled"
        assert other.wait(lambda s: s["state"] == "succeeded", "the other job")["received"] == N_FRAMES_SHORT
        assert (tab.errors, other.errors) == ([], [])
    finally:
        other.close()


def test_a_reload_goes_on_with_the_job_and_its_sound(tab: Tab) -> None:
    tab.fill(PORTRAIT, SPEECH)
    tab.generate()
    tab.wait(lambda s: s["frame"] > 0, "the second frame")
    job_id = tab.job_id()
    tab.page.reload()
    tab.page.wait_for_selector("talking-head-player canvas")
    end = tab.wait(is_complete, "every frame of the job")
    assert tab.job_id() == job_id
    assert end["gone"] == 0
    assert tab.page.locator(".th-download").is_visible()
    assert (tab.notices(), tab.errors) == ([], [])


def test_a_gateway_that_is_killed_costs_no_frame(tab: Tab, ready_stack: Stack) -> None:
    tab.fill(PORTRAIT, SPEECH)
    tab.generate()
    tab.wait(lambda s: s["received"] > 0, "a frame")
    ready_stack.kill("gateway")
    end = tab.wait(is_complete, "every frame of the job", 120.0)
    assert (end["gone"], end["broken"]) == (0, 0)
    assert tab.page.locator(".th-download").is_visible()
    assert not any("Connection lost" in notice for notice in tab.notices())


def test_a_viewer_who_comes_late_starts_with_what_is_left(tab: Tab) -> None:
    stats = tab.page.evaluate("""async () => {
      const {Player} = await import('./player/player.js');
      const canvas = new OffscreenCanvas(64, 64), drawn = new OffscreenCanvas(64, 64);
      drawn.getContext('2d').fillRect(0, 0, 9, 9);
      const jpeg = await drawn.convertToBlob({type: 'image/jpeg'});
      const phases = [], player = new Player(canvas, (phase) => phases.push(phase));
      player.clock.unlock();
      await player.reset();
      player.gap(0, 99);
      for (let index = 100; index < 125; index++) player.push(index, jpeg);
      await player.setSound(null);
      const start = player.position;
      player.complete();
      return {start, duration: player.duration, phases, ...player.stats};
    }""")
    assert (stats["start"], stats["duration"]) == (4.0, 5.0)
    assert (stats["gone"], stats["received"], stats["phases"][:2]) == (100, 25, ["empty", "waiting"])


def test_played_frames_are_forgotten_first_and_others_never(tab: Tab) -> None:
    kept = tab.page.evaluate("""async () => {
      const {FrameStore} = await import('./player/frames.js');
      const store = new FrameStore(1000);
      const add = (from, to) => { for (let i = from; i < to; i++) store.add(i, new Blob(['x'.repeat(100)])); };
      const facts = () => [store.first, store.size, store.end, store.isFull, store.hasRoom];
      const seen = [];
      add(0, 12);
      seen.push(facts());
      store.decodeFrom(7);
      add(12, 14);
      seen.push(facts());
      store.skipTo(20);
      seen.push(facts());
      store.clear();
      return [...seen, facts()];
    }""")
    assert kept == [
        [0, 12, 12, True, False],
        [4, 10, 14, False, False],
        [4, 10, 21, False, False],
        [0, 0, 0, False, True],
    ]
