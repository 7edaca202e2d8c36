"""Dead letters are shown with their reason, and deleted only when that is asked for."""

import json

import pytest

from gateway.cli.main import main
from shared.jobs import JobStore
from shared.protocol import Stage
from tests.fakes import submit
from tests.shared.data_plane import Hands

pytestmark = pytest.mark.redis


def given_up(store: JobStore, name: str) -> None:
    job_id = submit(store, name, 5)
    (task,) = [task for task in Hands(store).taken(Stage.PORTRAIT) if task.job_id == job_id]
    store.fail(task, ValueError("broken"), f"ValueError: {name} is broken")


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_redis_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TH_REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["dead-letters"]) == 1
    assert "TH_REDIS_URL" in capsys.readouterr().err


def test_letters_are_shown_until_they_are_deleted(
    redis_url: str, store: JobStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TH_REDIS_URL", redis_url)
    assert main(["dead-letters"]) == 0
    assert printed(capsys) == []
    for name in ("a", "b"):
        given_up(store, name)
    for words in (["dead-letters"], ["dead-letters", "--delete"]):
        assert main(words) == 0
        shown = printed(capsys)
        assert [(letter["job"], letter["unit"]) for letter in shown] == [("0-a", "portrait"), ("0-b", "portrait")]
        assert shown[0]["reason"] == "ValueError: a is broken"
        assert shown[0]["at"].endswith("+00:00")
    assert store.dead_letter_count() == 0
