"""The dashboard of the whole system: what is slow, what is waiting, what fails, who is watching.

Readings that every gateway gives alike (queues, workers, Redis) are taken by maximum; counts add up.
"""

from deploy.grafana.panels import Dashboard, Panel, Query, Section

RATE = "$__rate_interval"
NOT_DONE = '{outcome!="done"}'
CONTROL_DONE = '{job="media", outcome="done"}'


def quantile(q: float, metric: str, *by: str) -> str:
    """A quantile of a histogram over all processes, by some labels."""
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({q}, sum by ({labels}) (rate(talkinghead_{metric}_bucket[{RATE}])))"


def per_second(metric: str, *by: str, where: str = "") -> str:
    """Growth of a count over all processes, by some labels."""
    return f"sum by ({', '.join(by)}) (rate(talkinghead_{metric}{where}[{RATE}]))"


AT_A_GLANCE = Section(
    "At a glance",
    (
        Panel(
            "Workers",
            "Live workers by kind. A red zero stops every job.",
            "short",
            (Query("max by (kind) (talkinghead_workers)", "{{kind}}"),),
            "stat",
            8,
            (1, 0.5),
        ),
        Panel(
            "Jobs that have not ended",
            "Running; waiting because TH_MAX_RUNNING_JOBS run; in the hands of a control task (planning, assembling).",
            "short",
            (Query("max by (state) (talkinghead_jobs_unfinished)", "{{state}}"),),
            "stat",
            6,
        ),
        Panel(
            "Viewers",
            "Open event streams of all gateways.",
            "short",
            (Query("sum(talkinghead_viewers)"),),
            "stat",
            2,
        ),
        Panel(
            "First frame, 95 %",
            "Job accepted to first frame sent, last half hour; only viewers that were there before it was drawn.",
            "s",
            (Query("histogram_quantile(0.95, sum by (le) (increase(talkinghead_first_frame_seconds_bucket[30m])))"),),
            "stat",
            3,
            (1, 2.56),
        ),
        Panel(
            "Speed, median",
            "Seconds of speech per second from accepting a job to its video, last half hour. Below 1 videos stop.",
            "suffix: x",
            (Query("histogram_quantile(0.5, sum by (le) (increase(talkinghead_realtime_speed_bucket[30m])))"),),
            "stat",
            3,
            (1.5, 1),
        ),
        Panel(
            "Dead letters",
            "Messages given up that nobody has deleted yet; see the runbook.",
            "short",
            (Query("max(talkinghead_dead_letter_entries)"),),
            "stat",
            2,
            (1, 5),
        ),
    ),
)

