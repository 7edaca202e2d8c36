"""One stack under one Prometheus, through some jobs, for every test of metrics, dashboards and alerts."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.monitoring import Prometheus, free_ports, local_configuration, running_prometheus
from tests.integration.stack import SPEECH, SPEECH_SHORT, Stack, running_stack
from tests.integration.viewer import Viewer
from tests.polling import eventually

N_RENDERERS = 2
N_PROCESSES = N_RENDERERS + 5  # encoder, motion, muxer, Celery's worker and beat; the gateway has a port anyway
SCRAPED_S = 20.0


@dataclass(frozen=True)
class Watched:
    """A stack that has worked while Prometheus watched it.

    Attributes:
        prometheus: still scraping.
        stack: still running.
        jobs: resources of the jobs that succeeded; each had one viewer from its start.
        first_frames_s: sending a job to its first frame, as those viewers saw it.
    """

    prometheus: Prometheus
    stack: Stack
    jobs: list[dict[str, Any]]
    first_frames_s: list[float]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two watched jobs that succeed, one canceled, and requests that are wrong."""
    folder: Path = tmp_path_factory.mktemp("watched")
    environment = {"TH_METRICS_PORT": str(free_ports(N_PROCESSES))}
    arguments = ("--renderers", str(N_RENDERERS))
    with running_stack(folder / "stack", environment, arguments=arguments) as stack:
        config = local_configuration(folder / "stack" / "stack.json", folder)
        with running_prometheus(config, folder) as prometheus:
            eventually(lambda: _all_up(prometheus), SCRAPED_S, "a first scrape of every process")
            yield _worked(stack, prometheus)


def _worked(stack: Stack, prometheus: Prometheus) -> Watched:
    jobs, first_frames_s = [], []
    for speech in (SPEECH, SPEECH_SHORT):
        stack.http.get("/v1/jobs/nobody")
        sent_s = time.monotonic()
        job_id = stack.submit(speech)
        with Viewer(stack.url, job_id) as viewer:
            viewer.wait_end()
        jobs.append(stack.job(job_id))
        first_frames_s.append(viewer.frames[0].at_s - sent_s)
        # What Celery's children count must outlive them.
        for child in stack.processes("celery")[1:]:
            child.kill()
    stack.http.delete(f"/v1/jobs/{stack.submit(SPEECH)}")
    n_ended = len(jobs) + 1
    eventually(lambda: prometheus.value("sum(talkinghead_jobs_total)") == n_ended, SCRAPED_S, "a scrape after the jobs")
    return Watched(prometheus, stack, jobs, first_frames_s)


def _all_up(prometheus: Prometheus) -> bool:
    targets = prometheus.targets()
    return bool(targets) and all(target["health"] == "up" for target in targets)
