"""Dashboards: as their generator writes them, readable by people, and every query has an answer on a real stack.

Grafana itself cannot be had in every test environment: that it draws them is not tested here.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.build import DASHBOARDS, write
from tests.deploy.conftest import Watched
from tests.deploy.monitoring import DEPLOY, load_yaml, promtool

FOLDER = DEPLOY / "grafana" / "dashboards"
PROVISIONING = DEPLOY / "grafana" / "provisioning"
NAMES = sorted(DASHBOARDS)
# Their series exist where there is a GPU; the stack under test draws on the CPU.
GPU_PANELS = {"GPU: utilisation", "GPU: memory of the device", "GPU: memory of each process"}


def dashboard(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return loaded


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions(name: str, rate_interval: str) -> list[tuple[str, str]]:
    """Title of the panel and expression of every query, as Grafana would send it with "All" chosen."""
    chosen = {f"${variable['name']}": variable["allValue"] for variable in dashboard(name)["templating"]["list"]}
    found = []
    for panel in panels(name):
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", rate_interval)
            for variable, value in chosen.items():
                expr = expr.replace(variable, value)
            assert "$" not in expr, expr
            found.append((panel["title"], expr))
    return found


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write(tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text() for path in FOLDER.iterdir()}, "run `python -m deploy.grafana.build`"


def test_pages_have_addresses_of_their_own() -> None:
    assert len({dashboard(name)["uid"] for name in NAMES}) == len(NAMES)
    assert len({dashboard(name)["title"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_can_be_read_without_asking(name: str) -> None:
    numbers = [panel["id"] for panel in dashboard(name)["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels(name):
        assert panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF")[: len(panel["targets"])]
        assert all(target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_beside_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(name)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_every_query_asks_the_provisioned_data_source(name: str) -> None:
    (source,) = load_yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    expected = {"type": source["type"], "uid": source["uid"]}
    for panel in panels(name):
        assert panel["datasource"] == expected
        assert all(target["datasource"] == expected for target in panel["targets"])
    assert all(variable["datasource"] == expected for variable in dashboard(name)["templating"]["list"])


def test_the_scrape_interval_is_the_same_everywhere() -> None:
    (source,) = load_yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    scraped = load_yaml(DEPLOY / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


@pytest.mark.parametrize("name", NAMES)
def test_promtool_can_parse_every_expression(name: str, tmp_path: Path) -> None:
    rules = [{"record": f"q:{i}", "expr": expr} for i, (_, expr) in enumerate(expressions(name, "1m"))]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    answer = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.redis
@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_an_answer_while_a_stack_works(name: str, watched: Watched) -> None:
    empty, without_number = set(), set()
    for title, expr in expressions(name, "5m"):
        found = watched.prometheus.query(expr)
        if not found:
            empty.add(title)
        elif not any(math.isfinite(value) for _, value in found):
            without_number.add(expr)
    expected = GPU_PANELS & {panel["title"] for panel in panels(name)}
    assert empty == expected
    assert without_number == set()
