"""What the deployment's own Prometheus knows: every target up, every query of every dashboard answered."""

import httpx

from tests.deploy.monitoring import Prometheus
from tests.deploy.test_dashboards import GPU_PANELS, NAMES, expressions
from tests.polling import eventually

SCRAPED_S = 60.0
RATE_INTERVAL = "10m"  # longer than the smoke run after its first job


def check_metrics(url: str, expected: dict[str, int]) -> str:
    """Ask for everything that is drawn or alarmed on.

    Args:
        url: of Prometheus.
        expected: job -> replicas that must be up.

    Returns:
        One line of what was found.

    Raises:
        TimeoutError: a target is missing or down.
        AssertionError: a query fails or has no answer.
    """
    prometheus = Prometheus(url)
    try:
        eventually(prometheus.is_ready, SCRAPED_S, f"Prometheus at {url}")
        eventually(lambda: _up(prometheus) == expected, SCRAPED_S, f"targets {expected}; last seen {_up(prometheus)}")
        asked = [(name, title, expr) for name in NAMES for title, expr in expressions(name, RATE_INTERVAL)]
        empty = {f"{name}: {title}" for name, title, expr in asked if not prometheus.query(expr)}
        unexpected = {panel for panel in empty if panel.partition(": ")[2] not in GPU_PANELS}
        assert not unexpected, f"no answer for {sorted(unexpected)}"
        broken = [rule["name"] for rule in prometheus.rules() if rule["health"] == "err"]
        assert not broken, f"alert rules that cannot be evaluated: {broken}"
        return (
            f"{sum(expected.values())} targets up, {len(asked)} queries of {len(NAMES)} dashboards answered"
            f" ({len(empty)} panels of a GPU are empty: there is none), {len(prometheus.rules())} alert rules evaluated"
        )
    finally:
        prometheus.close()


def unusual_requests(gateway: str) -> None:
    """What a deployment sees besides jobs that succeed: a job that is not there, one that is refused."""
    with httpx.Client(base_url=gateway, timeout=30.0) as client:
        nobody, empty = client.get("/v1/jobs/nobody").status_code, client.post("/v1/jobs").status_code
        assert (nobody, empty) == (404, 415), f"answers {nobody} and {empty} to wrong requests; expected 404 and 415"


def _up(prometheus: Prometheus) -> dict[str, int]:
    return {labels["job"]: int(value) for labels, value in prometheus.query("sum by (job) (up == 1)")}