SLOW = Section(
    "What is slow",
    (
        Panel(
            "First frame",
            "Job accepted to first frame sent, for viewers that were there before it was drawn.",
            "s",
            (
                Query(quantile(0.5, "first_frame_seconds"), "half of the viewers"),
                Query(quantile(0.95, "first_frame_seconds"), "95 %"),
            ),
        ),
        Panel(
            "Speed of jobs",
            "Seconds of speech per second from accepting a job to its video. Waiting for admission counts.",
            "suffix: x",
            (
                Query(quantile(0.5, "realtime_speed"), "half of the jobs"),
                Query(quantile(0.1, "realtime_speed"), "slowest tenth"),
            ),
        ),
        Panel(
            "Frames",
            "Drawn, muxed into videos, sent to viewers. A viewer at normal speed takes 25 a second.",
            "suffix: frames/s",
            (Query(per_second("frames_total", "stage"), "{{stage}}"),),
        ),
        Panel(
            "Work, 95 %",
            "Time from taking a batch of messages (one message on a CPU), or starting a control task, to its commit.",
            "s",
            (Query(quantile(0.95, "stage_duration_seconds", "stage"), "{{stage}}"),),
            width=6,
        ),
        Panel(
            "Waiting, 95 %",
            "Time from issuing a message to the first try. Slices are issued a window at a time and wait by design.",
            "s",
            (Query(quantile(0.95, "queue_duration_seconds", "stage"), "{{stage}}"),),
            width=6,
        ),
        Panel(
            "Waiting against work",
            "Seconds that messages wait for each second of work on them, by stage: the highest lacks workers most.",
            "suffix: x",
            (
                Query(
                    f"{per_second('queue_duration_seconds_sum', 'stage')} / "
                    f"{per_second('stage_duration_seconds_sum', 'stage')}",
                    "{{stage}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Busy workers",
            "Average number of processes at work, by stage. At the number of workers of that stage there is no more.",
            "short",
            (Query(per_second("stage_duration_seconds_sum", "stage"), "{{stage}}"),),
            width=6,
            is_stacked=True,
        ),
    ),
)

WAITING = Section(
    "What is waiting",
    (
        Panel(
            "Messages not yet taken",
            "Lag of each stage's consumer group. Bounded by the window budget: what does not shrink lacks workers.",
            "short",
            (Query("max by (stage) (talkinghead_stream_lag_entries)", "{{stage}}"),),
        ),
        Panel(
            "Age of the oldest message not yet taken",
            "How far a stage is behind.",
            "s",
            (Query("max by (stage) (talkinghead_stream_oldest_waiting_seconds)", "{{stage}}"),),
        ),
        Panel(
            "Age of the oldest message in work",
            "Taken and not finished. Above the claim time (10 s) its worker is slow, or dead and nobody is left.",
            "s",
            (Query("max by (stage) (talkinghead_stream_oldest_pending_seconds)", "{{stage}}"),),
        ),
        Panel(
            "Messages in work",
            "Delivered to a worker, not acknowledged.",
            "short",
            (Query("max by (stage) (talkinghead_stream_pending_entries)", "{{stage}}"),),
        ),
        Panel(
            "Jobs that have not ended",
            "Running, waiting for admission, or in the hands of a control task.",
            "short",
            (Query("max by (state) (talkinghead_jobs_unfinished)", "{{state}}"),),
            is_stacked=True,
        ),
        Panel(
            "Messages handled together",
            "Average batch by stage.",
            "short",
            (
                Query(
                    f"{per_second('batch_messages_sum', 'stage')} / {per_second('batch_messages_count', 'stage')}",
                    "{{stage}}",
                ),
            ),
        ),
    ),
)

FAILS = Section(
    "What fails",
    (
        Panel(
            "Jobs that ended",
            "Per minute. Rejected: the caller's fault, such as no face in the portrait. Failed: ours.",
            "suffix:/min",
            (Query(f"60 * {per_second('jobs_total', 'outcome')}", "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Messages that did not go well",
            "Per minute: tried again, given up, left to others, or not wanted any more (dropped: harmless).",
            "suffix:/min",
            (
                Query(
                    f"60 * {per_second('messages_total', 'stage', 'outcome', where=NOT_DONE)}",
                    "{{stage}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Messages taken over",
            "Per minute, from workers that were lost. Each costs the claim time.",
            "suffix:/min",
            (Query(f"60 * {per_second('deliveries_total', 'stage')}", "{{stage}}"),),
        ),
        Panel(
            "Requests answered with a problem",
            "Per minute, by the code in the answer.",
            "suffix:/min",
            (Query(f"60 * {per_second('http_problems_total', 'code')}", "{{code}}"),),
        ),
        Panel(
            "Dead letters",
            "Messages given up that nobody has deleted yet.",
            "short",
            (Query("max(talkinghead_dead_letter_entries)"),),
        ),
        Panel(
            "Control tasks",
            "Per minute, sent by gateways, muxers and beat, and ended well. Reconcile must never stop.",
            "suffix:/min",
            (
                Query(f"60 * {per_second('control_tasks_sent_total', 'task')}", "{{task}} sent"),
                Query(
                    f"60 * {per_second('messages_total', 'stage', where=CONTROL_DONE)}",
                    "{{stage}} done",
                ),
            ),
        ),
    ),
)

WATCHING = Section(
    "Who is watching",
    (
        Panel(
            "Viewers",
            "Open event streams by gateway.",
            "short",
            (Query('sum by (instance) (talkinghead_viewers{job="gateway"})', "{{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Frames sent",
            "To all viewers together.",
            "suffix: frames/s",
            (Query(f'sum(rate(talkinghead_frames_total{{stage="viewer"}}[{RATE}]))'),),
        ),
        Panel(
            "Jobs accepted",
            "Per minute; a job whose first control task was lost and sent again counts twice.",
            "suffix:/min",
            (Query(f'60 * sum(rate(talkinghead_control_tasks_sent_total{{task="ingest"}}[{RATE}]))'),),
        ),
    ),
)

PROCESSES = Section(
    "Processes",
    (
        Panel(
            "Memory",
            "Resident memory by service; of Celery and of several uvicorn processes the one that was scraped.",
            "bytes",
            (Query('sum by (job) (process_resident_memory_bytes{job!="prometheus"})', "{{job}}"),),
        ),
        Panel(
            "Processor time",
            "Cores in use by service; of Celery and of several uvicorn processes the one that was scraped.",
            "short",
            (Query(f'sum by (job) (rate(process_cpu_seconds_total{{job!="prometheus"}}[{RATE}]))', "{{job}}"),),
        ),
        Panel(
            "Redis memory",
            "Used share of maxmemory. New jobs are refused from TH_GATEWAY_MAX_MEMORY_RATIO (70 %) on.",
            "percentunit",
            (Query("max(talkinghead_redis_memory_ratio)"),),
        ),
        Panel(
            "Processes that answer",
            "Targets that Prometheus found and reached, by service.",
            "short",
            (Query("sum by (job) (up)", "{{job}}"),),
        ),
        Panel(
            "Builds",
            "Versions that run at this moment; more than one during an update only.",
            "short",
            (
                Query(
                    "count by (version, python, torch) (talkinghead_build_info)",
                    "{{version}} py{{python}} torch {{torch}}",
                ),
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="talkinghead-pipeline",
    title="Talking Head: pipeline",
    description="What is slow, what is waiting, what fails, who is watching.",
    sections=(AT_A_GLANCE, SLOW, WAITING, FAILS, WATCHING, PROCESSES),
)
