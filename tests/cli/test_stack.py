"""A local stack that cannot be started says why before it starts anything."""

from pathlib import Path

import pytest

from gateway.cli.ports import free_port
from gateway.cli.stack import StackOptions, metrics_urls, running_stack, stack_specs
from shared.errors import ConfigurationError


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/nowhere"])
def test_an_impossible_workdir_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").touch()
    with (
        pytest.raises(ConfigurationError, match="name a folder that can be written with --workdir"),
        running_stack(StackOptions(tmp_path / place, port=0), print),
    ):
        pytest.fail("it was started")


def test_every_process_has_a_metrics_port_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TH_METRICS_PORT", "9100")
    specs = stack_specs(StackOptions(tmp_path, n_renderers=2), 8000, "redis://127.0.0.1:1/0")
    served = metrics_urls(specs, "http://127.0.0.1:8000")
    assert set(served) == {spec.name for spec in specs}
    assert len(set(served.values())) == len(served)
    assert served["gateway"] == "http://127.0.0.1:8000/metrics"
    assert served["beat"] == f"http://127.0.0.1:{9100 + 6}/metrics"


def test_only_processes_that_fork_share_a_folder_of_counts(tmp_path: Path) -> None:
    specs = stack_specs(StackOptions(tmp_path), free_port(), "redis://127.0.0.1:1/0")
    folders = {
        spec.name: spec.env["PROMETHEUS_MULTIPROC_DIR"] for spec in specs if "PROMETHEUS_MULTIPROC_DIR" in spec.env
    }
    assert set(folders) == {"gateway", "celery"}
    assert len(set(folders.values())) == 2


def test_metrics_are_off_unless_a_port_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TH_METRICS_PORT", raising=False)
    specs = stack_specs(StackOptions(tmp_path), 8000, "redis://127.0.0.1:1/0")
    assert set(metrics_urls(specs, "http://127.0.0.1:8000")) == {"gateway"}
