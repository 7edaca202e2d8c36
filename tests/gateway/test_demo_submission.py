"""What the form sends and what comes back: a job, or a problem the page has words for."""

from pathlib import Path

import httpx
import pytest

from gateway.demo.submission import submit
from tests.gateway.test_jobs import Upload

LARGE_SEED = str(2**63 - 1)
DEFAULTS = {"seed": "", "blinks_per_minute": "", "head_motion": "1", "expressiveness": "1", "output": "square"}


@pytest.fixture
def files(upload: Upload, tmp_path: Path) -> dict[str, str | None]:
    paths: dict[str, str | None] = {}
    for name, (file_name, data) in upload.items():
        path = tmp_path / file_name
        path.write_bytes(data)
        paths[name] = str(path)
    return paths


@pytest.mark.redis
async def test_options_reach_the_job_and_large_seeds_stay_exact(
    client: httpx.AsyncClient, files: dict[str, str | None]
) -> None:
    options = {
        **DEFAULTS,
        "seed": LARGE_SEED,
        "head_motion": "0.5",
        "emotion": "sad",
        "gaze_x": "-0.3",
        "output": "full",
    }
    job = (await submit(client, files, options))["job"]
    assert job["state"] == "queued"
    expected = {"seed": LARGE_SEED, "head_motion": 0.5, "emotion": "sad", "gaze_x": -0.3, "output": "full"}
    assert {name: job["options"][name] for name in expected} == expected
    assert job["options"]["blinks_per_minute"] is None


@pytest.mark.redis
async def test_an_empty_seed_is_left_to_the_gateway(client: httpx.AsyncClient, files: dict[str, str | None]) -> None:
    seeds = {str((await submit(client, files, DEFAULTS))["job"]["options"]["seed"]) for _ in range(2)}
    assert len(seeds) == 2
    assert all(seed.isdigit() for seed in seeds)


@pytest.mark.redis
async def test_refusals_keep_their_code_and_words(
    client: httpx.AsyncClient, files: dict[str, str | None], tmp_path: Path
) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    unread = (await submit(client, {**files, "portrait": str(text)}, DEFAULTS))["problem"]
    assert unread["code"] == "unsupported_media"
    assert "portrait" in unread["detail"]
    seed = (await submit(client, files, {**DEFAULTS, "seed": "-1"}))["problem"]
    assert (seed["code"], "seed is '-1'" in seed["detail"]) == ("invalid_input", True)


@pytest.mark.parametrize(("name", "code"), [("portrait", "missing_portrait"), ("audio", "missing_speech")])
async def test_a_form_that_is_not_filled_in_is_not_sent(files: dict[str, str | None], name: str, code: str) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as nobody:
        answer = await submit(nobody, {**files, name: None}, DEFAULTS)
    assert answer["problem"]["code"] == code


async def test_a_gateway_that_is_away_is_a_problem(files: dict[str, str | None]) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as nobody:
        problem = (await submit(nobody, files, DEFAULTS))["problem"]
    assert (problem["code"], problem["retryable"], problem["status"]) == ("gateway_unreachable", True, 503)


async def test_a_busy_gateway_says_when_to_come_back(files: dict[str, str | None]) -> None:
    def busy(_: httpx.Request) -> httpx.Response:
        body = {"code": "queue_full", "detail": "100 jobs are unfinished.", "retryable": True}
        return httpx.Response(503, json=body, headers={"Retry-After": "10"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(busy), base_url="http://gateway") as client:
        answer = await submit(client, files, DEFAULTS)
    assert (answer["problem"]["code"], answer["retry_after_s"]) == ("queue_full", 10)


async def test_an_answer_that_is_not_ours_is_a_problem(files: dict[str, str | None]) -> None:
    def proxy_error(_: httpx.Request) -> httpx.Response:
        return httpx.Response(502, text="<html>Bad Gateway</html>")

    async with httpx.AsyncClient(transport=httpx.MockTransport(proxy_error), base_url="http://gateway") as client:
        answer = await submit(client, files, DEFAULTS)
    assert answer["problem"]["code"] == "gateway_unreachable"
    assert "502" in answer["problem"]["detail"]
