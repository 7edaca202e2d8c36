"""Redis connections with timeouts that fit what is asked of them.

A socket timeout below the time a command blocks makes an idle reader look like a broken connection, so every client
that blocks gets a timeout above its block time. Replies are bytes everywhere.
"""

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 10.0
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
RETRIES = 5

# What a dead, restarting, loading or overloaded server looks like; everything else is an error of ours.
AWAY: tuple[type[RedisError], ...] = (ConnectionError, TimeoutError, BusyLoadingError)


def connect(
    url: str, block_s: float = 0.0, retries: int = RETRIES, answer_timeout_s: float = ANSWER_TIMEOUT_S
) -> "Redis":
    """A client for threads; connects with the first command.

    Args:
        url: redis://host:port/db, rediss:// or unix:///path?db=0.
        block_s: the longest a command may block.
        retries: attempts after a lost connection, about 2 s in all. Every script is idempotent, so repeating is safe.
        answer_timeout_s: how long a server that hangs is waited for, per attempt; short where a person waits.
    """
    return Redis.from_url(
        url,
        socket_timeout=answer_timeout_s + block_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=LONGEST_WAIT_S, base=FIRST_WAIT_S), retries),
    )


def connect_async(url: str, block_s: float = 0.0, retries: int = RETRIES) -> "AsyncRedis":
    """The same for one event loop."""
    client: AsyncRedis = AsyncRedis.from_url(
        url,
        socket_timeout=ANSWER_TIMEOUT_S + block_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=AsyncRetry(ExponentialBackoff(cap=LONGEST_WAIT_S, base=FIRST_WAIT_S), retries),
    )
    return client
