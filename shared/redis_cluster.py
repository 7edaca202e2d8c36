"""Redis Cluster, one shard at a time: connections that lead to whichever node owns the shard's slot.

All keys of a shard share a slot, so a shard is served by a plain client; only where it connects to is asked of the
cluster, anew for every connection. An answer that says "not here (any more)" closes the connection like a broken one:
the client's retry then opens one to the present owner. redis-py does the same for Sentinel. Its own cluster client
would ask the server for the keys of every blocking read, and has errors that are no `RedisError`.

Not supported: TLS, and addresses that differ inside and outside of the cluster's network. While a slot is being
migrated key by key its shard waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.asyncio import Connection as AsyncConnection
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry

from shared.errors import ConfigurationError

SCHEME = "redis+cluster"
ASK_TIMEOUT_S = 3.0
DEFAULT_PORT = 6379
# MOVED and ASK, a cluster without majority, a migration in progress, a master that became a replica.
ELSEWHERE = (AskError, ClusterDownError, TryAgainError, ReadOnlyError)


@dataclass(frozen=True)
class ClusterUrl:
    """Where to ask for the layout of a cluster.

    Attributes:
        starts: host and port of some nodes; the others are learned.
        login: username and password, those that are given.
    """

    starts: tuple[tuple[str, int], ...]
    login: Mapping[str, Any]


def is_cluster(url: str) -> bool:
    """True for the URL of a cluster."""
    return urlsplit(url).scheme == SCHEME


def parse_cluster_url(url: str) -> ClusterUrl:
    """Read redis+cluster://user:password@host:port,host:port.

    Raises:
        ConfigurationError: no such URL.
    """
    user, _, places = urlsplit(url).netloc.rpartition("@")
    name, _, password = user.partition(":")
    login = {"username": unquote(name), "password": unquote(password)}
    try:
        starts = tuple(_address(place) for place in places.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"TH_REDIS_URL {SCHEME}://{places}: {error}; expected {SCHEME}://HOST:PORT,HOST:PORT"
        ) from error
    return ClusterUrl(starts, {key: value for key, value in login.items() if value})


class Owner:
    """Finds the node that owns a shard; shared by the connections of a client.

    Args:
        url: of the cluster.
        shard: tag.
    """

    def __init__(self, url: ClusterUrl, shard: str) -> None:
        self._slot = key_slot(shard.encode())
        self._shard = shard
        self._login = dict(url.login)
        self._known = dict.fromkeys(url.starts)  # ordered; grows with what the cluster tells

    def find(self) -> tuple[str, int]:
        """Ask the nodes one after the other.

        Raises:
            ConnectionError: none answers, or nobody owns the slot.
            AuthenticationError: user or password are refused.
            ConfigurationError: there is a server, but no cluster.
        """
        reasons = []
        for host, port in list(self._known):
            try:
                with Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **self._options()) as node:
                    return self._owner(self._ask(node), host)
            except RedisError as error:
                reasons.append(_reason(error, host, port))
        raise self._nowhere(reasons)

    async def find_async(self) -> tuple[str, int]:
        """`find` for an event loop."""
        reasons = []
        for host, port in list(self._known):
            node: AsyncRedis = AsyncRedis(host=host, port=port, retry=AsyncRetry(NoBackoff(), 0), **self._options())
            try:
                return self._owner(await self._ask(node), host)
            except RedisError as error:
                reasons.append(_reason(error, host, port))
            finally:
                await node.aclose()
        raise self._nowhere(reasons)

    def _ask(self, node: Any) -> Any:
        return node.execute_command("CLUSTER SLOTS")

    def _options(self) -> dict[str, Any]:
        return {"socket_timeout": ASK_TIMEOUT_S, "socket_connect_timeout": ASK_TIMEOUT_S, **self._login}

    def _owner(self, ranges: list[Any], asked: str) -> tuple[str, int]:
        found = None
        for first, last, *nodes in ranges:
            # A node that does not know its own address says nothing: it is the one that was asked.
            addresses = [((node[0] or b"").decode() or asked, int(node[1])) for node in nodes]
            self._known.update(dict.fromkeys(addresses))
            if int(first) <= self._slot <= int(last):
                found = addresses[0]
        if found is None:
            raise ConnectionError(f"no node owns slot {self._slot}")
        return found

    def _nowhere(self, reasons: list[str]) -> ConnectionError:
        return ConnectionError(f"cannot find the owner of shard {self._shard} in the cluster: {'; '.join(reasons)}")


class OwnerConnection(Connection):
    """A connection to the owner of a shard."""

    def __init__(self, owner: Owner, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._owner = owner

    def _connect(self) -> Any:
        self.host, self.port = self._owner.find()
        return super()._connect()  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The reply; closes the connection when the shard is elsewhere."""
        try:
            return super().read_response(*args, **options)
        except ELSEWHERE as error:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise ConnectionError(f"{self.host}:{self.port} does not serve this shard: {error}") from error


class AsyncOwnerConnection(AsyncConnection):
    """`OwnerConnection` for an event loop."""

    def __init__(self, owner: Owner, **options: Any) -> None:
        super().__init__(**options)
        self._owner = owner

    async def _connect(self) -> None:
        self.host, self.port = await self._owner.find_async()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """The reply; closes the connection when the shard is elsewhere."""
        try:
            return await super().read_response(*args, **options)
        except ELSEWHERE as error:
            await self.disconnect()
            raise ConnectionError(f"{self.host}:{self.port} does not serve this shard: {error}") from error


def _reason(error: RedisError, host: str, port: int) -> str:
    """Why a node is of no help; raises what no other node would answer differently."""
    if isinstance(error, AuthenticationError):
        raise error
    if "cluster support disabled" in str(error):
        raise ConfigurationError(
            f"TH_REDIS_URL names a cluster, but {host}:{port} is a single Redis: write redis://{host}:{port}/0"
        ) from error
    return f"{host}:{port}: {error}"


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.strip().rpartition(":") if ":" in place else (place.strip(), "", "")
    if not host:
        raise ValueError(f"{place!r} names no host")
    return host.strip("[]"), int(port or DEFAULT_PORT)
