"""Connections whose timeouts fit what is asked of them."""

import time

import pytest
from redis import Redis

from shared.protocol import GROUP
from shared.redis_client import AWAY, connect, connect_async


@pytest.mark.parametrize("block_s", [0.0, 1.0, 30.0])
def test_no_client_times_out_while_it_blocks(block_s: float) -> None:
    for client in (connect("redis://127.0.0.1:1/0", block_s), connect_async("redis://127.0.0.1:1/0", block_s)):
        assert client.get_connection_kwargs()["socket_timeout"] > block_s + 1.0


def test_a_server_that_is_not_there_is_told_within_seconds() -> None:
    started = time.monotonic()
    with connect("redis://127.0.0.1:1/0", retries=2) as client, pytest.raises(AWAY):
        client.ping()
    assert time.monotonic() - started < 10.0


@pytest.mark.redis
def test_blocking_longer_than_other_answers_take_is_no_error(redis_url: str) -> None:
    with connect(redis_url, block_s=1.5, retries=0, answer_timeout_s=0.5) as client:
        client.xgroup_create("stream", GROUP, id="0", mkstream=True)
        assert client.xreadgroup(GROUP, "a", {"stream": ">"}, block=1_500) == []
        assert isinstance(client, Redis)
