"""A shard's client goes where the shard's slot is, and follows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.commits import WorkStore
from shared.errors import BadMessage, ConfigurationError
from shared.jobs import JobStore
from shared.protocol import JobState, heartbeat_key, shard_of
from shared.redis_access import require_access
from shared.redis_client import AWAY, connect, connect_async, connect_shards, connect_shards_async
from shared.redis_cluster import is_cluster, parse_cluster_url
from shared.settings import Settings
from tests.fakes import Crew, expected_frames, segment_bytes, submit
from tests.polling import eventually
from tests.redis_cluster import BUS_OFFSET, ClusterServers, ask, running_cluster
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

TAGS = ("0.1", "1.0", "2.0")  # one on each of three nodes


@pytest.fixture(scope="module")
def cluster(redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    with running_cluster(redis_binary, tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_urls_are_read() -> None:
    assert is_cluster("redis+cluster://a:1")
    assert not is_cluster("redis://a:1/0")
    url = parse_cluster_url("redis+cluster://me:p%40ss@a:7001,b,[::1]:7003")
    assert url.starts == (("a", 7001), ("b", 6379), ("::1", 7003))
    assert url.login == {"username": "me", "password": "p@ss"}


@pytest.mark.parametrize("url", ["redis+cluster://", "redis+cluster://a:x", "redis+cluster://a:1,,b:2"])
def test_wrong_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected redis\+cluster://HOST:PORT,HOST:PORT"):
        parse_cluster_url(url)


def test_celery_needs_a_redis_of_its_own() -> None:
    with pytest.raises(ConfigurationError, match="TH_CELERY_BROKER_URL"):
        _ = Settings(redis_url="redis+cluster://a:1").broker_url
    assert Settings(redis_url="redis+cluster://a:1", celery_broker_url="redis://b:1/0").broker_url == "redis://b:1/0"


def test_a_cluster_that_is_away_is_away_like_a_server() -> None:
    with connect("redis+cluster://127.0.0.1:1,127.0.0.1:2", retries=0) as client, pytest.raises(AWAY) as seen:
        client.ping()
    assert "shard 0" in str(seen.value)
    assert "127.0.0.1:2" in str(seen.value)


def test_a_single_server_is_no_cluster(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"is a single Redis: write {redis_url}"):
        require_access(redis_url.replace("redis://", "redis+cluster://").removesuffix("/0"))


def test_a_refused_password_is_not_taken_for_a_cluster_that_is_away(redis_binary: str, tmp_path: Path) -> None:
    server = RedisServer(redis_binary, tmp_path, {"cluster-enabled": "yes", "requirepass": "right"})
    while server.port + BUS_OFFSET > 65_535:
        server = RedisServer(redis_binary, tmp_path, server.options)
    address = f"127.0.0.1:{server.port}"
    server.url = f"redis://:right@{address}/0"
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="TH_REDIS_PASSWORD_FILE"):
            require_access(f"redis+cluster://:wrong@{address}")
        ask(server, "CLUSTER ADDSLOTS", *range(16_384))
        eventually(lambda: require_access(f"redis+cluster://:right@{address}"))
    finally:
        server.kill()


def test_every_shard_is_served_by_its_own_node(cluster: ClusterServers) -> None:
    shards = connect_shards(cluster.url, TAGS)
    ports = [str(shards.of(tag).config_get("port")["port"]) for tag in TAGS]
    assert sorted(ports) == sorted(str(node.port) for node in cluster.masters)
    assert [shards.of(tag).set(f"th:{{{tag}}}:x", tag) for tag in TAGS] == [True, True, True]
    with pytest.raises(BadMessage, match="expected one of TH_SHARDS"):
        shards.of("9")
    for client in shards.every():
        client.close()


def test_a_client_follows_its_slot(cluster: ClusterServers) -> None:
    tag = "wandering"
    with connect(cluster.url, shard=tag) as client:
        client.set(f"th:{{{tag}}}:x", "1", px=1)
        eventually(lambda: not client.exists(f"th:{{{tag}}}:x"))
        before = cluster.owner_of(tag)
        cluster.move(tag, next(node for node in cluster.masters if node is not before))
        assert cluster.owner_of(tag) is not before
        assert client.set(f"th:{{{tag}}}:y", "2")
        pipe = client.pipeline(transaction=True)
        pipe.get(f"th:{{{tag}}}:y")
        assert pipe.execute() == [b"2"]
        client.delete(f"th:{{{tag}}}:y")
        cluster.move(tag, before)
        pipe.set(f"th:{{{tag}}}:z", "3").get(f"th:{{{tag}}}:z")
        assert pipe.execute() == [True, b"3"]
        assert client.evalsha(client.script_load("return redis.call('get', KEYS[1])"), 1, f"th:{{{tag}}}:z") == b"3"


async def test_an_asynchronous_client_follows_its_slot(cluster: ClusterServers) -> None:
    tag = "roaming"
    client = connect_async(cluster.url, shard=tag)
    assert await client.set(f"th:{{{tag}}}:x", "1")
    await client.delete(f"th:{{{tag}}}:x")
    before = cluster.owner_of(tag)
    cluster.move(tag, next(node for node in cluster.masters if node is not before))
    assert await client.set(f"th:{{{tag}}}:y", "2")
    assert await client.get(f"th:{{{tag}}}:y") == b"2"
    await client.aclose()
    shards = connect_shards_async(cluster.url, TAGS)
    assert [await shards.of(tag).ping() for tag in TAGS] == [True] * 3
    for each in shards.every():
        await each.aclose()


def test_jobs_of_all_shards_are_done_and_listed(cluster: ClusterServers, tmp_path: Path) -> None:
    store = JobStore(cluster.url, shards=TAGS)
    jobs = [submit(store, f"j{i}", 140, seed=i, created=float(i + 1), shard=tag) for i, tag in enumerate(TAGS)]
    with Crew(cluster.url, tmp_path, shards=",".join(TAGS)) as crew:
        eventually(lambda: all(store.get(job_id).state is JobState.FINALIZING for job_id in jobs), 30.0)
        assert len(store.live_workers()) == 4
    assert crew.exit_statuses == [0] * 4
    for seed, job_id in enumerate(jobs):
        assert segment_bytes(tmp_path, job_id) == b"".join(expected_frames(job_id, seed, 140))
    assert [record.id for record in store.list()] == jobs[::-1]
    assert store.missing([*jobs, "1.0-none"]) == ["1.0-none"]
    assert store.unfinished()["control"] == 3
    assert all(backlog.n_pending == 0 for backlog in store.backlogs("embedded").values())
    assert store.memory_ratio() == 0.0
    assert [follow_up.job_id for tag in TAGS for follow_up in store.reconcile(tag)] == []
    for job_id in jobs:
        assert store.finish(job_id, JobState.SUCCEEDED)
        assert shard_of(job_id) in TAGS
    store.close()


def test_heartbeats_share_a_slot() -> None:
    keys = [heartbeat_key(kind, "embedded", "x") for kind in ("renderer", "muxer")]
    assert [key.partition("}")[0] for key in keys] == ["th:{worker"] * 2


@pytest.mark.slow
def test_jobs_outlive_the_node_of_their_shard(redis_binary: str, tmp_path: Path) -> None:
    """Its replica takes over: what it had not received yet is an earlier consistent state, which work goes on from."""
    with running_cluster(redis_binary, tmp_path / "cluster", n_replicas=3) as cluster:
        store = JobStore(cluster.url, shards=TAGS)
        jobs = [submit(store, f"j{i}", 2_600, seed=i, created=float(i + 1), shard=tag) for i, tag in enumerate(TAGS)]
        with Crew(cluster.url, tmp_path, shards=",".join(TAGS)) as crew:
            eventually(lambda: all(store.get(job_id).muxed_frames > 0 for job_id in jobs), 30.0)
            lost = cluster.owner_of(TAGS[1])
            assert store.get(jobs[1]).state is JobState.RUNNING
            assert _replicated(cluster.url, TAGS[1])
            lost.kill()
            eventually(lambda: all(_is_done(store, job_id) for job_id in jobs), 120.0)
            assert cluster.owner_of(TAGS[1]) in cluster.replicas
        assert crew.exit_statuses == [0] * 4
        for seed, job_id in enumerate(jobs):
            assert segment_bytes(tmp_path, job_id) == b"".join(expected_frames(job_id, seed, 2_600))
        store.close()


def _replicated(url: str, tag: str) -> bool:
    """True once a replica has what was written up to now: replication keeps the order of writes."""
    with connect(url, shard=tag) as client, client.pipeline(transaction=False) as same_connection:
        same_connection.set(f"th:{{{tag}}}:barrier", "1", ex=60)
        same_connection.wait(1, 10_000)
        return bool(same_connection.execute()[1] == 1)


def _is_done(store: JobStore, job_id: str) -> bool:
    try:
        store.reconcile(shard_of(job_id))
        return store.get(job_id).state is JobState.FINALIZING
    except AWAY:
        return False


def test_a_store_of_one_server_serves_any_shard(redis_url: str) -> None:
    store = WorkStore(redis_url)
    assert store.clients.of("0") is store.clients.of("any") is store.client
    store.close()
