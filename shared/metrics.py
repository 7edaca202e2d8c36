"""Every metric of every process, declared once.

Prefix ``talkinghead_``, base units as suffix, labels from closed sets, never an id. What a process counts itself is a
metric object here; what it reads of the whole system when it is scraped is a `Reading`, filled by
``gateway/readings.py`` and ``shared/exposition.py``, which also hand all of it out.
"""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

PREFIX = "talkinghead_"
# A folder named here makes all processes that share it one group: see exposition.py. It must exist before the first
# metric does.
GROUP_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
if os.environ.get(GROUP_VARIABLE):
    Path(os.environ[GROUP_VARIABLE]).mkdir(parents=True, exist_ok=True)

# The default buckets have no edge at the 40 ms budget of one frame; the upper ones are for large models on a CPU.
DURATION_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
SIZE_BUCKETS = (1, 2, 3, 5, 8, 13, 21, 34, 65)
SPEED_BUCKETS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)

MESSAGE_OUTCOMES = ("done", "dropped", "retried", "left", "broken", "failed")
JOB_OUTCOMES = ("succeeded", "failed", "rejected", "canceled")
RENDER_STEPS = ("upload", "compute", "copy", "encode")

stage_duration_seconds = Histogram(
    f"{PREFIX}stage_duration_seconds",
    "Time to handle one batch of messages or one control task, start to commit",
    ["stage"],
    buckets=DURATION_BUCKETS,
)
queue_duration_seconds = Histogram(
    f"{PREFIX}queue_duration_seconds",
    "Time from issuing a message or control task to the first try to handle it",
    ["stage"],
    buckets=DURATION_BUCKETS,
)
messages_total = Counter(f"{PREFIX}messages_total", "Messages and control tasks handled", ["stage", "outcome"])
deliveries_total = Counter(f"{PREFIX}deliveries_total", "Messages delivered again after a worker was lost", ["stage"])
dead_letters_total = Counter(f"{PREFIX}dead_letters_total", "Messages given up", ["stage", "reason"])
batch_messages = Histogram(f"{PREFIX}batch_messages", "Messages handled together", ["stage"], buckets=SIZE_BUCKETS)
batch_frames = Histogram(f"{PREFIX}batch_frames", "Frames computed together", ["stage"], buckets=SIZE_BUCKETS)
render_step_duration_seconds = Histogram(
    f"{PREFIX}render_step_duration_seconds",
    "Time of one batch of frames in one step of the renderer",
    ["step"],
    buckets=DURATION_BUCKETS,
)
precision_fallbacks_total = Counter(
    f"{PREFIX}precision_fallbacks_total", "Renderers that went over to fp32 after NaN or black frames"
)
frames_total = Counter(f"{PREFIX}frames_total", "Frames drawn, muxed, or sent to viewers", ["stage"])
control_tasks_sent_total = Counter(f"{PREFIX}control_tasks_sent_total", "Control tasks sent to Celery", ["task"])
jobs_total = Counter(f"{PREFIX}jobs_total", "Jobs that ended", ["outcome"])
realtime_speed = Histogram(
    f"{PREFIX}realtime_speed",
    "Seconds of speech per second from accepting a job to its finished video",
    buckets=SPEED_BUCKETS,
)
first_frame_seconds = Histogram(
    f"{PREFIX}first_frame_seconds",
    "Job accepted to its first frame sent, for viewers that were there before it was drawn",
    buckets=DURATION_BUCKETS,
)
http_problems_total = Counter(f"{PREFIX}http_problems_total", "HTTP requests answered with a problem", ["code"])
viewers = Gauge(f"{PREFIX}viewers", "Open event streams", multiprocess_mode="livesum")
build_info = Gauge(
    f"{PREFIX}build_info",
    "Version of the running code, of Python, and of torch where it is installed",
    ["version", "python", "torch"],
    multiprocess_mode="max",
)


@dataclass(frozen=True)
class Reading:
    """A gauge that is read when somebody scrapes; there is no series where nothing could be read.

    Attributes:
        name: without prefix.
        documentation: one line.
        labels: names, from closed sets.
    """

    name: str
    documentation: str
    labels: tuple[str, ...] = ()

    def family(self, values: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
        """The metric with these values, each (label values, value)."""
        made = GaugeMetricFamily(PREFIX + self.name, self.documentation, labels=self.labels)
        for labels, value in values:
            made.add_metric(labels, value)
        return made


# Of the whole system, from Redis: the same at every gateway.
stream_lag_entries = Reading("stream_lag_entries", "Entries not yet delivered", ("stage",))
stream_pending_entries = Reading("stream_pending_entries", "Entries delivered, not acknowledged", ("stage",))
stream_oldest_waiting_seconds = Reading(
    "stream_oldest_waiting_seconds", "Age of the oldest entry not yet delivered", ("stage",)
)
stream_oldest_pending_seconds = Reading(
    "stream_oldest_pending_seconds", "Age of the oldest entry delivered and not acknowledged", ("stage",)
)
dead_letter_entries = Reading("dead_letter_entries", "Dead letters that nobody has deleted yet")
jobs_unfinished = Reading("jobs_unfinished", "Jobs that have not ended", ("state",))
workers = Reading("workers", "Workers that announced themselves within the last 15 s", ("kind",))
redis_up = Reading("redis_up", "1 when Redis answered this scrape")
redis_memory_bytes = Reading("redis_memory_bytes", "Memory that Redis uses; of a cluster, its fullest node")
redis_memory_ratio = Reading("redis_memory_ratio", "Used share of Redis' maxmemory, where there is a limit")
# Of one worker's CUDA device.
device_memory_bytes = Reading("device_memory_bytes", "Memory of the CUDA device", ("device", "kind"))
device_utilisation_ratio = Reading(
    "device_utilisation_ratio", "Share of time in which the CUDA device ran a kernel", ("device",)
)


def announce(stages: Iterable[str] = ()) -> None:
    """Say which build this is, and start the counts of these stages at zero: their first event shows in a rate then."""
    build_info.labels(_version("talkinghead"), platform.python_version(), _version("torch")).set(1)
    for stage in stages:
        stage_duration_seconds.labels(stage)
        queue_duration_seconds.labels(stage)
        deliveries_total.labels(stage)
        for outcome in MESSAGE_OUTCOMES:
            messages_total.labels(stage, outcome)
    for outcome in JOB_OUTCOMES:
        jobs_total.labels(outcome)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
