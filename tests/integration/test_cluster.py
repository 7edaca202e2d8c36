"""Whole jobs on a Redis Cluster of three nodes, one shard on each; Celery on a plain Redis beside it."""

from pathlib import Path

import pytest

from shared.protocol import shard_of
from tests.integration.conftest import SEED, Run
from tests.integration.stack import SPEECH, running_stack
from tests.integration.video import facts, frame_hashes
from tests.integration.viewer import Viewer
from tests.redis_cluster import ask, running_cluster

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

TAGS = "0.1,1.0,2.0"
MOST_JOBS = 12  # all of one shard: once in 3 ** 11 runs


def test_whole_jobs_on_a_cluster(reference: Run, redis_binary: str, redis_url: str, tmp_path: Path) -> None:
    with running_cluster(redis_binary, tmp_path / "cluster") as cluster:
        environment = {"TH_REDIS_URL": cluster.url, "TH_CELERY_BROKER_URL": redis_url, "TH_SHARDS": TAGS}
        with running_stack(tmp_path / "stack", environment) as stack:
            watched = stack.submit(SPEECH, seed=SEED)
            with Viewer(stack.url, watched) as viewer:
                others: list[str] = []
                while len({shard_of(job_id) for job_id in [watched, *others]}) < 2 and len(others) < MOST_JOBS:
                    others.append(stack.submit(seed=SEED))
                end = viewer.wait_end()
            jobs = [stack.wait_final(job_id) for job_id in [watched, *others]]
            videos = [stack.video(job["id"]) for job in jobs]
            listed = {job["id"] for job in stack.http.get("/v1/jobs").json()["jobs"]}
        used = {cluster.owner_of(shard_of(job["id"])).port for job in jobs}
        sizes = {node.port: ask(node, "DBSIZE") for node in cluster.nodes}
    assert end.name == "job.done"
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert len(used) > 1
    assert all(sizes[port] > 0 for port in used)
    assert listed == {job["id"] for job in jobs}
    assert viewer.hashes == reference.viewer.hashes
    assert frame_hashes(videos[0]) == reference.mp4_hashes
    assert [facts(video).n_frames for video in videos] == [job["progress"]["frames_total"] for job in jobs]
