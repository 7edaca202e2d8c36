"""Settings: read once, frozen, passwords masked, misspelt names found."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.bundles import load_bundle
from shared.errors import ConfigurationError
from shared.settings import Settings, unknown_variables


def test_environment_is_read_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TH_REDIS_URL", "redis://:secret@redis:6379/1")
    monkeypatch.setenv("TH_SHARDS", "0.1, 1.0")
    settings = Settings()
    assert settings.broker_url == "redis://:secret@redis:6379/1"
    assert settings.shard_tags == ("0.1", "1.0")
    assert settings.effective()["redis_url"] == "redis://***@redis:6379/1"


def test_settings_cannot_change_after_start() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.threads = 4  # type: ignore[misc]


@pytest.mark.parametrize(("name", "value"), [("TH_THREADS", "0"), ("TH_METRICS_PORT", "70000"), ("TH_JOB_TTL_S", "x")])
def test_values_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_misspelt_variables_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TH_REDIS_ULR", "x")
    assert "TH_REDIS_ULR" in unknown_variables(Settings)
    assert "TH_REDIS_URL" not in unknown_variables(Settings)


BUNDLE = {
    "version": "1",
    "context": 10,
    "hop": 65,
    "margin": 10,
    "hidden_size": 768,
    "receptive_field": 400,
    "relative_motion": True,
}


def test_a_bundle_of_ones_own_is_defined_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "bundles.json"
    file.write_text(json.dumps({"base": BUNDLE}))
    bundle = load_bundle("base", str(file))
    assert (bundle.feature_size, bundle.receptive_field, bundle.geometry.length) == (769, 400, 75)
    assert load_bundle("embedded", str(file)).hidden_size == 192
    with pytest.raises(ConfigurationError, match="'base', 'embedded'"):
        load_bundle("nope", str(file))


def test_a_bundle_names_its_renderer(tmp_path: Path) -> None:
    file = tmp_path / "bundles.json"
    file.write_text(json.dumps({"warped": BUNDLE, "large": BUNDLE | {"renderer": "liveportrait"}}))
    renderers = [load_bundle(name, str(file)).renderer for name in ("embedded", "liveportrait", "warped", "large")]
    assert renderers == ["embedded", "liveportrait", "embedded", "liveportrait"]
    file.write_text(json.dumps({"odd": BUNDLE | {"renderer": "oil"}}))
    with pytest.raises(ConfigurationError, match="expected one of"):
        load_bundle("odd", str(file))


def test_a_bundle_names_its_motion(tmp_path: Path) -> None:
    file = tmp_path / "bundles.json"
    own = BUNDLE | {"context": 0, "hop": 100, "margin": 0, "relative_motion": False, "motion": "joyvasa"}
    file.write_text(json.dumps({"ours": BUNDLE, "theirs": own}))
    motions = [load_bundle(name, str(file)).motion for name in ("embedded", "joyvasa", "ours", "theirs")]
    assert motions == ["embedded", "joyvasa", "embedded", "joyvasa"]
    assert load_bundle("theirs", str(file)).geometry == load_bundle("joyvasa").geometry
    file.write_text(json.dumps({"odd": BUNDLE | {"motion": "dance"}}))
    with pytest.raises(ConfigurationError, match="expected one of"):
        load_bundle("odd", str(file))


def test_a_bundle_may_look_ahead(tmp_path: Path) -> None:
    file = tmp_path / "bundles.json"
    file.write_text(json.dumps({"near": BUNDLE, "far": BUNDLE | {"lookahead": 4}}))
    assert [load_bundle(name, str(file)).geometry.length for name in ("near", "far")] == [75, 79]
    file.write_text(json.dumps({"deaf": BUNDLE | {"lookahead": 11}}))
    with pytest.raises(ConfigurationError, match="look-ahead of 11 frames"):
        load_bundle("deaf", str(file))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"base": {}}', json.dumps({"base": BUNDLE | {"hop": 0}}), json.dumps({"b": BUNDLE | {"hop": "65"}})],
)
def test_a_broken_bundle_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bundles.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="TH_BUNDLE_FILE"):
        load_bundle("embedded", str(file))


def test_a_missing_bundle_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TH_BUNDLE_FILE"):
        load_bundle("embedded", str(tmp_path / "none.json"))


def test_unknown_bundle_names_the_known_ones() -> None:
    assert load_bundle("embedded").feature_size == 193
    with pytest.raises(ConfigurationError, match="embedded"):
        load_bundle("nope")
