"""Pieces of a Grafana dashboard as plain values, and the JSON that Grafana's provisioning reads.

Knows nothing of what is shown: see ``pipeline.py`` and ``renderer.py``. Panels flow from left to right in the order in
which they are written and keep their ids as long as nothing is put before them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

DATA_SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, ROW_HEIGHT, STAT_HEIGHT, GRAPH_HEIGHT = 24, 1, 4, 8
SCHEMA_VERSION = 39


@dataclass(frozen=True)
class Query:
    """One PromQL expression.

    Attributes:
        expr: may use $__rate_interval and the variables of its dashboard.
        legend: label template, such as "{{stage}}".
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One graph or number.

    Attributes:
        title: what is shown.
        description: how to read it, and what is normal.
        unit: of Grafana ("s", "bytes", "percentunit", "short", or "suffix: text").
        queries: what is drawn.
        kind: a graph over time, or the last value as a number.
        width: of 24 columns.
        thresholds: values from which a number turns yellow and red; descending ones mark too little.
        is_stacked: series add up to a whole.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    thresholds: tuple[float, float] | None = None
    is_stacked: bool = False


@dataclass(frozen=True)
class Section:
    """Panels under a common heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the head of a dashboard: the values of one label; all of them by default."""

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    """A page; ``uid`` is its address and never changes."""

    uid: str
    title: str
    description: str
    sections: tuple[Section, ...]
    variables: tuple[Variable, ...] = ()


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana reads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["talkinghead"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "links": [{"type": "dashboards", "tags": ["talkinghead"], "title": "Dashboards", "asDropdown": False}],
        "panels": list(_panels(dashboard.sections)),
    }


def _panels(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for section in sections:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": ROW_HEIGHT}
        yield {"id": number, "type": "row", "title": section.title, "collapsed": False, "gridPos": place, "panels": []}
        top, left, height = top + ROW_HEIGHT, 0, 0
        for panel in section.panels:
            number += 1
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            own_height = STAT_HEIGHT if panel.kind == "stat" else GRAPH_HEIGHT
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": own_height})
            left, height = left + panel.width, max(height, own_height)
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    is_stat = panel.kind == "stat"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": DATA_SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or panel.title,
            "instant": is_stat,
            "range": not is_stat,
        }
        for index, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": _thresholds(panel.thresholds)}
    if is_stat:
        options: dict[str, Any] = {"colorMode": "value" if panel.thresholds else "none", "graphMode": "none"}
        options["reduceOptions"] = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    else:
        stacking = {"mode": "normal" if panel.is_stacked else "none", "group": "A"}
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 30 if panel.is_stacked else 8, "stacking": stacking}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _thresholds(limits: tuple[float, float] | None) -> dict[str, Any]:
    steps: list[tuple[str, float | None]] = [("green", None)]
    if limits is not None and limits[0] <= limits[1]:
        steps += [("yellow", limits[0]), ("red", limits[1])]
    elif limits is not None:
        steps = [("red", None), ("yellow", limits[1]), ("green", limits[0])]
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }
