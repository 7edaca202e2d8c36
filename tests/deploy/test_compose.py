"""docker-compose.yml: every service of the architecture, networks apart, settings that exist, no step before it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import PREFIX
from tests.deploy.monitoring import load_yaml
from tests.test_env_example import READ_BY_COMPOSE, settings_classes

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
GPU_FILE = ROOT / "deploy" / "compose.gpu.yml"
APPLICATION = ("gateway", "media", "beat", "muxer", "audio_encoder", "motion_dit", "renderer")
INFRASTRUCTURE = ("redis", "redis_exporter", "prometheus", "alertmanager", "grafana")
WORKERS = ("muxer", "audio_encoder", "motion_dit", "renderer")
# What a service reads, and the classes whose settings it passes on.
SETTINGS = {
    "gateway": "GatewaySettings",
    "media": "ControlSettings",
    "beat": "ControlSettings",
    "muxer": "MuxerSettings",
    "audio_encoder": "EncoderSettings",
    "motion_dit": "MotionSettings",
    "renderer": "RendererSettings",
    "demo": "DemoSettings",
}
# One name for several containers would mix up their work.
NOT_PASSED = {"TH_WORKER_NAME"}
# Scratch and official images that hold no program to ask with.
WITHOUT_CHECK = {"secrets", "redis_exporter", "weights"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(load_yaml(FILE))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(compose["services"])


def networks(service: dict[str, Any]) -> set[str]:
    return set(service.get("networks", ()))


@pytest.mark.parametrize("path", [FILE, GPU_FILE], ids=lambda path: path.name)
def test_files_follow_the_compose_specification(path: Path) -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_service_of_the_architecture_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {*APPLICATION, *INFRASTRUCTURE, "demo", "secrets", "weights"}


def test_docker_compose_1_29_understands_it(compose: dict[str, Any]) -> None:
    known = {"services", "networks", "volumes"}
    assert {key for key in compose if not key.startswith("x-")} == known
    assert not any("required" in str(service.get("env_file", "")) for service in compose["services"].values())


def test_redis_is_reached_by_those_who_need_it_and_not_published(services: dict[str, dict[str, Any]]) -> None:
    assert networks(services["redis"]) == {"data"}
    assert "ports" not in services["redis"]
    reaching = {name for name, service in services.items() if "data" in networks(service)}
    assert reaching == {*APPLICATION, "redis", "redis_exporter"}


def test_networks_are_separate(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    assert {name: bool(options.get("internal")) for name, options in compose["networks"].items()} == {
        "front": False,
        "data": True,
        "monitoring": True,
    }
    assert networks(services["demo"]) == {"front"}
    assert all("front" not in networks(services[name]) for name in APPLICATION if name != "gateway")
    scraped = {name for name, service in services.items() if "monitoring" in networks(service)}
    assert scraped == {*APPLICATION, *INFRASTRUCTURE} - {"redis"}


def test_what_is_published_is_published_on_loopback_unless_told_otherwise(services: dict[str, dict[str, Any]]) -> None:
    published = {name: port for name, service in services.items() for port in service.get("ports", ())}
    assert set(published) == {"gateway", "demo", "prometheus", "alertmanager", "grafana"}
    for name, port in published.items():
        assert re.fullmatch(r"\$\{TH_PUBLISH_[A-Z]+:-127\.0\.0\.1:\d+\}:\d+", port), name


@pytest.mark.parametrize("name", WORKERS)
def test_workers_can_be_scaled(services: dict[str, dict[str, Any]], name: str) -> None:
    assert not {"container_name", "hostname", "ports"} & set(services[name])
    assert services[name]["stop_grace_period"] == "90s", "SIGTERM drains"


def test_every_container_is_kept_small_in_rights(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name not in {"secrets", "weights"}:
            assert service["restart"] == "unless-stopped", name
            assert "mem_limit" in service, name
            assert service["init"] is True, name


def test_images_have_versions(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert "latest" not in tag, name
        assert service["image"].startswith("talkinghead/") or re.search(r"\d", tag), name


def test_health_is_checked_wherever_the_image_can(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        is_ours = service["image"].startswith("talkinghead/")
        if name not in WITHOUT_CHECK and not is_ours:
            assert "healthcheck" in service, name
    # The gateway's image asks the gateway; who runs something else from it says how to ask.
    for name in ("media", "beat", "muxer"):
        assert services[name]["healthcheck"]["test"] == ["CMD", "healthcheck", "9100", "/metrics"]


def test_every_setting_reaches_the_process_that_reads_it(services: dict[str, dict[str, Any]]) -> None:
    classes = {cls.__name__: cls for cls in settings_classes()}
    for name, cls in SETTINGS.items():
        read = {(PREFIX + field).upper() for field in classes[cls].model_fields} - NOT_PASSED
        given = {key for key in services[name]["environment"] if key.startswith(PREFIX)}
        if name == "demo":  # a client of the API: of the common settings it needs none
            read = {key for key in read if key.startswith("TH_DEMO_")}
        assert given == read, name


def test_only_variables_that_are_explained_are_asked_for() -> None:
    text = FILE.read_text() + GPU_FILE.read_text()
    asked = {name for name in re.findall(r"\$\{(\w+)", text) if name.startswith(PREFIX)}
    assert asked == READ_BY_COMPOSE | {"TH_TORCH_INDEX"}


def test_every_variable_has_a_default_so_that_nothing_must_be_set_first() -> None:
    for path in (FILE, GPU_FILE):
        for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", path.read_text()):
            assert rest.startswith(":-"), name


def test_the_gpu_file_changes_services_that_exist(services: dict[str, dict[str, Any]]) -> None:
    gpu = load_yaml(GPU_FILE)["services"]
    assert set(gpu) == {"motion_dit", "renderer", "weights"} <= set(services)
    assert gpu["weights"]["image"] == gpu["renderer"]["image"]
    for name in ("motion_dit", "renderer"):
        service = gpu[name]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}, name
        assert set(service["environment"]) & {"TH_MOTION_DEVICE", "TH_RENDERER_DEVICE"}
        assert not set(service.get("tmpfs", ())) & set(services[name]["tmpfs"]), "compose 2 refuses a place given twice"


def test_files_that_are_mounted_exist(services: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], (name, source)


def test_the_password_is_in_no_environment(compose: dict[str, Any]) -> None:
    text = yaml.safe_dump(compose)
    assert "TH_REDIS_PASSWORD_FILE" in text
    assert not re.search(r"redis://[^/@]*:[^/@]+@", text)
