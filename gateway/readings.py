"""What a scrape of the gateway says of the whole system: streams, jobs, workers and Redis itself, read on the spot.

Redis is the one place where all of it is known, so every gateway answers the same and dashboards take the maximum.
Where Redis does not answer there are no such series but one, which says so: an old number would look like a new one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from shared import metrics
from shared.errors import DependencyError
from shared.exposition import registry
from shared.jobs import JobStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Readings(Collector):
    """Reads the system once per scrape.

    Attributes:
        jobs: the data plane.
        bundle: whose streams and workers are meant.
        kinds: of workers that a job needs; those that nobody runs count as zero.
    """

    jobs: JobStore
    bundle: str
    kinds: Sequence[str]

    def collect(self) -> Iterable[Metric]:
        """All readings, or only that Redis is away."""
        try:
            found = [*self._streams(), *self._system()]
        except (RedisError, DependencyError) as error:
            log.warning("readings.missing", error=str(error))
            return [metrics.redis_up.family([((), 0.0)])]
        return [metrics.redis_up.family([((), 1.0)]), *found]

    def _streams(self) -> list[Metric]:
        held = self.jobs.backlogs(self.bundle)
        return [
            metrics.stream_lag_entries.family(((stage,), float(one.n_waiting)) for stage, one in held.items()),
            metrics.stream_pending_entries.family(((stage,), float(one.n_pending)) for stage, one in held.items()),
            metrics.stream_oldest_waiting_seconds.family(
                ((stage,), one.oldest_waiting_s) for stage, one in held.items()
            ),
            metrics.stream_oldest_pending_seconds.family(
                ((stage,), one.oldest_pending_s) for stage, one in held.items()
            ),
        ]

    def _system(self) -> list[Metric]:
        used, limit = self.jobs.memory()
        alive = [kind for kind, bundle, _ in self.jobs.live_workers() if bundle == self.bundle]
        found: list[Metric] = [
            metrics.workers.family(((kind,), float(alive.count(kind))) for kind in self.kinds),
            metrics.jobs_unfinished.family(((state,), float(n)) for state, n in self.jobs.unfinished().items()),
            metrics.dead_letter_entries.family([((), float(self.jobs.dead_letter_count()))]),
            metrics.redis_memory_bytes.family([((), float(used))]),
        ]
        if limit:
            found.append(metrics.redis_memory_ratio.family([((), used / limit)]))
        return found


def scrape(readings: Readings) -> bytes:
    """Text format of Prometheus: this process or its group, then the system."""
    system = CollectorRegistry(auto_describe=False)
    system.register(readings)
    return generate_latest(registry()) + generate_latest(system)
