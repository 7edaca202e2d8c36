"""SIGKILL of every kind of process in the middle of a job: nothing lost, nothing doubled, the same frames.

A victim is killed while it is known to be at work on the job: it is frozen first (SIGSTOP), and killed only if the
work it was seen to begin is still outstanding; otherwise it goes on and the next piece of work is waited for.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.integration.conftest import SEED, Run
from tests.integration.stack import SPEECH, Stack, unseen_portrait, until, worker_turns
from tests.integration.video import frame_hashes
from tests.integration.viewer import Viewer

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

EXTRA_S = 30.0
ALL_AT_ONCE_EXTRA_S = 90.0  # five interpreters load their libraries on the same cores
FAST_POLL_S = 0.0005
MOMENT_S = 30.0
MOST_MISSES = 4


def test_gateway(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(60)
        ready_stack.kill("gateway")

    viewer = survive(ready_stack, reference, kill)
    assert viewer.connections >= 2


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("renderer", "portrait"),
        ("audio_encoder", "encode"),
        ("motion_dit", "motion"),
        ("renderer", "render"),
        ("muxer", "mux"),
    ],
)
def test_worker_at_work(ready_stack: Stack, reference: Run, name: str, stage: str) -> None:
    survive_at_work(ready_stack, reference, lambda: kill_worker(ready_stack, name, stage))


@pytest.mark.parametrize("state", ["ingesting", "finalizing"])
@pytest.mark.parametrize("who", ["main", "child"])
def test_celery_at_work(ready_stack: Stack, reference: Run, who: str, state: str) -> None:
    survive_at_work(ready_stack, reference, lambda: kill_celery(ready_stack, who, state))


def test_beat(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(5)
        ready_stack.kill("beat")

    survive(ready_stack, reference, kill)


def test_redis_restarted_from_its_append_only_file(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(70)
        ready_stack.kill("redis")

    survive(ready_stack, reference, kill)


def test_every_worker_at_once(ready_stack: Stack, reference: Run) -> None:
    def kill(viewer: Viewer) -> None:
        viewer.wait_frame(40)
        pids = ready_stack.pids()
        for name in ("audio_encoder", "motion_dit", "renderer-0", "muxer"):
            os.kill(pids[name], signal.SIGKILL)

    survive(ready_stack, reference, kill, extra_s=ALL_AT_ONCE_EXTRA_S)


def survive_at_work(stack: Stack, reference: Run, kill: Callable[[], bool]) -> None:
    """Survive a kill that waits for its moment; the watch begins before the job, whose first steps are quick.

    A moment that was missed (the work had ended before the victim was frozen) leaves an undisturbed job; then again.
    """
    for _ in range(MOST_MISSES):
        with ThreadPoolExecutor(1) as watch:
            caught = watch.submit(kill)
            survive(stack, reference, lambda _: None)
            if caught.result():
                return
    raise TimeoutError(f"the victim was not caught at work in {MOST_MISSES} jobs")


def survive(stack: Stack, reference: Run, kill: Callable[[Viewer], None], extra_s: float = EXTRA_S) -> Viewer:
    """Run the reference job again, kill something in its middle, compare all that comes out.

    The portrait has the pixels of the reference's, but has to be prepared again.
    """
    started_s = time.monotonic()
    job_id = stack.submit(SPEECH, unseen_portrait(), seed=SEED)
    with Viewer(stack.url, job_id) as viewer:
        kill(viewer)
        end = viewer.wait_end(reference.took_s + extra_s + 60.0)
    job = stack.wait_final(job_id)
    assert (end.name, job["state"]) == ("job.done", "succeeded"), job
    assert end.at_s - started_s <= reference.took_s + extra_s
    assert viewer.indices == list(range(reference.n_frames)), "no frame missing, none doubled"
    assert not viewer.gaps
    assert viewer.hashes == reference.viewer.hashes
    assert frame_hashes(stack.video(job_id)) == reference.mp4_hashes
    return viewer


def kill_worker(stack: Stack, name: str, stage: str) -> bool:
    """SIGKILL a worker between the beginning and the commit of a unit; False when the moment was missed."""
    victim = psutil.Process(stack.pid(name))
    unit = moment(lambda: begun(stack, stage))
    victim.send_signal(signal.SIGSTOP)
    if unit and begun(stack, stage) == unit:
        victim.kill()
        return True
    victim.send_signal(signal.SIGCONT)
    return False


def kill_celery(stack: Stack, who: str, state: str) -> bool:
    """SIGKILL Celery's main process, or its children, while a task holds a job in a state."""
    main, *children = everyone = stack.processes("celery")
    assert children, "the prefork pool has children"
    victims = [main] if who == "main" else children
    seen = moment(lambda: held_in(stack, state))
    for process in everyone:
        process.send_signal(signal.SIGSTOP)
    is_caught = bool(seen) and held_in(stack, state) == seen
    for process in victims if is_caught else ():
        process.kill()
    for process in everyone:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    return is_caught


def moment(look: Callable[[], str]) -> str:
    """What is seen first, or nothing when nothing comes for as long as an undisturbed job may take."""
    try:
        return until(look, MOMENT_S, "", FAST_POLL_S)
    except TimeoutError:
        return ""


def begun(stack: Stack, stage: str) -> str:
    """A job and an outstanding unit of this stage on which work has begun, or nothing."""
    for job_id in open_jobs(stack):
        turns = worker_turns(stack.redis, job_id)
        for unit in turns:
            if unit.partition(":")[0] == stage and f"{unit}:tries" in turns:
                return f"{job_id} {unit}"
    return ""


def held_in(stack: Stack, state: str) -> str:
    """A job that is in this state, or nothing."""
    held = (job for job in open_jobs(stack) if stack.redis.hget(f"th:{{0}}:job:{job}", "state") == state.encode())
    return next(held, "")


def open_jobs(stack: Stack) -> list[str]:
    """Jobs that have not ended."""
    members: set[bytes] = stack.redis.smembers("th:{0}:open")  # type: ignore[assignment]
    return sorted(member.decode() for member in members)
