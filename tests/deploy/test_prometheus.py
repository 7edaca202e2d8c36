"""What Prometheus sees of a stack that worked: every process, and numbers that agree with what was done."""

import math
from pathlib import Path

import pytest

from shared.protocol import Stage
from tests.deploy.conftest import N_RENDERERS, Watched
from tests.deploy.monitoring import DEPLOY, load_yaml, promtool

EVER = "5m"  # longer than the whole run
SERVICES = {"gateway", "media", "beat", "muxer", "audio_encoder", "motion_dit", "renderer"}
live = [pytest.mark.redis, pytest.mark.stack, pytest.mark.slow]


def test_promtool_accepts_the_configuration() -> None:
    answer = promtool("check", "config", "prometheus.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_service_is_found_by_its_name_however_many_replicas_it_has() -> None:
    jobs = {job["job_name"]: job for job in load_yaml(DEPLOY / "prometheus.yml")["scrape_configs"]}
    assert set(jobs) == SERVICES | {"redis", "prometheus"}
    for name in SERVICES:
        (found,) = jobs[name]["dns_sd_configs"]
        assert (found["names"], found["type"]) == ([name], "A")
        assert found["port"] == (8000 if name == "gateway" else 9100)


class TestWatchedStack:
    """One run, many looks."""

    pytestmark = live

    def test_every_process_is_scraped(self, watched: Watched) -> None:
        up = {labels["job"]: value for labels, value in watched.prometheus.query("sum by (job) (up)")}
        assert up.pop("prometheus", 1) == 1
        assert up == {**dict.fromkeys(SERVICES, 1.0), "renderer": float(N_RENDERERS)}

    def test_jobs_are_counted_by_their_end(self, watched: Watched) -> None:
        found = watched.prometheus.query("sum by (outcome) (talkinghead_jobs_total)")
        ends = {labels["outcome"]: value for labels, value in found}
        assert ends == {"succeeded": float(len(watched.jobs)), "canceled": 1.0, "failed": 0.0, "rejected": 0.0}

    def test_speed_is_that_of_the_jobs(self, watched: Watched) -> None:
        prometheus, n_jobs = watched.prometheus, len(watched.jobs)
        assert prometheus.value("sum(talkinghead_realtime_speed_count)") == n_jobs
        speeds = [job["progress"]["frames_total"] / 25 / job["timings"]["total_s"] for job in watched.jobs]
        seen = prometheus.value("sum(talkinghead_realtime_speed_sum)") / n_jobs
        assert seen == pytest.approx(sum(speeds) / n_jobs, rel=0.2)

    def test_the_first_frame_took_what_viewers_saw(self, watched: Watched) -> None:
        prometheus, n_jobs = watched.prometheus, len(watched.jobs)
        n_seen = prometheus.value("sum(talkinghead_first_frame_seconds_count)")
        # On a machine that is busy otherwise a viewer may connect after the first frame was drawn: it does not count.
        assert 1 <= n_seen <= n_jobs
        seen_s = prometheus.value("sum(talkinghead_first_frame_seconds_sum)") / n_seen
        assert 0.01 < seen_s <= max(watched.first_frames_s) + 0.05

    @pytest.mark.parametrize("stage", ["viewer", Stage.MUX])
    def test_frames_are_those_of_the_jobs(self, watched: Watched, stage: str) -> None:
        expected = sum(job["progress"]["frames_total"] for job in watched.jobs)
        assert watched.prometheus.value(f'sum(talkinghead_frames_total{{stage="{stage}"}})') == expected

    @pytest.mark.parametrize("stage", [*Stage, "ingest", "assemble", "reconcile"])
    def test_every_stage_has_its_times(self, watched: Watched, stage: str) -> None:
        for name in ("stage_duration_seconds", "queue_duration_seconds"):
            n_seen = watched.prometheus.value(f'sum(talkinghead_{name}_count{{stage="{stage}"}})')
            # Reconcile is sent by beat, which does not stamp what it sends.
            assert n_seen > 0 or (name, stage) == ("queue_duration_seconds", "reconcile")
        busy_s = watched.prometheus.value(f'sum(talkinghead_stage_duration_seconds_sum{{stage="{stage}"}})')
        assert 0 < busy_s < 120

    def test_both_renderers_drew(self, watched: Watched) -> None:
        drawn = watched.prometheus.query('sum by (instance) (talkinghead_frames_total{job="renderer"})')
        assert len(drawn) == N_RENDERERS
        assert all(value > 0 for _, value in drawn)

    def test_queues_were_seen_full_and_are_empty_again(self, watched: Watched) -> None:
        prometheus = watched.prometheus
        lag = 'talkinghead_stream_lag_entries{stage="render"}'
        assert prometheus.value(f"max_over_time({lag}[{EVER}])") > 0
        assert prometheus.value(f'max_over_time(talkinghead_viewers{{job="gateway"}}[{EVER}])') == 1
        assert prometheus.value(f'max_over_time(talkinghead_jobs_unfinished{{state="running"}}[{EVER}])') == 1
        assert prometheus.value(f"min_over_time({lag}[{EVER}])") == 0
        assert prometheus.value("sum(talkinghead_viewers)") == 0

    def test_workers_are_alive(self, watched: Watched) -> None:
        found = {labels["kind"]: value for labels, value in watched.prometheus.query("talkinghead_workers")}
        kinds = ("audio_encoder", "motion_dit", "muxer", "control")
        assert found == {**dict.fromkeys(kinds, 1.0), "renderer": float(N_RENDERERS)}

    def test_control_tasks_were_sent_and_done(self, watched: Watched) -> None:
        sent = watched.prometheus.value('sum(talkinghead_control_tasks_sent_total{task="assemble"})')
        done = watched.prometheus.value('sum(talkinghead_messages_total{stage="assemble", outcome="done"})')
        # Reconcile sends a task again that has not begun within its lease; running it twice is harmless.
        assert sent >= len(watched.jobs)
        assert done >= len(watched.jobs)
        assert watched.prometheus.value('talkinghead_control_tasks_sent_total{job="beat", task="reconcile"}') > 0

    def test_builds_are_told(self, watched: Watched) -> None:
        builds = watched.prometheus.query("count by (version, python) (talkinghead_build_info)")
        assert [value for _, value in builds] == [len(SERVICES) + N_RENDERERS - 1]

    def test_no_gpu_is_invented(self, watched: Watched) -> None:
        assert watched.prometheus.query('{__name__=~"talkinghead_device_.*"}') == []

    def test_redis_memory_is_told_against_its_limit(self, watched: Watched) -> None:
        assert 0 < watched.prometheus.value("talkinghead_redis_memory_ratio") < 0.5
        assert not math.isnan(watched.prometheus.value("talkinghead_redis_memory_bytes"))


def test_the_shipped_rules_are_the_ones_that_are_loaded() -> None:
    (rules,) = load_yaml(DEPLOY / "prometheus.yml")["rule_files"]
    assert Path(DEPLOY, rules).exists()
