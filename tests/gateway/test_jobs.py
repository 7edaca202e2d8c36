"""Jobs over HTTP: the happy path, every bad input, cancelling, listing and the video."""

import io
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from gateway.dependencies import Services
from gateway.ingest import ControlContext, assemble_job, ingest_job
from gateway.records import created_at, is_job_id, new_job_id
from shared.bundles import load_bundle
from shared.controls import Emotion
from shared.protocol import JobState
from tests.gateway.hands import Hands

pytestmark = [pytest.mark.redis]
Upload = dict[str, tuple[str, bytes]]


async def submitted(client: httpx.AsyncClient, upload: Upload, **options: object) -> str:
    answer = await client.post("/v1/jobs", files=upload, data={k: str(v) for k, v in options.items()})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finish(context: ControlContext, hands: Hands, job_id: str) -> None:
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)


async def test_a_job_is_accepted(client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    answer = await client.post("/v1/jobs", files=upload, data={"seed": "7", "head_motion": "0.5", "output": "full"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["options"] == {
        "seed": 7,
        "head_motion": 0.5,
        "expressiveness": 1.0,
        "blinks_per_minute": None,
        "gaze_x": 0.0,
        "gaze_y": 0.0,
        "emotion": "neutral",
        "emotion_strength": 1.0,
        "output": "full",
    }
    assert job["progress"]["frames_total"] is None
    assert job["bundle"] == "embedded"
    assert services.artifacts.names(f"jobs/{job['id']}") == ["audio.wav", "manifest.json", "portrait.jpg"]
    assert services.artifacts.read_bytes(f"jobs/{job['id']}/portrait.jpg") == upload["portrait"][1]
    assert services.records.unfinished() == [job["id"]]
    assert (await client.get(answer.headers["location"])).json() == job


async def test_the_bundle_decides_which_options_can_be_used(
    client: httpx.AsyncClient, upload: Upload, app: FastAPI, services: Services
) -> None:
    app.state.services = replace(services, bundle=load_bundle("joyvasa"))
    refused = await client.post("/v1/jobs", files=upload, data={"blinks_per_minute": "10"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "joyvasa" in refused.json()["detail"]
    assert (await client.get("/v1/jobs")).json()["jobs"] == []
    job_id = await submitted(client, upload, emotion="happy", gaze_y=1)
    assert services.jobs.get(job_id).options.emotion is Emotion.HAPPY


async def test_a_missing_seed_is_drawn_and_returned(client: httpx.AsyncClient, upload: Upload) -> None:
    seeds = set()
    for _ in range(3):
        job = (await client.post("/v1/jobs", files=upload)).json()
        seeds.add(job["options"]["seed"])
    assert len(seeds) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)


async def test_a_whole_job(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, tmp_path: Path
) -> None:
    job_id = await submitted(client, upload)
    early = await client.get(f"/v1/jobs/{job_id}/video")
    assert early.status_code == 409
    assert early.json()["code"] == "result_not_ready"
    assert early.headers["retry-after"]
    ingest_job(context, job_id)
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["progress"]["frames_total"] == 75
    hands.work()
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["state"] == "finalizing"
    assemble_job(context, job_id)
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["state"] == "succeeded"
    assert job["error"] is None
    assert job["progress"] == {"frames_rendered": 75, "frames_muxed": 75, "frames_total": 75, "ratio": 1.0}
    assert set(job["timings"]) == {"waited_s", "worked_s", "total_s"}
    video = await client.get(f"/v1/jobs/{job_id}/video")
    assert video.status_code == 200
    assert video.headers["content-type"] == "video/mp4"
    (tmp_path / "v.mp4").write_bytes(video.content)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.streams.video[0].frames == 75
        assert sum(1 for _ in container.decode(container.streams.video[0])) == 75


@pytest.mark.parametrize(
    ("header", "status", "span"),
    [
        ("bytes=0-99", 206, (0, 100)),
        ("bytes=100-", 206, (100, None)),
        ("bytes=-50", 206, (-50, None)),
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=0-999999999", 206, (0, None)),
        ("bytes=5-2", 200, (0, None)),
        ("bytes=0-1,4-5", 200, (0, None)),
        ("items=0-1", 200, (0, None)),
        ("bytes=abc", 200, (0, None)),
    ],
)
async def test_ranges(
    client: httpx.AsyncClient,
    upload: Upload,
    context: ControlContext,
    hands: Hands,
    header: str,
    status: int,
    span: tuple[int, int | None],
) -> None:
    job_id = await submitted(client, upload)
    finish(context, hands, job_id)
    whole = (await client.get(f"/v1/jobs/{job_id}/video")).content
    answer = await client.get(f"/v1/jobs/{job_id}/video", headers={"Range": header})
    assert answer.status_code == status
    assert answer.content == whole[slice(*span)]
    assert int(answer.headers["content-length"]) == len(answer.content)
    if status == 206:
        start, stop, _ = slice(*span).indices(len(whole))
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


async def test_conditional_requests(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    finish(context, hands, job_id)
    url = f"/v1/jobs/{job_id}/video"
    head = await client.head(url)
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 1000
    assert head.headers["accept-ranges"] == "bytes"
    etag = head.headers["etag"]
    assert (await client.get(url, headers={"If-None-Match": etag})).status_code == 304
    assert (await client.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})).status_code == 206
    assert (await client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})).status_code == 200
    beyond = await client.get(url, headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"].startswith("bytes */")
    assert beyond.json()["code"] == "range_not_satisfiable"


BAD_OPTIONS = [
    ("seed", "-1"),
    ("seed", "1.5"),
    ("seed", str(2**63)),
    ("seed", "abc"),
    ("seed", ""),
    ("head_motion", "1.6"),
    ("head_motion", "-0.1"),
    ("head_motion", "nan"),
    ("expressiveness", "inf"),
    ("expressiveness", "much"),
    ("blinks_per_minute", "40.5"),
    ("blinks_per_minute", "-1"),
    ("blinks_per_minute", ""),
    ("gaze_x", "1.01"),
    ("gaze_y", "-2"),
    ("gaze_y", "up"),
    ("emotion", "bored"),
    ("emotion", "Happy"),
    ("emotion_strength", "1.5"),
    ("output", "round"),
    ("colour", "red"),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS)
async def test_bad_options_are_refused(client: httpx.AsyncClient, upload: Upload, name: str, value: str) -> None:
    answer = await client.post("/v1/jobs", files=upload, data={name: value})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert problem["retryable"] is False
    assert name in problem["detail"]
    assert (await client.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    ("part", "data", "status", "code"),
    [
        ("portrait", b"not an image", 415, "unsupported_media"),
        ("portrait", b"", 415, "unsupported_media"),
        ("portrait", b"GIF89a" + bytes(100), 415, "unsupported_media"),
        ("portrait", b"\xff\xd8\xff\xe0", 415, "unsupported_media"),
        ("audio", b"not a sound", 415, "unsupported_media"),
        ("audio", b"", 415, "unsupported_media"),
        ("audio", b"RIFF\x00\x00\x00\x00WAVE", 415, "unsupported_media"),
        ("audio", b"#EXTM3U\nhttp://127.0.0.1/secret\n", 415, "unsupported_media"),
    ],
)
async def test_bad_files_are_refused(
    client: httpx.AsyncClient, upload: Upload, part: str, data: bytes, status: int, code: str
) -> None:
    answer = await client.post("/v1/jobs", files={**upload, part: ("x", data)})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(answer.json()["detail"]) > 20


async def test_sizes_of_portraits(client: httpx.AsyncClient, upload: Upload) -> None:
    for size in ((63, 64), (8193, 64), (6400, 6300)):
        file = io.BytesIO()
        Image.new("1", size).save(file, "PNG")
        answer = await client.post("/v1/jobs", files={**upload, "portrait": ("x.png", file.getvalue())})
        assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")


async def test_missing_and_doubled_parts(client: httpx.AsyncClient, upload: Upload) -> None:
    for missing in ("portrait", "audio"):
        rest = {name: file for name, file in upload.items() if name != missing}
        answer = await client.post("/v1/jobs", files=rest)
        assert answer.status_code == 422
        assert missing in answer.json()["detail"]
    twice = [("portrait", upload["portrait"]), ("portrait", upload["portrait"]), ("audio", upload["audio"])]
    assert (await client.post("/v1/jobs", files=twice)).status_code == 422
    other = await client.post("/v1/jobs", files={**upload, "video": ("x", b"x")})
    assert other.status_code == 422
    assert "video" in other.json()["detail"]
    as_text = await client.post("/v1/jobs", files={"audio": upload["audio"]}, data={"portrait": "me.jpg"})
    assert "sent as text" in as_text.json()["detail"]


async def test_bodies_that_are_not_multipart(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/jobs", json={"portrait": "x"})).status_code == 415
    assert (await client.post("/v1/jobs")).status_code == 415
    broken = await client.post(
        "/v1/jobs", content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code == 422
    no_boundary = await client.post("/v1/jobs", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert no_boundary.status_code == 422


async def test_an_announced_size_is_refused_unread(client: httpx.AsyncClient, upload: Upload) -> None:
    answer = await client.post("/v1/jobs", files={**upload, "audio": ("a.wav", bytes(25_200_000))})
    assert (answer.status_code, answer.json()["code"]) == (413, "limit_exceeded")


async def test_an_endless_body_is_cut_off(client: httpx.AsyncClient) -> None:
    n_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal n_sent
        yield b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        while True:
            n_sent += 1_000_000
            yield bytes(1_000_000)

    answer = await client.post(
        "/v1/jobs", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 413
    assert n_sent <= 27_000_000


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "job_id", ["0-01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense", "..%2F..%2Fetc", "9-01ARZ3NDEKTSV4RRFFQ69G5FAV"]
)
async def test_unknown_jobs(client: httpx.AsyncClient, method: str, job_id: str) -> None:
    answer = await client.request(method, f"/v1/jobs/{job_id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_routes_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    lost = await client.get("/v2/nothing")
    assert (lost.status_code, lost.json()["code"]) == (404, "not_found")
    wrong = await client.put("/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"] or "POST" in wrong.headers["allow"]
    bad = await client.get("/v1/jobs", params={"limit": "0"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_input")
    assert bad.json()["errors"][0]["field"] == "query.limit"


async def test_cancel_is_idempotent(client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    job_id = await submitted(client, upload)
    first = await client.delete(f"/v1/jobs/{job_id}")
    assert (first.status_code, first.json()["state"]) == (200, "canceled")
    second = await client.delete(f"/v1/jobs/{job_id}")
    assert second.json() == first.json()
    video = await client.get(f"/v1/jobs/{job_id}/video")
    assert (video.status_code, video.json()["code"]) == (409, "job_canceled")
    assert services.records.unfinished() == []
    end = services.records.read_end(job_id)
    assert end is not None
    assert end["state"] == "canceled"


async def test_a_canceled_job_is_not_ingested(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext
) -> None:
    job_id = await submitted(client, upload)
    await client.delete(f"/v1/jobs/{job_id}")
    ingest_job(context, job_id)
    assert context.jobs.get(job_id).state is JobState.CANCELED


async def test_jobs_are_listed_newest_first_in_pages(client: httpx.AsyncClient, upload: Upload) -> None:
    ids = [await submitted(client, upload) for _ in range(5)]
    seen, after = [], None
    for _ in range(3):
        query = {"limit": "2", **({"after": after} if after else {})}
        page = (await client.get("/v1/jobs", params=query)).json()
        seen += [job["id"] for job in page["jobs"]]
        after = page["next"]
        assert page["has_more"] is (after is not None)
    assert seen == ids[::-1]
    assert after is None
    assert (await client.get("/v1/jobs", params={"after": "0-01ARZ3NDEKTSV4RRFFQ69G5FAV"})).status_code == 404


async def test_an_expired_job_is_gone(client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    job_id = await submitted(client, upload)
    await client.delete(f"/v1/jobs/{job_id}")
    services.jobs.client.delete(*services.jobs.client.keys(f"*{job_id}*"))
    for path in ("", "/video", "/events"):
        answer = await client.get(f"/v1/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (410, "job_expired")


async def test_a_full_queue_refuses(client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    services.jobs.client.sadd("th:{0}:open", *(f"0-{i}" for i in range(100)))
    answer = await client.post("/v1/jobs", files=upload)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0


async def test_a_nearly_full_redis_refuses(client: httpx.AsyncClient, upload: Upload, services: Services) -> None:
    used = int(services.jobs.client.info("memory")["used_memory"])
    services.jobs.client.config_set("maxmemory", int(used / 0.8))
    try:
        answer = await client.post("/v1/jobs", files=upload)
    finally:
        services.jobs.client.config_set("maxmemory", 0)
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert "memory" in answer.json()["detail"]


async def test_a_store_that_cannot_be_written_refuses(
    client: httpx.AsyncClient, upload: Upload, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_bytes(b"a file in the way")
    answer = await client.post("/v1/jobs", files=upload)
    assert (answer.status_code, answer.json()["code"]) == (503, "artifact_unavailable")
    assert (await client.get("/v1/jobs")).json()["jobs"] == []


def test_ids_sort_by_time_and_carry_it() -> None:
    early, late = new_job_id("0", 1_000.5), new_job_id("0", 2_000.25)
    assert early < late
    assert created_at(late) == 2_000.25
    assert is_job_id(late, ("0", "1"))
    assert not is_job_id(late, ("1",))
    assert not is_job_id(late.lower(), ("0",))
