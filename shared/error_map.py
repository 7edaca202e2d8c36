"""What a worker does about an error of its handler: the one table from class to action."""

from enum import StrEnum

from redis.exceptions import OutOfMemoryError

from shared.errors import ProtocolError, TalkingHeadError, VersionMismatch, WeightsMismatch
from shared.redis_client import AWAY


class Reaction(StrEnum):
    """What to do.

    "fail": the job fails with this error. "dead": also keep the message as a dead letter. "leave": leave the entry
    pending for a worker that can. "wait": something we need is away; wait and try again. "retry": unexpected; try again
    until the tries are used up. "exit": this process cannot go on; others take over.
    """

    FAIL = "fail"
    DEAD = "dead"
    LEAVE = "leave"
    WAIT = "wait"
    RETRY = "retry"
    EXIT = "exit"


def reaction_to(error: Exception) -> Reaction:
    """Map an error to a reaction."""
    if isinstance(error, VersionMismatch):
        return Reaction.LEAVE
    if isinstance(error, WeightsMismatch) or is_device_lost(error):
        return Reaction.EXIT
    if isinstance(error, ProtocolError):
        return Reaction.DEAD
    if isinstance(error, (*AWAY, OutOfMemoryError)):
        return Reaction.WAIT
    if isinstance(error, TalkingHeadError):
        return Reaction.WAIT if error.retryable else Reaction.FAIL
    return Reaction.RETRY


def is_device_lost(error: Exception) -> bool:
    """True for a CUDA error other than out of memory: the context of this process is gone."""
    if is_out_of_memory(error):
        return False
    is_from_cuda = isinstance(error, RuntimeError) and "CUDA error" in str(error)
    return type(error).__name__ == "AcceleratorError" or is_from_cuda


def is_out_of_memory(error: Exception) -> bool:
    """True when a device had no memory left; less at once may still fit."""
    return isinstance(error, RuntimeError) and ("OutOfMemory" in type(error).__name__ or "out of memory" in str(error))
