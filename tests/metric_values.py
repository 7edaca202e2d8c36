"""Reading metrics the way Prometheus does: from the text that a process hands out, or from this process's registry."""

from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import PREFIX


class Samples:
    """What one scrape said.

    Args:
        text: text format of Prometheus.
    """

    def __init__(self, text: str) -> None:
        self.by_name: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.by_name.setdefault(sample.name, []).append((sample.labels, sample.value))

    def value(self, name: str, **labels: str) -> float | None:
        """The sum over the series of a metric of ours that have these labels; None when there is none."""
        wanted = labels.items()
        found = [value for has, value in self.by_name.get(PREFIX + name, ()) if wanted <= has.items()]
        return sum(found) if found else None


class Counts:
    """How far counts of this process have gone since this was made."""

    def __init__(self) -> None:
        self._before = _all()

    def grown(self, name: str, **labels: str) -> float:
        """How much a counter, or a sample of a histogram, has grown."""
        key = (PREFIX + name, tuple(sorted(labels.items())))
        return _all().get(key, 0.0) - self._before.get(key, 0.0)


def _all() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families: Iterable[object] = REGISTRY.collect()
    samples = [sample for family in families for sample in getattr(family, "samples", ())]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
