"""The error tree: stable codes, and who may be retried."""

from collections.abc import Iterator

from shared import errors


def subclasses(cls: type[errors.TalkingHeadError]) -> Iterator[type[errors.TalkingHeadError]]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in subclasses(errors.TalkingHeadError)]
    assert len(codes) == len(set(codes))


def test_only_capacity_dependency_and_waiting_errors_are_retryable() -> None:
    retryable = {cls for cls in subclasses(errors.TalkingHeadError) if cls.retryable}
    assert all(not issubclass(cls, errors.InputError | errors.ModelError) for cls in retryable)
    assert {errors.RedisUnavailable, errors.QueueFull, errors.NoWorker, errors.ResultNotReady} <= retryable


def test_an_error_carries_its_message_and_when_to_come_back() -> None:
    error = errors.QueueFull("12 jobs wait", retry_after_s=3)
    assert (str(error), error.message, error.retry_after_s) == ("12 jobs wait", "12 jobs wait", 3)
