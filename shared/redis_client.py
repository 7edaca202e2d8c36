"""Redis connections with timeouts that fit what is asked of them.

A socket timeout below the time a command blocks makes an idle reader look like a broken connection, so every client
that blocks gets a timeout above its block time. Replies are bytes everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis import ConnectionPool, Redis
from redis.asyncio import ConnectionPool as AsyncConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

from shared.errors import BadMessage
from shared.protocol import WORKERS
from shared.redis_cluster import AsyncOwnerConnection, Owner, OwnerConnection, is_cluster, parse_cluster_url

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 10.0
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
RETRIES = 5

# What a dead, restarting, loading or overloaded server looks like; everything else is an error of ours.
AWAY: tuple[type[RedisError], ...] = (ConnectionError, TimeoutError, BusyLoadingError)


Client = TypeVar("Client", Redis, AsyncRedis)


@dataclass(frozen=True)
class Shards(Generic[Client]):
    """The clients of a process: one for a single server, one per shard for a cluster.

    Attributes:
        home: serves every shard of a single server; of a cluster, the first shard.
        by_tag: client of each tag of a cluster; empty for a single server.
    """

    home: Client
    by_tag: Mapping[str, Client]

    def of(self, tag: str) -> Client:
        """The client for keys with this tag.

        Raises:
            BadMessage: the cluster is used with other shards.
        """
        if not self.by_tag:
            return self.home
        try:
            return self.by_tag[tag]
        except KeyError as error:
            raise BadMessage(f"shard {tag!r}; expected one of TH_SHARDS, {sorted(self.by_tag)}") from error

    def every(self) -> list[Client]:
        """Each client once."""
        return list(self.by_tag.values()) or [self.home]


def connect_shards(
    url: str, tags: Sequence[str], retries: int = RETRIES, answer_timeout_s: float = ANSWER_TIMEOUT_S
) -> "Shards[Redis]":
    """Clients for all shards, for threads; see `connect`."""
    if not is_cluster(url):
        return Shards(connect(url, 0.0, retries, answer_timeout_s), {})
    made = {tag: connect(url, 0.0, retries, answer_timeout_s, tag) for tag in (*tags, WORKERS)}
    return Shards(made[tags[0]], made)


def connect_shards_async(url: str, tags: Sequence[str], block_s: float = 0.0) -> "Shards[AsyncRedis]":
    """The same for one event loop."""
    if not is_cluster(url):
        return Shards(connect_async(url, block_s), {})
    made = {tag: connect_async(url, block_s, shard=tag) for tag in (*tags, WORKERS)}
    return Shards(made[tags[0]], made)


def connect(
    url: str,
    block_s: float = 0.0,
    retries: int = RETRIES,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
    shard: str = "0",
) -> "Redis":
    """A client for threads; connects with the first command.

    Args:
        url: redis://host:port/db, rediss://, unix:///path?db=0, or redis+cluster://host:port,host:port.
        block_s: the longest a command may block.
        retries: attempts after a lost connection, about 2 s in all. Every script is idempotent, so repeating is safe.
        answer_timeout_s: how long a server that hangs is waited for, per attempt; short where a person waits.
        shard: of a cluster: the tag whose keys the client is for.
    """
    options: dict[str, Any] = {
        "socket_timeout": answer_timeout_s + block_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(ExponentialBackoff(cap=LONGEST_WAIT_S, base=FIRST_WAIT_S), retries),
    }
    if not is_cluster(url):
        return Redis.from_url(url, **options)
    cluster = parse_cluster_url(url)
    owner = Owner(cluster, shard)
    pool: Any = ConnectionPool(connection_class=OwnerConnection, owner=owner, **cluster.login, **options)
    return Redis.from_pool(pool)


def connect_async(url: str, block_s: float = 0.0, retries: int = RETRIES, shard: str = "0") -> "AsyncRedis":
    """The same for one event loop."""
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_TIMEOUT_S + block_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": AsyncRetry(ExponentialBackoff(cap=LONGEST_WAIT_S, base=FIRST_WAIT_S), retries),
    }
    if not is_cluster(url):
        plain: AsyncRedis = AsyncRedis.from_url(url, **options)
        return plain
    cluster = parse_cluster_url(url)
    owner = Owner(cluster, shard)
    pool: Any = AsyncConnectionPool(connection_class=AsyncOwnerConnection, owner=owner, **cluster.login, **options)
    return AsyncRedis.from_pool(pool)
