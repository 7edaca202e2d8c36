"""Reading work from Redis Streams: groups, batches, entries of dead workers, numbers for metrics.

Knows entries and consumers, not jobs. An entry says only which unit of which job is to be done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from shared.errors import BadMessage, VersionMismatch
from shared.protocol import GROUP, OLDEST_VERSION, VERSION, Stage, Unit, shard_of

CLAIM_SCAN_ENTRIES = 1


@dataclass(frozen=True)
class Entry:
    """An entry delivered to this consumer.

    Attributes:
        stream: where it was read.
        entry_id: its id.
        stage: what the stream is for.
        fields: as they came.
        is_redelivered: somebody else had it before, or we lost it.
    """

    stream: str
    entry_id: str
    stage: Stage
    fields: dict[bytes, bytes]
    is_redelivered: bool = False

    @property
    def queued_at_s(self) -> float:
        """Unix time in seconds at which it was issued."""
        return issued_at_s(self.entry_id.encode())

    def parse(self) -> tuple[str, Unit]:
        """The job and the unit.

        Raises:
            VersionMismatch: a newer producer wrote it.
            BadMessage: undecodable.
        """
        try:
            version = int(self.fields[b"v"])
            if not OLDEST_VERSION <= version <= VERSION:
                raise VersionMismatch(
                    f"entry {self.entry_id} of version {version}; this worker knows {OLDEST_VERSION} to {VERSION}"
                )
            job_id, unit = self.fields[b"job"].decode(), Unit.parse(self.fields[b"unit"].decode())
        except (KeyError, ValueError) as error:
            raise BadMessage(f"entry {self.entry_id} of {self.stream} with fields {self.fields!r}: {error}") from error
        shard_of(job_id)
        if unit.stage is not self.stage:
            raise BadMessage(f"entry {self.entry_id} asks for {unit} in the stream of {self.stage}")
        return job_id, unit


class Consumer:
    """One consumer of the streams of one shard.

    Args:
        client: with a socket timeout above the block time.
        streams: stream of each stage; the first is preferred.
        name: consumer name.
    """

    def __init__(self, client: "Redis", streams: dict[Stage, str], name: str) -> None:
        self._client: Any = client
        self.streams = streams
        self.name = name
        self._stage_of = {stream: stage for stage, stream in streams.items()}

    def ensure_groups(self) -> None:
        """Create streams and groups that are missing; groups begin at the first entry, so that nothing is skipped."""
        for stream in self._stage_of:
            try:
                self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read(self, count: int, block_s: float) -> list[list[Entry]]:
        """New entries: batches of one stage each, the preferred stage first.

        Args:
            count: at most so many per stage.
            block_s: wait at most so long; 0.0: do not wait.
        """
        preferred = next(iter(self._stage_of))
        if len(self._stage_of) > 1:
            batches = self._read([preferred], ">", count, 0.0)
            if batches:
                return batches
        return self._read(list(self._stage_of), ">", count, block_s)

    def own_pending(self, count: int) -> list[Entry]:
        """Entries that were delivered to this consumer already, from the oldest: a reply may have been lost."""
        found = self._read(list(self._stage_of), "0", count, 0.0)
        return [_again(entry) for batch in found for entry in batch]

    def claim(self, min_idle_s: float) -> list[Entry]:
        """Take over one entry per stage that its consumer has not renewed for so long."""
        claimed = []
        for stream in self._stage_of:
            claimed += [_again(entry) for entry in self._claim(stream, min_idle_s)]
        return claimed

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _claim(self, stream: str, min_idle_s: float) -> list[Entry]:
        cursor: Any = "0-0"
        while True:
            # Redis 6.2 answers with two elements, 7 with three: the third (deleted entries) is not needed.
            reply = self._with_group(
                self._client.xautoclaim,
                stream,
                GROUP,
                self.name,
                int(min_idle_s * 1000),
                start_id=cursor,
                count=CLAIM_SCAN_ENTRIES,
            )
            cursor, entries = reply[0], reply[1]
            found = [self._entry(stream, entry_id, fields) for entry_id, fields in entries if entry_id and fields]
            if found or cursor in (b"0-0", "0-0"):
                return found

    def _read(self, streams: Sequence[str], position: str, count: int, block_s: float) -> list[list[Entry]]:
        reply = self._with_group(
            self._client.xreadgroup,
            GROUP,
            self.name,
            dict.fromkeys(streams, position),
            count=count,
            block=max(1, int(block_s * 1000)) if block_s else None,
        )
        found = {
            stream.decode(): [self._entry(stream.decode(), entry_id, fields) for entry_id, fields in entries if fields]
            for stream, entries in reply or []
        }
        return [found[stream] for stream in self._stage_of if found.get(stream)]

    def _with_group(self, command: Any, *args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        self.ensure_groups()
        return command(*args, **options)

    def _entry(self, stream: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
        return Entry(stream, entry_id.decode(), self._stage_of[stream], fields)


@dataclass(frozen=True)
class Backlog:
    """What a stream holds.

    Attributes:
        n_waiting: entries not yet delivered.
        n_pending: entries delivered and not acknowledged.
        oldest_waiting_s: age of the oldest entry not yet delivered; 0.0 when there is none.
        oldest_pending_s: the same of those delivered and not acknowledged.
    """

    n_waiting: int = 0
    n_pending: int = 0
    oldest_waiting_s: float = 0.0
    oldest_pending_s: float = 0.0

    def __add__(self, other: "Backlog") -> "Backlog":
        """Two streams together: counts add up, the older entry counts."""
        return Backlog(
            self.n_waiting + other.n_waiting,
            self.n_pending + other.n_pending,
            max(self.oldest_waiting_s, other.oldest_waiting_s),
            max(self.oldest_pending_s, other.oldest_pending_s),
        )


def backlog(client: "Redis", stream: str, now_s: float) -> Backlog:
    """Measure one stream.

    Acknowledged entries are deleted, so what waits is what the stream holds beyond the pending entries; Redis 6.2 does
    not know a group's lag.

    Args:
        client: of the node that holds the stream.
        stream: its key.
        now_s: Unix time by the clock of Redis, which also stamps entries.
    """
    plain: Any = client
    try:
        pending = plain.xpending(stream, GROUP)
        delivered = {group["name"]: group["last-delivered-id"] for group in plain.xinfo_groups(stream)}[GROUP.encode()]
    except (ResponseError, KeyError):
        # Nobody has read yet: the first worker makes the group.
        pending, delivered = {"pending": 0, "min": None}, b"0-0"
    waiting = plain.xrange(stream, min=b"(" + delivered, count=1)
    return Backlog(
        max(0, int(plain.xlen(stream)) - int(pending["pending"])),
        int(pending["pending"]),
        max(0.0, now_s - issued_at_s(waiting[0][0])) if waiting else 0.0,
        max(0.0, now_s - issued_at_s(pending["min"])) if pending["min"] else 0.0,
    )


def issued_at_s(entry_id: bytes) -> float:
    """Unix time in seconds that an entry id carries."""
    return int(entry_id.partition(b"-")[0]) / 1000


def _again(entry: Entry) -> Entry:
    return Entry(entry.stream, entry.entry_id, entry.stage, entry.fields, is_redelivered=True)
