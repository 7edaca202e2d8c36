"""A password that comes in a file ends up in the URL, and nowhere else."""

from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.secret import with_password
from shared.settings import Settings


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    return file


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://talkinghead@redis:6379/0", "redis://talkinghead:s3cret@redis:6379/0"),
        ("redis://redis:6379/0", "redis://:s3cret@redis:6379/0"),
        ("rediss://redis:6379/0?ssl_cert_reqs=none", "rediss://:s3cret@redis:6379/0?ssl_cert_reqs=none"),
        ("unix://th@/run/redis.sock?db=1", "unix://th:s3cret@/run/redis.sock?db=1"),
    ],
)
def test_the_password_joins_the_url(password_file: Path, url: str, expected: str) -> None:
    assert with_password(url, str(password_file)) == expected


def test_letters_that_mean_something_in_urls_are_escaped(password_file: Path) -> None:
    password_file.write_text("a/b:c@d%e")
    assert with_password("redis://th@redis/0", str(password_file)) == "redis://th:a%2Fb%3Ac%40d%25e@redis/0"


@pytest.mark.parametrize(
    ("content", "url", "told"),
    [
        (None, "redis://th@redis/0", "No such file"),
        (b"", "redis://th@redis/0", "is empty"),
        (b" \n", "redis://th@redis/0", "is empty"),
        (b"\xff\xfe", "redis://th@redis/0", "not text"),
        (b"s3cret", "redis://th:other@redis/0", "take the password out of the URL"),
    ],
)
def test_a_secret_that_cannot_be_used_says_what_to_do(
    tmp_path: Path, content: bytes | None, url: str, told: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        with_password(url, str(file))
    assert "TH_REDIS_PASSWORD_FILE" in caught.value.message
    assert "s3cret" not in caught.value.message


def test_settings_read_the_file_and_never_show_it(monkeypatch: pytest.MonkeyPatch, password_file: Path) -> None:
    monkeypatch.setenv("TH_REDIS_URL", "redis://talkinghead@redis:6379/0")
    monkeypatch.setenv("TH_REDIS_PASSWORD_FILE", str(password_file))
    settings = Settings()
    assert settings.redis_url == "redis://talkinghead:s3cret@redis:6379/0"
    assert settings.broker_url == settings.redis_url
    assert "s3cret" not in repr(settings.effective())


def test_a_broker_of_its_own_keeps_its_own_password(monkeypatch: pytest.MonkeyPatch, password_file: Path) -> None:
    monkeypatch.setenv("TH_REDIS_PASSWORD_FILE", str(password_file))
    monkeypatch.setenv("TH_CELERY_BROKER_URL", "redis://:own@broker:6379/0")
    assert Settings().broker_url == "redis://:own@broker:6379/0"


def test_settings_refuse_a_missing_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TH_REDIS_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="mount the secret"):
        Settings()
