"""Copies the motion rows of a job out of Redis while it runs: the job keeps them only until they are muxed."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import RedisError

from shared.codec import unpack
from shared.motion import ROW
from shared.protocol import job_key

POLL_S = 0.05


class MotionTap:
    """Polls the motion hash of one job in a thread, within a ``with`` block."""

    def __init__(self, redis_url: str, job_id: str) -> None:
        self._redis: Redis = Redis.from_url(redis_url)
        self._key = job_key(job_id, "motion")
        self._slices: dict[int, bytes] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"tap {job_id}", daemon=True)

    def __enter__(self) -> "MotionTap":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10.0)
        self._redis.close()

    def rows(self, n_frames: int) -> NDArray[np.float32] | None:
        """All rows in frame order: (n_frames, 70) float32; None if a slice was missed."""
        parts = [_rows_of(self._slices[first]) for first in sorted(self._slices)]
        if not parts:
            return None
        rows = np.concatenate(parts)
        return rows if rows.shape == (n_frames, ROW) else None

    def _poll(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                found: dict[bytes, bytes] = self._redis.hgetall(self._key)  # type: ignore[assignment]
            except RedisError:
                continue
            self._slices.update({int(first): value for first, value in found.items() if first.isdigit()})


def _rows_of(value: bytes) -> NDArray[np.float32]:
    message: Any = unpack(value)
    rows: NDArray[np.float32] = message["motion"] if isinstance(message, dict) else message
    return rows
