"""`talkinghead dead-letters`: what was given up and why, one JSON object a line; and deleting what was read.

``python -m gateway.cli.dead_letters`` is the same where only the gateway's packages are installed: in its container.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from redis.exceptions import RedisError

from shared.errors import RedisUnavailable, TalkingHeadError
from shared.jobs import JobStore
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--delete", action="store_true", help="delete them once they are printed")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> None:
    """Print all, and delete what was printed if that is wanted."""
    store = JobStore.from_settings(Settings())
    try:
        _tell(store, parsed.delete)
    except RedisError as error:
        raise RedisUnavailable(f"Redis does not answer: {error}. Is it running, is TH_REDIS_URL right?") from error


def _tell(store: JobStore, is_deleting: object) -> None:
    for shard, letter_id, facts in store.dead_letters():
        at = datetime.fromtimestamp(int(letter_id.partition("-")[0]) / 1000, UTC)
        print(json.dumps({"at": at.isoformat(timespec="seconds"), **facts}, ensure_ascii=False), flush=True)
        if is_deleting:
            store.delete_dead_letter(shard, letter_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command on its own; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dead_letters", description="What was given up, and why.")
    add_arguments(parser)
    try:
        run(parser.parse_args(arguments))
    except TalkingHeadError as error:
        print(f"dead_letters: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
