"""Control tasks: what they write, what they do when run twice, killed, or given files that cannot be decoded."""

import hashlib
import io
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.control import ASSEMBLE, INGEST, Control, kombu_url, make_celery
from gateway.dependencies import Services
from gateway.ingest import ControlContext, assemble_job, close_record, ingest_job
from gateway.records import JobCrashes, Records, new_job_id
from gateway.settings import ControlSettings
from gateway.tasks import make_app
from gateway.upkeep import expire_jobs, reconcile_marks, reconcile_shard
from shared.artifacts import open_store
from shared.errors import ArtifactMissing, ArtifactUnavailable, AudioTooLong, UnsupportedMedia
from shared.protocol import JobOptions, JobState, Manifest, Stage
from tests.gateway.hands import Hands
from tests.gateway.test_jobs import Upload, submitted
from tests.shared.test_media_audio import tone, write_sound

pytestmark = [pytest.mark.redis]


def sound_file(tmp_path: Path, seconds: float, amplitude: float = 0.3) -> bytes:
    return write_sound(tmp_path / "x.wav", "wav", "pcm_s16le", "s16", tone(seconds, amplitude=amplitude)).read_bytes()


def queued(services: Services, task: str) -> list[str]:
    """Job ids of the messages of a task, in the order of sending."""
    sent: Any = services.jobs.client.lrange("control", 0, -1)
    messages = [raw.decode() for raw in reversed(sent)]
    wanted = [text for text in messages if f'"task": "{task}"' in text]
    return [text.partition('"argsrepr": "[\'')[2].partition("'")[0] for text in wanted]


async def test_ingest_plans_the_job(client: httpx.AsyncClient, upload: Upload, context: ControlContext) -> None:
    job_id = await submitted(client, upload, seed=3)
    ingest_job(context, job_id)
    record = context.jobs.get(job_id)
    assert record.state is JobState.RUNNING
    assert (record.n_frames, record.n_windows, record.hop) == (75, 2, 65)
    assert record.gain == pytest.approx(0.2 / (0.3 / np.sqrt(2)), rel=0.02)
    assert record.warnings == ()
    pcm = np.frombuffer(context.artifacts.read_bytes(f"jobs/{job_id}/speech.pcm"), "<i2")
    assert len(pcm) == 48_000
    assert len(record.portrait_digest) == 64


async def test_the_digest_knows_image_and_crop(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext
) -> None:
    other = io.BytesIO()
    Image.new("RGB", (96, 96), "red").save(other, "PNG")
    digests = []
    for files, output in (
        (upload, "square"),
        (upload, "square"),
        (upload, "full"),
        ({**upload, "portrait": ("x", other.getvalue())}, "square"),
    ):
        job_id = await submitted(client, files, output=output)
        ingest_job(context, job_id)
        digests.append(context.jobs.get(job_id).portrait_digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


async def test_ingest_twice_is_ingest_once(client: httpx.AsyncClient, upload: Upload, context: ControlContext) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    before = context.jobs.get(job_id)
    ingest_job(context, job_id)
    assert context.jobs.get(job_id) == before


@pytest.mark.parametrize(
    ("seconds", "amplitude", "words", "n_frames"),
    [(1.0, 0.0, "silent", 25), (1.0, 1.0, "clipped", 25), (0.02, 0.3, "shorter", 1)],
)
async def test_odd_sound_is_accepted_with_a_warning(
    client: httpx.AsyncClient,
    upload: Upload,
    context: ControlContext,
    hands: Hands,
    tmp_path: Path,
    seconds: float,
    amplitude: float,
    words: str,
    n_frames: int,
) -> None:
    job_id = await submitted(client, {**upload, "audio": ("x", sound_file(tmp_path, seconds, amplitude))})
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["state"] == "succeeded"
    assert job["progress"]["frames_total"] == n_frames
    assert any(words in warning for warning in job["warnings"])


async def test_an_undecodable_body_is_an_input_error(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, tmp_path: Path
) -> None:
    whole = write_sound(tmp_path / "a.flac", "flac", "flac", "s16", tone(1.0)).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(whole) - 200, dtype=np.uint8).tobytes()
    job_id = await submitted(client, {**upload, "audio": ("x", whole[:200] + noise)})
    with pytest.raises(UnsupportedMedia):
        ingest_job(context, job_id)


async def test_too_long_once_decoded(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, tmp_path: Path
) -> None:
    job_id = await submitted(client, {**upload, "audio": ("x", sound_file(tmp_path, 2.0))})
    short = ControlContext(context.jobs, context.artifacts, context.records, max_audio_s=1.0, max_tries=5)
    with pytest.raises(AudioTooLong):
        ingest_job(short, job_id)


