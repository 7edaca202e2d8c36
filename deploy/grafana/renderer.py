"""The dashboard of the renderers, where nine tenths of a job's time go, and of the GPUs."""

from deploy.grafana.panels import Dashboard, Panel, Query, Section, Variable

RATE = "$__rate_interval"
ONE = 'instance=~"$instance"'


def rate_of(metric: str, *by: str, where: str = "") -> str:
    """Growth of a count of the chosen renderers, by some labels."""
    matchers = ", ".join(filter(None, (where, ONE)))
    return f"sum by ({', '.join(by)}) (rate(talkinghead_{metric}{{{matchers}}}[{RATE}]))"


def quantile(q: float, metric: str, *by: str, where: str = "") -> str:
    """A quantile of a histogram of the chosen renderers, by some labels."""
    return f"histogram_quantile({q}, {rate_of(f'{metric}_bucket', *by, 'le', where=where)})"


RENDER = 'stage="render"'

SPEED = Section(
    "Speed",
    (
        Panel(
            "Frames drawn",
            "By renderer. A job at real time needs 25 a second.",
            "suffix: frames/s",
            (Query(rate_of("frames_total", "instance", where=RENDER), "{{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Frames per second of work",
            "What a renderer draws while it has work: its speed without waiting.",
            "suffix: frames/s",
            (
                Query(
                    f"{rate_of('frames_total', 'instance', where=RENDER)} / "
                    f"{rate_of('stage_duration_seconds_sum', 'instance', where=RENDER)}",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Time at work",
            "Share of the time in which a renderer has a slice in hand. Near 100 % and with a queue: add renderers.",
            "percentunit",
            (Query(rate_of("stage_duration_seconds_sum", "instance", where=RENDER), "{{instance}}"),),
        ),
        Panel(
            "Time of the slices taken together",
            "One slice on a CPU (5 or 13 frames: 0.2 or 0.52 s are real time), TH_RENDERER_MESSAGES of them on a GPU.",
            "s",
            (
                Query(quantile(0.5, "stage_duration_seconds", where=RENDER), "half"),
                Query(quantile(0.95, "stage_duration_seconds", where=RENDER), "95 %"),
            ),
        ),
        Panel(
            "Slices wait",
            "From issuing to the first try. Slices are issued a window at a time and wait by design.",
            "s",
            (
                Query(quantile(0.5, "queue_duration_seconds", where=RENDER), "half"),
                Query(quantile(0.95, "queue_duration_seconds", where=RENDER), "95 %"),
            ),
        ),
        Panel(
            "Preparing a portrait",
            "Once per new portrait: face, crop, appearance. Part of the first frame's wait.",
            "s",
            (
                Query(quantile(0.5, "stage_duration_seconds", where='stage="portrait"'), "half"),
                Query(quantile(0.95, "stage_duration_seconds", where='stage="portrait"'), "95 %"),
            ),
        ),
    ),
)

STEPS = Section(
    "Steps of the pipeline inside a renderer",
    (
        Panel(
            "Time of a batch, 95 %",
            "Upload key points, compute, copy frames back, encode JPEG. They run side by side: the longest decides.",
            "s",
            (Query(quantile(0.95, "render_step_duration_seconds", "step"), "{{step}}"),),
        ),
        Panel(
            "Where the time goes",
            "Seconds per second in each step; more than one in sum is overlap.",
            "short",
            (Query(rate_of("render_step_duration_seconds_sum", "step"), "{{step}}"),),
            is_stacked=True,
        ),
        Panel(
            "Frames computed together",
            "Average batch. 1 for the embedded bundle; for LivePortrait near the maximum when there is enough to do.",
            "suffix: frames",
            (
                Query(
                    f"{rate_of('batch_frames_sum', 'instance', where=RENDER)} / "
                    f"{rate_of('batch_frames_count', 'instance', where=RENDER)}",
                    "{{instance}}",
                ),
            ),
        ),
    ),
)

MACHINE = Section(
    "Processor and memory",
    (
        Panel(
            "Left half precision",
            "1 where a renderer went over to float32 after black or broken frames in half precision: slower, correct.",
            "short",
            (
                Query(
                    f'sum by (instance) (talkinghead_precision_fallbacks_total{{job="renderer", {ONE}}})',
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Processor time",
            "Cores in use by renderer.",
            "short",
            (
                Query(
                    f'sum by (instance) (rate(process_cpu_seconds_total{{job="renderer", {ONE}}}[{RATE}]))',
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Memory",
            "Resident memory by renderer: models, built appearances (TH_RENDERER_CACHE), frames on their way.",
            "bytes",
            (Query(f'sum by (instance) (process_resident_memory_bytes{{job="renderer", {ONE}}})', "{{instance}}"),),
        ),
    ),
)

GPU = Section(
    "GPU (empty where there is none)",
    (
        Panel(
            "GPU: utilisation",
            "Share of time in which a kernel ran, by process of renderers and motion workers. Needs NVML.",
            "percentunit",
            (
                Query(
                    "max by (job, instance, device) (talkinghead_device_utilisation_ratio)",
                    "{{job}} {{instance}} GPU {{device}}",
                ),
            ),
        ),
        Panel(
            "GPU: memory of the device",
            "Used by all processes, and there at all.",
            "bytes",
            (
                Query(
                    'max by (instance, device) (talkinghead_device_memory_bytes{kind="used"})',
                    "{{instance}} GPU {{device}} used",
                ),
                Query(
                    'max by (instance, device) (talkinghead_device_memory_bytes{kind="total"})',
                    "{{instance}} GPU {{device}} total",
                ),
            ),
        ),
        Panel(
            "GPU: memory of each process",
            "In tensors (allocated), and kept by torch for tensors (reserved).",
            "bytes",
            (
                Query(
                    'sum by (job, instance, kind) (talkinghead_device_memory_bytes{kind=~"allocated|reserved"})',
                    "{{job}} {{instance}} {{kind}}",
                ),
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    uid="talkinghead-renderer",
    title="Talking Head: renderers and GPU",
    description="How fast frames are drawn, which step decides, what the machine has left.",
    sections=(SPEED, STEPS, MACHINE, GPU),
    variables=(Variable("instance", "Renderer", 'label_values(up{job="renderer"}, instance)'),),
)
