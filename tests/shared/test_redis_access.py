"""A Redis that refuses us ends a process with what to do; a Redis that is away is waited for."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from redis import Redis

from shared.errors import ConfigurationError
from shared.jobs import JobStore
from shared.redis_access import await_access, require_access
from shared.secret import with_password
from shared.settings import Settings
from shared.worker import REFUSED, serve
from tests.fakes import FakeHandler
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis
USER, PASSWORD = "talkinghead", "right/one"


@pytest.fixture
def guarded(own_redis: RedisServer) -> str:
    """Host and port of a Redis that only lets `USER` in."""
    with Redis.from_url(own_redis.url) as client:
        client.acl_setuser(
            USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], commands=["+@all"]
        )
        client.acl_setuser("default", enabled=False)
    return f"127.0.0.1:{own_redis.port}"


def written(folder: Path, password: str) -> str:
    file = folder / "password"
    file.write_text(password)
    return str(file)


def test_the_right_password_of_a_file_lets_us_in(guarded: str, tmp_path: Path) -> None:
    url = with_password(f"redis://{USER}@{guarded}/0", written(tmp_path, PASSWORD))
    assert require_access(url)


@pytest.mark.parametrize("who", [f"{USER}:wrong@", "nobody:right@", ""])
def test_a_refusal_is_a_configuration_error_that_shows_no_password(guarded: str, who: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Redis at {guarded} refuses us: .*TH_REDIS_PASSWORD_FILE") as caught:
        require_access(f"redis://{who}{guarded}/0")
    assert "wrong" not in caught.value.message.replace("WRONGPASS", "")


def test_a_server_that_is_away_is_no_refusal() -> None:
    assert not require_access("redis://127.0.0.1:1/0")
    stop = threading.Event()
    stop.set()
    await_access("redis://127.0.0.1:1/0", stop)


def test_a_worker_with_a_wrong_password_refuses_to_start(guarded: str, tmp_path: Path) -> None:
    url = f"redis://{USER}@{guarded}/0"
    settings = Settings(redis_url=url, redis_password_file=written(tmp_path, "wrong"))
    store = JobStore.from_settings(settings)
    assert serve(FakeHandler("encoder", store, tmp_path), store, settings, "encoder", threading.Event()) == REFUSED


@pytest.mark.parametrize("words", [("worker", "--pool", "solo"), ("beat", "--pidfile", "")], ids=lambda words: words[0])
def test_celery_ends_instead_of_trying_for_ever(guarded: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "gateway.tasks", *words],
        env={
            **os.environ,
            "TH_REDIS_URL": f"redis://{USER}@{guarded}/0",
            "TH_REDIS_PASSWORD_FILE": written(tmp_path, "no"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == REFUSED, process.stderr
    assert f"Redis at {guarded} refuses us" in process.stdout


SECRET = ("TH_REDIS_PASSWORD_FILE", "/nowhere/password", "TH_REDIS_PASSWORD_FILE=/nowhere/password cannot be read")
NUMBER = ("TH_THREADS", "none", "TH_THREADS: ")
BUNDLE = ("TH_BUNDLE", "nope", "unknown bundle 'nope'")


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (("gateway.muxer",), NUMBER),
        (("celery", "-A", "gateway.tasks", "worker"), SECRET),
        (("celery", "-A", "gateway.tasks", "beat", "--pidfile", ""), NUMBER),
        (("uvicorn", "--factory", "gateway.app:create_app", "--port", "0"), SECRET),
        (("uvicorn", "--factory", "gateway.app:create_app", "--port", "0"), BUNDLE),
    ],
    ids=["muxer", "celery", "beat", "gateway", "gateway's bundle"],
)
def test_wrong_settings_end_a_process_with_one_line(command: tuple[str, ...], setting: tuple[str, str, str]) -> None:
    name, value, told = setting
    process = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == REFUSED
    assert json.loads(process.stdout)["error"].startswith(told)
    assert "Traceback" not in process.stderr