async def test_assemble_twice_gives_the_same_file(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    path = f"jobs/{job_id}/result.mp4"
    digest = hashlib.sha256(context.artifacts.read_bytes(path)).digest()
    assemble_job(context, job_id)
    assert hashlib.sha256(context.artifacts.read_bytes(path)).digest() == digest
    assert context.jobs.get(job_id).state is JobState.SUCCEEDED
    assert context.records.unfinished() == []
    end = context.records.read_end(job_id)
    assert end is not None
    assert (end["state"], end["n_frames"]) == ("succeeded", 75)


async def test_assemble_after_a_kill_before_the_end_only_ends(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work()
    context.artifacts.write(f"jobs/{job_id}/result.mp4", b"whole file of the attempt before")
    assemble_job(context, job_id)
    assert context.artifacts.read_bytes(f"jobs/{job_id}/result.mp4") == b"whole file of the attempt before"
    assert context.jobs.get(job_id).state is JobState.SUCCEEDED


async def test_the_last_window_sends_assemble(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, services: Services
) -> None:
    job_id = await submitted(client, upload)
    assert queued(services, INGEST) == [job_id]
    ingest_job(context, job_id)
    hands.work(Stage.PORTRAIT, Stage.ENCODE, Stage.MOTION, Stage.RENDER)
    assert queued(services, ASSEMBLE) == []
    hands.work()
    assert queued(services, ASSEMBLE) == [job_id]


async def test_slices_the_muxer_misses_are_drawn_again(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work(Stage.PORTRAIT, Stage.ENCODE, Stage.MOTION, Stage.RENDER)
    context.jobs.client.delete(f"th:{{0}}:job:{job_id}:slice:5", f"th:{{0}}:job:{job_id}:slice:65")
    hands.work()
    assert context.jobs.get(job_id).state is JobState.FINALIZING
    assemble_job(context, job_id)
    assert context.jobs.get(job_id).state is JobState.SUCCEEDED


async def test_segments_are_equal_when_muxed_twice(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands
) -> None:
    contents = []
    for _ in range(2):
        job_id = await submitted(client, upload, seed=1)
        ingest_job(context, job_id)
        hands.work()
        names = context.artifacts.names(f"jobs/{job_id}/segments")
        assert names == ["00000.mp4", "00001.mp4"]
        contents.append([context.artifacts.read_bytes(f"jobs/{job_id}/segments/{name}") for name in names])
    assert contents[0] == contents[1]


async def test_the_muxer_waits_for_a_full_store(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, hands: Hands, tmp_path: Path
) -> None:
    job_id = await submitted(client, upload)
    ingest_job(context, job_id)
    hands.work(Stage.PORTRAIT, Stage.ENCODE, Stage.MOTION, Stage.RENDER)
    in_the_way = tmp_path / "artifacts" / "jobs" / job_id / "segments"
    in_the_way.write_bytes(b"")
    with pytest.raises(ArtifactUnavailable):
        hands.work(Stage.MUX)
    assert context.jobs.get(job_id).state is JobState.RUNNING
    in_the_way.unlink()
    for stage, consumer in hands.consumers.items():
        for entry in consumer.own_pending(10):
            found, unit = entry.parse()
            task = hands.store.take(entry.stream, entry.entry_id, found, unit, consumer.name)
            assert task is not None, stage
            hands.do(task)
    hands.work()
    assert context.jobs.get(job_id).state is JobState.FINALIZING


async def test_reconcile_sends_overdue_tasks_again(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, services: Services
) -> None:
    job_id = await submitted(client, upload)
    services.jobs.client.delete("control")
    reconcile_shard(context, services.control, "0")
    assert queued(services, INGEST) == []
    services.jobs.client.hset(f"th:{{0}}:job:{job_id}", "task_at", time.time() - 60)
    reconcile_shard(context, services.control, "0")
    assert queued(services, INGEST) == [job_id]


async def test_a_job_that_redis_lost_is_started_again(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, services: Services, hands: Hands
) -> None:
    job_id = await submitted(client, upload, seed=11, head_motion=0.3)
    before = services.jobs.get(job_id)
    services.jobs.client.flushall()
    reconcile_marks(context, services.control)
    again = services.jobs.get(job_id)
    assert (again.state, again.options, again.created) == (JobState.QUEUED, before.options, before.created)
    assert queued(services, INGEST) == [job_id]
    ingest_job(context, job_id)
    hands.work()
    assemble_job(context, job_id)
    assert services.jobs.get(job_id).state is JobState.SUCCEEDED


async def test_an_ended_job_that_redis_lost_stays_ended(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, services: Services
) -> None:
    job_id = await submitted(client, upload)
    await client.delete(f"/v1/jobs/{job_id}")
    services.jobs.client.flushall()
    services.records.open(job_id)
    reconcile_marks(context, services.control)
    assert services.records.unfinished() == []
    assert queued(services, INGEST) == []


async def test_the_end_of_a_job_that_a_worker_failed_is_recorded(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, services: Services
) -> None:
    job_id = await submitted(client, upload)
    services.jobs.finish(job_id, JobState.FAILED, UnsupportedMedia("why"))
    reconcile_marks(context, services.control)
    end = services.records.read_end(job_id)
    assert end is not None
    assert end["state"] == "failed"
    assert end["error"]["message"] == "why"


async def test_a_mark_without_readable_manifest_is_closed(
    context: ControlContext, services: Services, client: httpx.AsyncClient
) -> None:
    for content in (None, b"{", b"[]", b"{}"):
        job_id = new_job_id("0", time.time())
        if content is not None:
            context.artifacts.write(f"jobs/{job_id}/manifest.json", content)
        context.records.open(job_id)
    reconcile_marks(context, services.control)
    assert context.records.unfinished() == []


async def test_expired_jobs_lose_their_files_but_not_their_end(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext, services: Services
) -> None:
    job_id = await submitted(client, upload)
    await client.delete(f"/v1/jobs/{job_id}")
    running = await submitted(client, upload)
    now = time.time()
    assert expire_jobs(context, 100.0, lambda: now + 90) == 0
    assert expire_jobs(context, 100.0, lambda: now + 110) == 1
    assert context.artifacts.names(f"jobs/{job_id}") == ["end.json"]
    assert expire_jobs(context, 100.0, lambda: now + 120) == 0
    assert len(context.artifacts.names(f"jobs/{running}")) == 3
    services.jobs.client.flushall()
    assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 410
    assert expire_jobs(context, 100.0, lambda: now + 2000) == 1
    assert context.artifacts.names(f"jobs/{job_id}") == []
    assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 404


async def test_orphaned_uploads_are_deleted(context: ControlContext, client: httpx.AsyncClient) -> None:
    job_id = new_job_id("0", time.time() - 1000)
    context.artifacts.write(f"jobs/{job_id}/portrait.jpg", b"x")
    assert expire_jobs(context, 100.0) == 1
    assert context.artifacts.names(f"jobs/{job_id}") == []


def test_crashes_are_counted_errors_are_not(tmp_path: Path) -> None:
    records = Records(open_store(str(tmp_path)))

    def raise_inside() -> None:
        with records.attempt("0-A", "ingest", 2):
            raise ValueError("seen by Python")

    for _ in range(3):
        with pytest.raises(ValueError, match="seen"):
            raise_inside()
    # What a killed process leaves behind.
    records.artifacts.write("jobs/0-A/ingest.tries", b"2")
    with pytest.raises(JobCrashes, match="2 times"):
        raise_inside()


def test_the_first_end_counts(tmp_path: Path) -> None:
    records = Records(open_store(str(tmp_path)))
    records.open("0-A")
    records.close("0-A", JobState.FAILED, {"error": None})
    records.close("0-A", JobState.SUCCEEDED, {})
    end = records.read_end("0-A")
    assert end is not None
    assert end["state"] == "failed"


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    records = Records(open_store(str(tmp_path)))
    manifest = Manifest("0-A", 1.5, "embedded", JobOptions(seed=2**63 - 1, output="full"), "portrait.png", "audio.ogg")
    records.write_manifest(manifest)
    assert records.read_manifest("0-A") == manifest
    with pytest.raises(ArtifactMissing):
        records.read_manifest("0-B")


async def test_close_record_leaves_unfinished_jobs_open(
    client: httpx.AsyncClient, upload: Upload, context: ControlContext
) -> None:
    job_id = await submitted(client, upload)
    close_record(context, job_id)
    assert context.records.unfinished() == [job_id]


def test_a_broker_that_is_away_is_no_error() -> None:
    control = Control.connect("redis://127.0.0.1:1/0")
    assert control.send(INGEST, "0-A") is False
    control.close()


def test_celery_is_set_up_for_kills() -> None:
    conf = make_celery("redis://127.0.0.1:1/0").conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_transport_options["socket_timeout"] > 5
    tasks = make_app(ControlSettings(redis_url="redis://127.0.0.1:1/0"))
    assert set(tasks.conf.beat_schedule) == {"reconcile", "expire"}
    assert {"ingest", "assemble", "expire", "reconcile"} <= set(tasks.tasks)


def test_unix_sockets_are_spelled_for_kombu() -> None:
    assert kombu_url("unix:///run/redis.sock?db=2") == "redis+socket:///run/redis.sock?virtual_host=2"
    assert kombu_url("unix:///run/redis.sock") == "redis+socket:///run/redis.sock"
    assert kombu_url("redis://h:1/0") == "redis://h:1/0"
