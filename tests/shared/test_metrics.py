"""Each count is taken where it happens, by real workers on a real Redis."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from shared import metrics
from shared.errors import ConfigurationError, NoFaceFound, ShapeError
from shared.job_record import outcome_of
from shared.jobs import JobStore
from shared.protocol import JobState, Stage
from shared.scripts import Limits
from shared.settings import Settings
from shared.worker import REFUSED, Task, serve
from tests.fakes import Crew, FakeHandler, submit
from tests.metric_values import Counts, Samples
from tests.polling import eventually
from tests.redis_server import RedisServer
from tests.shared.data_plane import Hands
from tests.shared.test_worker import Scripted, running

ALLOWED_UNITS = ("_seconds", "_bytes", "_entries", "_ratio", "_total", "_frames", "_messages")
WITHOUT_UNIT = {"viewers", "build_info", "realtime_speed", "workers", "jobs_unfinished", "redis_up"}


@pytest.mark.redis
def test_a_whole_job_is_counted_by_stage(redis_url: str, store: JobStore, tmp_path: Path) -> None:
    counts = Counts()
    with Crew(redis_url, tmp_path):
        job_id = submit(store, "whole", 130)
        eventually(lambda: store.get(job_id).state is JobState.FINALIZING, 20.0, "a drawn job")
        # The last message is counted after its commit.
        eventually(lambda: counts.grown("messages_total", stage="mux", outcome="done") == 2, 5.0)
    expected = {Stage.PORTRAIT: 1, Stage.ENCODE: 2, Stage.MOTION: 2, Stage.RENDER: 13 + 5, Stage.MUX: 2}
    for stage, n_messages in expected.items():
        assert counts.grown("messages_total", stage=stage, outcome="done") == n_messages
        assert counts.grown("queue_duration_seconds_count", stage=stage) == n_messages
        assert counts.grown("batch_messages_sum", stage=stage) == n_messages
        assert 0 < counts.grown("stage_duration_seconds_sum", stage=stage) < 20
        assert counts.grown("deliveries_total", stage=stage) == 0


@pytest.mark.redis
@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [(NoFaceFound("no face"), "rejected", ""), (ShapeError("3 rows"), "failed", ShapeError.code)],
)
def test_a_given_up_message_is_counted_with_its_job(
    redis_url: str, store: JobStore, error: Exception, outcome: str, reason: str
) -> None:
    counts = Counts()

    def before(tasks: Sequence[Task]) -> None:
        raise error

    with running(Scripted("renderer", store, before), redis_url):
        job_id = submit(store, "bad", 5)
        eventually(lambda: counts.grown("messages_total", stage="portrait", outcome="failed") == 1)
    assert store.get(job_id).state is JobState.FAILED
    assert counts.grown("jobs_total", outcome=outcome) == 1
    assert store.dead_letter_count() == (1 if reason else 0)
    if reason:
        assert counts.grown("dead_letters_total", stage="portrait", reason=reason) == 1


@pytest.mark.redis
def test_a_message_begun_too_often_is_counted_once(store: JobStore) -> None:
    limited = JobStore(store.clients, Limits(max_tries=2))
    submit(limited, "poison", 5)
    hands = Hands(limited)
    (entry,) = hands.read(Stage.PORTRAIT)
    counts = Counts()
    assert [hands.take(entry) is not None for _ in range(4)] == [True, True, False, False]
    assert counts.grown("dead_letters_total", stage="portrait", reason="gave_up") == 1
    assert counts.grown("jobs_total", outcome="failed") == 1
    assert limited.dead_letter_count() == 1


@pytest.mark.redis
def test_entries_of_a_dead_worker_are_counted_as_delivered_again(redis_url: str, store: JobStore) -> None:
    submit(store, "orphan", 5)
    Hands(store, "dead").read(Stage.PORTRAIT)
    counts = Counts()
    with running(FakeHandler("renderer", store, Path("unused")), redis_url, claim_idle_s=0.5):
        eventually(lambda: counts.grown("deliveries_total", stage="portrait") == 1)
        eventually(lambda: counts.grown("messages_total", stage="portrait", outcome="done") == 1)


@pytest.mark.redis
def test_an_end_is_counted_once(store: JobStore) -> None:
    job_id = submit(store, "twice", 5)
    counts = Counts()
    assert [store.finish(job_id, JobState.CANCELED) for _ in range(3)] == [True, False, False]
    assert store.finish(job_id, JobState.FAILED, "late") is False
    assert counts.grown("jobs_total", outcome="canceled") == 1
    assert counts.grown("jobs_total", outcome="failed") == 0


@pytest.mark.redis
def test_unfinished_jobs_are_told_apart(store: JobStore) -> None:
    limited = JobStore(store.clients, Limits(max_running=1))
    for name in ("a", "b", "c"):
        submit(limited, name, 5)
    store.create("0-new", store.get("0-a").options, "embedded", {"created": 1.0})
    assert limited.unfinished() == {"running": 1, "waiting": 2, "control": 1}


@pytest.mark.redis
def test_a_taken_metrics_port_stops_a_worker_with_a_reason(
    redis_server: RedisServer, store: JobStore, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.model_validate({"redis_url": redis_server.url, "metrics_port": redis_server.port})
    assert serve(FakeHandler("muxer", store, Path("unused")), store, settings, "muxer") == REFUSED
    assert "TH_METRICS_PORT" in capsys.readouterr().out


def test_only_the_callers_own_fault_is_a_rejection() -> None:
    assert outcome_of(JobState.FAILED, NoFaceFound("none")) == "rejected"
    assert outcome_of(JobState.FAILED, ConfigurationError("no such bundle")) == "failed"
    assert outcome_of(JobState.FAILED, ZeroDivisionError()) == "failed"
    assert outcome_of(JobState.SUCCEEDED) == "succeeded"
    assert {outcome_of(state) for state in JobState if state.is_final} - {"expired"} <= set(metrics.JOB_OUTCOMES)


def test_counts_exist_before_the_first_event() -> None:
    metrics.announce(["a-stage"])
    told = Samples(generate_latest(REGISTRY).decode())
    assert told.value("messages_total", stage="a-stage", outcome="done") == 0
    assert told.value("deliveries_total", stage="a-stage") == 0
    assert told.value("build_info") == 1


def declared_names() -> set[str]:
    """Every metric, without its prefix."""
    counted = {
        family.name.removeprefix(metrics.PREFIX) + ("_total" if family.type == "counter" else "")
        for family in REGISTRY.collect()
        if family.name.startswith(metrics.PREFIX)
    }
    return counted | {value.name for value in vars(metrics).values() if isinstance(value, metrics.Reading)}


def test_operators_can_look_up_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    rows = [line for line in page.partition("## What there is")[2].partition("\n## ")[0].splitlines() if "|" in line]
    assert {name for row in rows for name in re.findall("`([a-z_]+)`", row.split("|")[1])} == declared_names()


def test_names_follow_the_rules() -> None:
    declared = declared_names()
    assert declared >= WITHOUT_UNIT
    assert {name for name in declared if not name.endswith(ALLOWED_UNITS)} == WITHOUT_UNIT
    assert all(re.fullmatch("[a-z_]+", name) for name in declared)


def test_one_bucket_ends_at_the_budget_of_a_frame() -> None:
    assert 0.04 in metrics.DURATION_BUCKETS
