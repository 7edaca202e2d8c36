"""Settings every process shares, read from the environment once at start-up.

One prefix ``TH_``, flat names. A process that needs more subclasses `Settings` and keeps the prefix: the component is
part of the field name (``renderer_max_batch`` is ``TH_RENDERER_MAX_BATCH``).
"""

import os
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError
from shared.redis_cluster import is_cluster
from shared.secret import with_password

PREFIX = "TH_"
LOCAL_REDIS = "redis://127.0.0.1:6379/0"


class Settings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    redis_url: str = Field(
        LOCAL_REDIS, description="Redis of the data plane; redis+cluster://host:port,host:port for a cluster"
    )
    redis_password_file: str = Field("", description="file with the password for TH_REDIS_URL; empty: none")
    celery_broker_url: str = Field("", description="Redis of the control plane; empty: the same Redis")
    artifacts_url: str = Field("./var/artifacts", description="folder or fsspec URL of uploads and results")
    bundle: str = Field("embedded", description="default model bundle")
    bundle_file: str = Field("", description="JSON file that defines further bundles; empty: none")
    weights_dir: str = Field("", description="folder of pulled bundles; empty: ~/.cache/talkinghead/weights")
    threads: int = Field(1, ge=1, description="threads of torch, OMP and OpenCV per process")
    shards: str = Field("0", description="comma-separated shard tags")
    max_running_jobs: int = Field(4, ge=1, description="running jobs per shard; others wait")
    window_budget: int = Field(4, ge=1, description="windows generated and not yet muxed, per job")
    viewer_tail_frames: int = Field(250, ge=0, description="muxed frames kept for viewers")
    job_ttl_s: int = Field(86_400, ge=60, description="seconds an ended job is kept")
    max_tries: int = Field(5, ge=1, description="tries before a message becomes a dead letter")
    claim_idle_s: float = Field(10.0, gt=0, description="silence after which a worker's entries are taken over")
    task_lease_s: float = Field(10.0, gt=0, description="seconds before a control task is sent again")
    worker_name: str = Field("", description="consumer name; empty: kind, host and process id")
    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: str = Field("auto", description="json, console, or auto: console on a terminal")
    metrics_host: str = Field("127.0.0.1", description="address at which a worker serves its metrics")
    metrics_port: int = Field(0, ge=0, le=65_535, description="port at which a worker serves its metrics; 0: off")

    @model_validator(mode="before")
    @classmethod
    def _read_password(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Put the password into the URL; a ConfigurationError passes through pydantic as it is."""
        if file := values.get("redis_password_file"):
            return values | {"redis_url": with_password(values.get("redis_url", LOCAL_REDIS), file)}
        return values

    @property
    def shard_tags(self) -> tuple[str, ...]:
        """The shard tags, in order."""
        return tuple(tag.strip() for tag in self.shards.split(",") if tag.strip())

    @property
    def broker_url(self) -> str:
        """Where Celery's messages live.

        Raises:
            ConfigurationError: they would live in a cluster, which Celery cannot use.
        """
        if not self.celery_broker_url and is_cluster(self.redis_url):
            raise ConfigurationError(
                "TH_REDIS_URL is a cluster, and Celery needs a plain Redis: name one in TH_CELERY_BROKER_URL"
            )
        return self.celery_broker_url or self.redis_url

    def effective(self) -> dict[str, object]:
        """Values for the start-up log, with passwords masked."""
        return {name: _masked(value) for name, value in self.model_dump().items()}


def explain(error: ValidationError) -> str:
    """What is wrong with which variable, in one line and without values that may be secret."""
    told = (f"{PREFIX}{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
    return "; ".join(told) + ". See .env.example for names, units and defaults"


def unknown_variables(*settings: type[Settings]) -> list[str]:
    """Environment variables with our prefix that no given settings class reads: most likely misspelt."""
    known = {(PREFIX + name).upper() for cls in settings for name in cls.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _masked(value: object) -> object:
    if not (isinstance(value, str) and "://" in value and "@" in value):
        return value
    scheme, _, rest = value.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}"
