"""Redis holds a stretch of every job, not the whole: a job twice as long needs no more memory.

The jobs run through all real processes. With head and face at rest a frame costs little more than its JPEG, of the
usual size, so that minutes of video are made in seconds.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.speech import repeated
from tests.integration.stack import PORTRAIT, SPEECH, Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

SHORT_S, LONG_S = 120.0, 240.0
MOST_GROWTH = 1.10
AT_REST = {"head_motion": 0, "expressiveness": 0, "seed": 1}
SAMPLE_S = 0.01


def test_peak_memory_does_not_grow_with_the_job(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack") as stack:
        peak_of(stack, 10.0)  # scripts, connections and the portrait are there from now on
        forget_frames(stack)
        short = peak_of(stack, SHORT_S)
        forget_frames(stack)
        long = peak_of(stack, LONG_S)
    print(f"peak used_memory: {short / 1e6:.1f} MB for {SHORT_S:.0f} s, {long / 1e6:.1f} MB for {LONG_S:.0f} s")
    assert long <= MOST_GROWTH * short


def peak_of(stack: Stack, duration_s: float) -> int:
    """Highest used_memory in bytes while a job of this length runs to its end."""
    wav = repeated(SPEECH, duration_s)
    with sampling(stack.redis_url) as samples:
        response = stack.post("speech.wav", wav, PORTRAIT.name, PORTRAIT.read_bytes(), **AT_REST)
        assert response.status_code == 202, response.text
        job = stack.wait_final(response.json()["id"], 4 * duration_s)
    assert job["state"] == "succeeded", job
    assert job["progress"]["frames_total"] == round(duration_s * 25)
    assert len(samples) > 100
    return max(samples)


def forget_frames(stack: Stack) -> None:
    """Drop what ended jobs keep for late viewers, so that jobs are measured one by one."""
    left = list(stack.redis.scan_iter(match="th:{0}:job:*:slice:*", count=1000))
    assert left, "an ended job keeps a tail for late viewers"
    stack.redis.delete(*left)


@contextmanager
def sampling(redis_url: str) -> Iterator[list[int]]:
    """Collect used_memory in a thread."""
    samples: list[int] = []
    stopping = threading.Event()

    def sample() -> None:
        with Redis.from_url(redis_url) as redis:
            while not stopping.wait(SAMPLE_S):
                samples.append(int(redis.info("memory")["used_memory"]))

    thread = threading.Thread(target=sample, name="used_memory", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stopping.set()
        thread.join(10.0)
