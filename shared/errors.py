"""The tree of errors. Each class has a stable ``code`` and says whether trying again can help.

A message says what was seen, what was expected and what to do. HTTP status codes live in ``gateway/errors.py`` only.
"""

from typing import ClassVar


class TalkingHeadError(Exception):
    """Base of everything this system raises on purpose."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class InputError(TalkingHeadError):
    """The caller's fault; never retried."""

    code = "invalid_input"


class UnsupportedMedia(InputError):
    """The bytes are not an image or sound that can be read."""

    code = "unsupported_media"


class NoFaceFound(InputError):
    """The portrait shows no face."""

    code = "no_face_found"


class AudioTooLong(InputError):
    """The speech lasts longer than the limit."""

    code = "audio_too_long"


class LimitExceeded(InputError):
    """Too many bytes or pixels."""

    code = "limit_exceeded"


class ConfigurationError(InputError):
    """A setting is wrong; the process refuses to start."""

    code = "configuration"


class StateError(TalkingHeadError):
    """Not there, not there yet, or no longer there."""

    code = "wrong_state"


class JobNotFound(StateError):
    """No job of this id."""

    code = "job_not_found"


class JobCancelled(StateError):
    """The job was cancelled."""

    code = "job_canceled"


class JobExpired(StateError):
    """The job and its files were deleted after their time to live."""

    code = "job_expired"


class ResultNotReady(StateError):
    """The job has not ended yet."""

    code = "result_not_ready"
    retryable = True


class ArtifactMissing(StateError):
    """A file of a job is not there: deleted with the job, or never written."""

    code = "artifact_missing"


class PortraitNotReady(StateError):
    """The appearance of the portrait is not prepared yet."""

    code = "portrait_not_ready"
    retryable = True


class CapacityError(TalkingHeadError):
    """Too much to do right now; says when to come back."""

    code = "capacity"
    retryable = True


class RateLimited(CapacityError):
    """One caller asks too often."""

    code = "rate_limited"


class QueueFull(CapacityError):
    """Too many unfinished jobs, or the queue's memory is nearly full."""

    code = "queue_full"


class NoWorker(CapacityError):
    """No live worker of a kind that the job needs."""

    code = "no_worker"


class ProtocolError(TalkingHeadError):
    """Bytes of another process that cannot be trusted; they go to the dead letters."""

    code = "protocol"


class BadMessage(ProtocolError):
    """Bytes that cannot be decoded."""

    code = "bad_message"


class VersionMismatch(ProtocolError):
    """A message of an unknown version; stays pending for a newer worker."""

    code = "version_mismatch"
    retryable = True


class ShapeError(ProtocolError):
    """A tensor of the wrong shape or dtype."""

    code = "shape"


class DependencyError(TalkingHeadError):
    """Something we need is away; wait and try again."""

    code = "dependency"
    retryable = True


class RedisUnavailable(DependencyError):
    """Redis does not answer or refuses writes."""

    code = "redis_unavailable"


class ArtifactUnavailable(DependencyError):
    """The artifact store cannot be read or written (gone, full, forbidden)."""

    code = "artifact_unavailable"


class WeightsUnavailable(DependencyError):
    """Weights cannot be fetched or stored right now (hub unreachable, download broken off, disk full)."""

    code = "weights_unavailable"


class ModelError(TalkingHeadError):
    """Weights or numbers are wrong."""

    code = "model"


class WeightsMismatch(ModelError):
    """A checkpoint does not fit the network; the process refuses to start."""

    code = "weights_mismatch"


class NonFiniteOutput(ModelError):
    """A model produced NaN or infinity; the job fails, the worker lives."""

    code = "non_finite_output"
