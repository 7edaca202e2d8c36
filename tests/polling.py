"""Waiting for something to become true, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")


def eventually(look: Callable[[], Seen], timeout_s: float = 10.0, what: str = "") -> Seen:
    """Look until something truthy is seen, and return it.

    Raises:
        TimeoutError: it was not seen in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what or look}")
        time.sleep(0.01)
    return seen
