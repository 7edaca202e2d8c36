"""Time per stage, from the one line that every worker logs per message."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

HANDLED = "message.handled"


def stage_report(log_dir: Path, since_s: float) -> dict[str, dict[str, float]]:
    """Messages, median, 95th percentile and sum of the durations of every stage.

    Args:
        log_dir: the supervisor's folder of JSON logs.
        since_s: Unix time; older lines do not count.
    """
    durations: dict[str, list[float]] = defaultdict(list)
    for line in _lines(log_dir):
        if line.get("event") == HANDLED and datetime.fromisoformat(line["timestamp"]).timestamp() >= since_s:
            durations[str(line["stage"])].append(float(line["duration_s"]))
    return {
        stage: {
            "messages": len(values),
            "p50_s": round(float(np.percentile(values, 50)), 4),
            "p95_s": round(float(np.percentile(values, 95)), 4),
            "sum_s": round(sum(values), 3),
        }
        for stage, values in sorted(durations.items())
    }


def _lines(log_dir: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(log_dir.glob("*.log")):
        for text in path.read_text(errors="replace").splitlines():
            _, brace, rest = text.partition("{")
            try:
                line = json.loads(brace + rest)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line
