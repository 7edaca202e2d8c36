"""Every metric of every process, declared once.

Prefix ``talkinghead_``, base units as suffix, labels from closed sets, never an id.
"""

from prometheus_client import Counter, Gauge, Histogram, Info

PREFIX = "talkinghead_"
# The default buckets have no edge at the 40 ms budget of one frame.
DURATION_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12)
SIZE_BUCKETS = (1, 2, 3, 5, 8, 13, 21, 34, 65)

stage_duration_seconds = Histogram(
    f"{PREFIX}stage_duration_seconds",
    "Time to handle one message, start to commit",
    ["stage"],
    buckets=DURATION_BUCKETS,
)
queue_duration_seconds = Histogram(
    f"{PREFIX}queue_duration_seconds", "Time a message waited in its stream", ["stage"], buckets=DURATION_BUCKETS
)
messages_total = Counter(f"{PREFIX}messages_total", "Messages handled", ["stage", "outcome"])
deliveries_total = Counter(f"{PREFIX}deliveries_total", "Messages delivered again after a worker was lost", ["stage"])
dead_letters_total = Counter(f"{PREFIX}dead_letters_total", "Messages given up", ["stage", "reason"])
stream_lag_entries = Gauge(f"{PREFIX}stream_lag_entries", "Entries not yet delivered", ["stage"])
stream_pending_entries = Gauge(f"{PREFIX}stream_pending_entries", "Entries delivered, not acknowledged", ["stage"])
batch_frames = Histogram(f"{PREFIX}batch_frames", "Frames or messages per batch", ["stage"], buckets=SIZE_BUCKETS)
frames_total = Counter(f"{PREFIX}frames_total", "Frames made", ["stage"])
first_frame_seconds = Histogram(
    f"{PREFIX}first_frame_seconds", "Job accepted to first frame sent to a viewer", buckets=(*DURATION_BUCKETS, 10.24)
)
viewers = Gauge(f"{PREFIX}viewers", "Open event streams")
build_info = Info(f"{PREFIX}build", "Version of the running code")
