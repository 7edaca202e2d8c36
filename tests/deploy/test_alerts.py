"""Alert rules: each is proven to fire, explained to whoever is woken by it, and quiet while a healthy stack works."""

import re

import pytest

from shared.metrics import PREFIX
from tests.deploy.conftest import Watched
from tests.deploy.monitoring import DEPLOY, ROOT, load_yaml, promtool

RULES = [rule for group in load_yaml(DEPLOY / "alerts.yml")["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]


def test_promtool_accepts_the_rules() -> None:
    answer = promtool("check", "rules", "alerts.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{len(RULES)} rules found" in answer.stdout


def test_every_alert_fires_in_its_case_and_in_no_other() -> None:
    answer = promtool("test", "rules", "alerts_test.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_no_alert_is_without_a_case_in_which_it_fires() -> None:
    cases = load_yaml(DEPLOY / "alerts_test.yml")["tests"]
    fired = {test["alertname"] for case in cases for test in case.get("alert_rule_test", ()) if test["exp_alerts"]}
    samples = [s for case in cases for test in case.get("promql_expr_test", ()) for s in test["exp_samples"]]
    fired |= {name for sample in samples for name in re.findall('alertname="(\\w+)"', sample["labels"])}
    assert fired == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_says_what_it_means_and_where_to_read_on(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == str(rule["alert"]).lower()
    assert rule["alert"] in headings


def test_the_runbook_has_no_paragraph_for_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(NAMES)


@pytest.mark.redis
@pytest.mark.stack
@pytest.mark.slow
def test_a_healthy_stack_raises_no_alarm_and_every_expression_can_be_evaluated(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert sorted(rule["name"] for rule in rules) == sorted(NAMES)
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    # An expression over a metric that does not exist would never fire either.
    known = {name for rule in RULES for name in re.findall(rf"{PREFIX}\w+|\bup\b", rule["expr"])}
    assert [name for name in sorted(known) if not watched.prometheus.query(name)] == []
