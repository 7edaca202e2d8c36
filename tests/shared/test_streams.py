"""Reading work: groups, preference, claims, undecodable entries."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.errors import BadMessage, VersionMismatch
from shared.protocol import GROUP, OLDEST_VERSION, VERSION, Stage, Unit, stream_key
from shared.redis_client import connect
from shared.streams import Backlog, Consumer, Entry, backlog

pytestmark = pytest.mark.redis

PORTRAIT = stream_key("0", Stage.PORTRAIT, "embedded")
RENDER = stream_key("0", Stage.RENDER, "embedded")
STREAMS = {Stage.PORTRAIT: PORTRAIT, Stage.RENDER: RENDER}


def add(client: "Redis", stream: str, unit: str) -> str:
    return str(client.xadd(stream, {"v": "1", "job": "0-a", "unit": unit}).decode())  # type: ignore[union-attr]


@pytest.fixture
def client(any_redis_url: str) -> Iterator["Redis"]:
    with connect(any_redis_url, block_s=1.0) as made:
        yield made


def test_nothing_queued_before_the_group_is_skipped(client: "Redis") -> None:
    entry_id = add(client, RENDER, "render:0")
    found = Consumer(client, STREAMS, "a").read(10, 0.05)
    assert [[entry.entry_id for entry in batch] for batch in found] == [[entry_id]]
    assert found[0][0].parse() == ("0-a", Unit(Stage.RENDER, 0))


def test_groups_are_made_again_after_redis_lost_them(client: "Redis") -> None:
    consumer = Consumer(client, STREAMS, "a")
    consumer.ensure_groups()
    consumer.ensure_groups()
    client.flushall()
    assert consumer.read(10, 0.01) == []
    client.delete(RENDER)
    add(client, RENDER, "render:5")
    assert len(consumer.read(10, 0.05)[0]) == 1
    client.flushall()
    assert consumer.claim(0.0) == []


def test_portraits_come_first_and_stages_apart(client: "Redis") -> None:
    consumer = Consumer(client, STREAMS, "a")
    consumer.ensure_groups()
    for frame in range(3):
        add(client, RENDER, f"render:{frame}")
    add(client, PORTRAIT, "portrait")
    batches = [consumer.read(2, 0.05) for _ in range(3)]
    assert [[entry.stage for entry in batch] for read in batches for batch in read] == [
        [Stage.PORTRAIT],
        [Stage.RENDER, Stage.RENDER],
        [Stage.RENDER],
    ]


def test_entries_of_a_silent_consumer_are_claimed_even_behind_fresh_ones(client: "Redis") -> None:
    dead, busy, heir = (Consumer(client, STREAMS, name) for name in ("dead", "busy", "heir"))
    ids = [add(client, RENDER, f"render:{frame}") for frame in range(40)]
    busy.read(39, 0.05)
    dead.read(10, 0.05)
    client.xclaim(RENDER, GROUP, "dead", 0, [ids[-1]], idle=60_000, justid=True)
    claimed = heir.claim(30.0)
    assert [(entry.entry_id, entry.is_redelivered) for entry in claimed] == [(ids[-1], True)]
    assert heir.claim(30.0) == []


def test_a_lost_reply_is_found_again(client: "Redis") -> None:
    consumer = Consumer(client, STREAMS, "a")
    entry_id = add(client, RENDER, "render:0")
    client.xgroup_create(RENDER, GROUP, id="0")
    client.xreadgroup(GROUP, "a", {RENDER: ">"})
    assert [entry.entry_id for entry in consumer.own_pending(10)] == [entry_id]


@pytest.mark.parametrize("version", range(OLDEST_VERSION, VERSION + 1))
def test_entries_of_older_versions_are_still_read(version: int) -> None:
    fields = {b"v": str(version).encode(), b"job": b"0-a", b"unit": b"render:0"}
    assert Entry(RENDER, "1-0", Stage.RENDER, fields).parse() == ("0-a", Unit(Stage.RENDER, 0))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, BadMessage),
        ({b"v": b"1", b"job": b"0-a"}, BadMessage),
        ({b"v": b"x", b"job": b"0-a", b"unit": b"render:0"}, BadMessage),
        ({b"v": b"1", b"job": b"\xff", b"unit": b"render:0"}, BadMessage),
        ({b"v": b"1", b"job": b"0-a", b"unit": b"render"}, BadMessage),
        ({b"v": b"1", b"job": b"noshard", b"unit": b"render:0"}, BadMessage),
        ({b"v": b"1", b"job": b"0-a", b"unit": b"encode:0"}, BadMessage),
        ({b"v": b"0", b"job": b"0-a", b"unit": b"render:0"}, VersionMismatch),
        ({b"v": b"3", b"job": b"0-a", b"unit": b"render:0"}, VersionMismatch),
    ],
)
def test_undecodable_entries_have_an_error_of_their_own(fields: dict[bytes, bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        Entry(RENDER, "1-0", Stage.RENDER, fields).parse()


def test_backlog_counts_waiting_and_pending(client: "Redis") -> None:
    assert backlog(client, RENDER, 20.0) == Backlog()
    for second in (10, 11, 14):
        client.xadd(RENDER, {"v": "1", "job": "0-a", "unit": f"render:{second}"}, id=f"{second}000-0")
    assert backlog(client, RENDER, 20.0) == Backlog(n_waiting=3, oldest_waiting_s=10.0)
    consumer = Consumer(client, STREAMS, "a")
    consumer.read(1, 0.05)
    assert backlog(client, RENDER, 20.0) == Backlog(2, 1, oldest_waiting_s=9.0, oldest_pending_s=10.0)
    consumer.read(2, 0.05)
    client.xack(RENDER, GROUP, "10000-0")
    client.xdel(RENDER, "10000-0")
    assert backlog(client, RENDER, 20.0) == Backlog(n_pending=2, oldest_pending_s=9.0)


def test_an_entry_from_the_future_of_a_slow_clock_has_no_age(client: "Redis") -> None:
    client.xadd(RENDER, {"v": "1"}, id="30000-0")
    assert backlog(client, RENDER, 20.0) == Backlog(n_waiting=1)


def test_backlogs_of_two_shards_add_up() -> None:
    assert Backlog(1, 2, 3.0, 4.0) + Backlog(10, 20, 1.0, 9.0) == Backlog(11, 22, 3.0, 9.0)
