"""Checks of a running deployment, one per call; deploy/smoke.sh makes them in order."""

import argparse
import sys
from pathlib import Path

import httpx

from tests.smoke.checks import kill, remember, require_equal, run_job, wait_ready
from tests.smoke.metrics import check_metrics, unusual_requests


def main() -> int:
    """Run one check; 0 when it holds, 1 with the reason when not."""
    parser = argparse.ArgumentParser(prog="tests.smoke")
    parser.add_argument("check", choices=sorted(CHECKS))
    parser.add_argument("url", help="of the gateway, the page or Prometheus")
    parser.add_argument("rest", nargs="*", help="job: FILE; kill: FILE CONTAINER; metrics: JOB=REPLICAS ...")
    parsed = parser.parse_args()
    try:
        print(CHECKS[parsed.check](parsed.url, parsed.rest))
    except (AssertionError, TimeoutError, httpx.HTTPError) as error:
        print(f"{parsed.check}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _ready(url: str, _: list[str]) -> str:
    wait_ready(url)
    return "a worker of every kind is ready"


def _job(url: str, rest: list[str]) -> str:
    run_job(url)  # the first job of a deployment prepares the portrait; times are those of the second
    outcome = run_job(url)
    remember(outcome, Path(rest[0]))
    unusual_requests(url)
    return outcome.summary()


def _kill(url: str, rest: list[str]) -> str:
    outcome = run_job(url, kill(rest[1]))
    require_equal(outcome, Path(rest[0]))
    return f"{outcome.summary()}; every frame equal to the undisturbed run"


def _page(url: str, _: list[str]) -> str:
    response = httpx.get(url, timeout=30.0).raise_for_status()
    assert "text/html" in response.headers["content-type"], response.headers
    assert "gradio" in response.text, "the page is Gradio's"
    return f"page of {len(response.content)} bytes"


def _metrics(url: str, rest: list[str]) -> str:
    return check_metrics(url, {name: int(n) for name, _, n in (word.partition("=") for word in rest)})


CHECKS = {"ready": _ready, "job": _job, "kill": _kill, "page": _page, "metrics": _metrics}

if __name__ == "__main__":
    sys.exit(main())
