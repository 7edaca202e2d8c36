"""The Lua scripts of the data plane: assembled from ``shared/lua`` and called by name.

Every script is ``prelude.lua`` followed by its own file; the prelude documents the keys.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from shared.protocol import GROUP, VERSION, prefix
from shared.redis_client import Shards
from shared.settings import Settings

FOLDER = Path(__file__).with_name("lua")
PRELUDE = "prelude"


@dataclass(frozen=True)
class Limits:
    """Numbers the scripts go by; must be equal in every process.

    Attributes:
        max_running: running jobs per shard.
        window_budget: windows generated and not yet muxed, per job.
        encode_ahead: windows encoded ahead of the motion, per job.
        viewer_tail_frames: muxed frames kept for viewers.
        job_ttl_s: seconds an ended job is kept.
        max_tries: times work on a unit may begin.
        slice_ttl_s: seconds a drawn slice is kept while its job runs.
        ended_slice_ttl_s: seconds the last slices of an ended job are kept.
        appearance_ttl_s: seconds a prepared portrait is kept without use.
        max_events: events kept per job, about.
        max_dead: dead letters kept per shard, about.
    """

    max_running: int = 4
    window_budget: int = 4
    encode_ahead: int = 2
    viewer_tail_frames: int = 250
    job_ttl_s: int = 86_400
    max_tries: int = 5
    slice_ttl_s: int = 3_600
    ended_slice_ttl_s: int = 600
    appearance_ttl_s: int = 3_600
    max_events: int = 256
    max_dead: int = 1_000

    @classmethod
    def from_settings(cls, settings: Settings) -> "Limits":
        """The limits an operator set."""
        return cls(
            max_running=settings.max_running_jobs,
            window_budget=settings.window_budget,
            viewer_tail_frames=settings.viewer_tail_frames,
            job_ttl_s=settings.job_ttl_s,
            max_tries=settings.max_tries,
        )


class Scripts:
    """Calls scripts on the server of their shard.

    Args:
        shards: clients, replies as bytes.
        limits: see `Limits`.
    """

    def __init__(self, shards: "Shards[Redis]", limits: Limits) -> None:
        self._limits = json.dumps({**asdict(limits), "group": GROUP, "version": VERSION})
        self._shards = shards
        self._scripts = {name: shards.home.register_script(text) for name, text in sources().items()}

    def __call__(self, name: str, shard: str, *args: str | bytes | int | float, key: str = "") -> Any:
        """Run a script.

        Args:
            name: file in ``shared/lua`` without its ending.
            shard: tag of the shard.
            args: what the script's header lists.
            key: KEYS[1]; for scripts about a stream entry the stream.
        """
        start = prefix(shard)
        script = self._scripts[name]
        client: Any = self._shards.of(shard)
        words = (1, key or f"{start}jobs", start, self._limits, *args)
        try:
            return client.evalsha(script.sha, *words)
        except NoScriptError:
            # The server is new or was restarted. EVAL loads and runs in one step, whatever happens in between.
            return client.eval(script.script, *words)


def sources() -> dict[str, str]:
    """Text of every script by name."""
    prelude = (FOLDER / f"{PRELUDE}.lua").read_text()
    files = sorted(path for path in FOLDER.glob("*.lua") if path.stem != PRELUDE)
    return {path.stem: f"{prelude}\n{path.read_text()}" for path in files}
