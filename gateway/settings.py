"""Settings of the processes in this package: gateway, control tasks and muxer."""

from pydantic import Field

from shared.settings import Settings

MEGABYTE = 1_000_000


class GatewaySettings(Settings):
    """What the HTTP gateway reads besides the common settings."""

    gateway_host: str = Field("127.0.0.1", description="address to bind")
    gateway_port: int = Field(8000, ge=0, le=65_535, description="port to bind")
    gateway_max_upload_bytes: int = Field(25 * MEGABYTE, ge=1, description="largest upload, both files together")
    gateway_max_unfinished_jobs: int = Field(100, ge=1, description="unfinished jobs per shard; more are refused")
    gateway_max_memory_ratio: float = Field(
        0.7, gt=0, le=1, description="share of Redis' maxmemory above which jobs are refused"
    )
    gateway_max_viewers: int = Field(200, ge=1, description="open event streams per process")
    gateway_heartbeat_s: float = Field(12.0, gt=0, description="silence on an event stream before a comment is sent")


class ControlSettings(Settings):
    """What the Celery tasks read besides the common settings."""

    gateway_max_audio_s: float = Field(600.0, gt=0, description="longest speech")
    control_reconcile_s: float = Field(5.0, gt=0, description="seconds between two reconcile runs")
    control_expire_s: float = Field(300.0, gt=0, description="seconds between two searches for expired jobs")


class MuxerSettings(Settings):
    """What the muxer reads besides the common settings."""

    x264_preset: str = Field("veryfast", description="x264 preset of the segments; the same for all muxers")
    muxer_deadline_s: float = Field(
        300.0, gt=0, description="seconds one window may take; half of it a full artifact store is waited for"
    )
