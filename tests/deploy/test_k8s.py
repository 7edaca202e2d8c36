"""Kubernetes manifests: valid by the schemas of several versions, and in step with the code they run.

No cluster is needed or seen: admission, scheduling and KEDA itself are not tested here.
"""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from redis import Redis

from gateway.control import QUEUE
from services.renderer.worker import RenderHandler
from shared.bundles import BUNDLES
from shared.jobs import JobStore
from shared.protocol import GROUP, Stage, stream_key
from shared.settings import PREFIX
from tests.deploy.kustomization import KNOWN, Resource, identity, load_all, merged, render
from tests.fakes import Crew, submit
from tests.polling import eventually
from tests.test_env_example import settings_classes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s"
OVERLAYS = {"cpu": "embedded", "gpu": "liveportrait"}
KUBERNETES = ("1.29", "1.37")
CUSTOM = {"ScaledObject", "TriggerAuthentication"}
STAGES = {
    "audio-encoder": {Stage.ENCODE},
    "motion-dit": {Stage.MOTION},
    "renderer": set(RenderHandler.stages),
    "muxer": {Stage.MUX},
}
IMAGES = {"gateway", "demo", "audio_encoder", "motion_dit", "renderer"}


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def resources(overlay: str) -> list[Resource]:
    return render(FOLDER / "overlays" / overlay)


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {resource["metadata"]["name"]: resource for resource in resources if resource["kind"] in kinds}


def pods(resources: list[Resource]) -> dict[str, dict[str, Any]]:
    """Pod templates by workload."""
    return {
        name: found["spec"]["template"]
        for name, found in of_kind(resources, "Deployment", "StatefulSet", "Job").items()
    }


def container(template: dict[str, Any]) -> dict[str, Any]:
    (only,) = template["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_resource_fits_its_schema(resources: list[Resource], version: str) -> None:
    core = [resource for resource in resources if resource["kind"] not in CUSTOM]
    assert len(core) >= 28
    for resource in core:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_find_what_is_wrong(resources: list[Resource]) -> None:
    gateway = of_kind(resources, "Deployment")["gateway"]
    wrong = merged(gateway, {"spec": {"replica": 2}}, is_core=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


def test_kustomizations_use_known_fields_only() -> None:
    for path in FOLDER.rglob("kustomization.yaml"):
        (document,) = load_all(path)
        assert document["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
        assert document.keys() <= KNOWN
    named = {path.name for path in FOLDER.rglob("*.yaml")}
    text = "\n".join(path.read_text() for path in FOLDER.rglob("kustomization.yaml"))
    assert {name for name in named if name not in text} == {"kustomization.yaml"}


def test_every_process_of_the_system_is_there(resources: list[Resource]) -> None:
    workers = {path.parent.name.replace("_", "-") for path in (ROOT / "services").glob("*/worker.py")}
    assert set(of_kind(resources, "Deployment")) == {"gateway", "media", "beat", "muxer", "demo"} | workers
    assert {name for _, name in map(identity, resources)} >= {"redis"}


def test_pods_may_do_no_more_than_they_need(resources: list[Resource]) -> None:
    for name, template in pods(resources).items():
        spec, process = template["spec"], container(template)
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert process["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert process["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in process["resources"]["limits"], name
        mounted = {mount["name"] for mount in process["volumeMounts"]}
        claimed = {"data"} if name == "redis" else set()
        assert mounted == {volume["name"] for volume in spec["volumes"]} | claimed, name
        assert "/tmp" in {mount["mountPath"] for mount in process["volumeMounts"]}, name


def test_images_are_those_that_are_built(resources: list[Resource], overlay: str) -> None:
    for name, template in pods(resources).items():
        repository, _, tag = container(template)["image"].partition(":")
        assert tag not in ("", "latest"), name
        if name != "redis":
            assert repository.removeprefix("talkinghead/") in IMAGES, name
            assert tag.endswith("-cuda") == (overlay == "gpu" and name in {"motion-dit", "renderer", "pull-weights"}), (
                name
            )


def test_probes_ask_ports_that_are_open(resources: list[Resource]) -> None:
    routes = (ROOT / "gateway" / "routes" / "health.py").read_text()
    assert '"/v1/health/live"' in routes
    for name, template in pods(of_kind_list(resources, "Deployment")).items():
        process = container(template)
        ports = {port["name"] for port in process["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = process[probe]["httpGet"]
            assert asked["port"] in ports, name
            assert asked["path"] in {"/v1/health/live", "/health/live", "/metrics"}, name
        assert 30 <= template["spec"]["terminationGracePeriodSeconds"] <= 120, name


def of_kind_list(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] == kind]


def test_settings_exist_and_can_be_read(resources: list[Resource], overlay: str) -> None:
    classes = settings_classes()
    known = {(PREFIX + name).upper() for cls in classes for name in cls.model_fields}
    settings = of_kind(resources, "ConfigMap")["settings"]["data"]
    given = [settings, *(environment(template) for template in pods(resources).values())]
    for values in given:
        assert {name for name in values if name.startswith(PREFIX)} <= known
        for cls in classes:
            fields = {name.removeprefix(PREFIX).lower(): value for name, value in values.items()}
            fields.pop("redis_password_file", None)
            cls.model_validate({name: value for name, value in fields.items() if name in cls.model_fields})
    assert settings["TH_BUNDLE"] == OVERLAYS[overlay]


def environment(template: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(template).get("env", ())}


def test_every_reference_leads_somewhere(resources: list[Resource]) -> None:
    text = str(resources)
    told = (ROOT / "docs" / "kubernetes.md").read_text()
    for secret in re.findall(r"'secret(?:Name|Ref|KeyRef)': (?:\{'name': )?'([\w-]+)'", text):
        assert f"create secret generic {secret}" in told, secret
    for name in re.findall(r"'configMap(?:Ref)?': \{'name': '([\w-]+)'", text):
        assert name in of_kind(resources, "ConfigMap"), name
    for claim in re.findall(r"'claimName': '([\w-]+)'", text):
        assert claim in of_kind(resources, "PersistentVolumeClaim"), claim
    labels = [template["metadata"]["labels"] for template in pods(resources).values()]
    for name, service in of_kind(resources, "Service").items():
        meant = [found for found in labels if service["spec"]["selector"].items() <= found.items()]
        assert len(meant) == 1, name
    for name, budget in of_kind(resources, "PodDisruptionBudget").items():
        assert any(budget["spec"]["selector"]["matchLabels"].items() <= found.items() for found in labels), name
    for name, policy in of_kind(resources, "NetworkPolicy").items():
        selected = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(selected.items() <= found.items() for found in labels), name


def test_only_its_clients_reach_redis(resources: list[Resource]) -> None:
    templates = pods(resources)
    clients = {
        name for name, found in templates.items() if found["metadata"]["labels"].get("talkinghead/redis") == "client"
    }
    assert clients == set(of_kind(resources, "Deployment")) - {"demo"}
    for name, template in templates.items():
        holds = "/run/secrets/redis" in {mount["mountPath"] for mount in container(template)["volumeMounts"]}
        assert holds == (name in clients or name == "redis"), name
    nothing = of_kind(resources, "NetworkPolicy")["nothing"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_workers_scale_on_the_lag_of_their_own_streams(resources: list[Resource], overlay: str) -> None:
    scaled = of_kind(resources, "ScaledObject")
    deployments = of_kind(resources, "Deployment")
    assert set(scaled) == {*STAGES, "media"}
    for name, found in scaled.items():
        spec = found["spec"]
        assert spec["scaleTargetRef"] == {"name": name}
        assert "replicas" not in deployments[name]["spec"], f"{name}: would fight with KEDA"
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        for trigger in spec["triggers"]:
            assert all(isinstance(value, str) for value in trigger["metadata"].values())
            assert trigger["authenticationRef"]["name"] in of_kind(resources, "TriggerAuthentication")
            assert trigger["metadata"]["address"] == "redis.talkinghead.svc.cluster.local:6379"
    for name, stages in STAGES.items():
        triggers = scaled[name]["spec"]["triggers"]
        assert {trigger["type"] for trigger in triggers} == {"redis-streams"}
        wanted = {stream_key("0", stage, OVERLAYS[overlay]) for stage in stages}
        assert {trigger["metadata"]["stream"] for trigger in triggers} == wanted
        assert {trigger["metadata"]["consumerGroup"] for trigger in triggers} == {GROUP}
        assert all(int(trigger["metadata"]["lagCount"]) > 0 for trigger in triggers)
    (queue,) = scaled["media"]["spec"]["triggers"]
    assert (queue["type"], queue["metadata"]["listName"]) == ("redis", QUEUE)


def test_bundles_of_the_overlays_exist() -> None:
    assert set(OVERLAYS.values()) <= set(BUNDLES)


@pytest.mark.redis
def test_redis_knows_the_lag_that_keda_asks_for(store: JobStore, redis_url: str, tmp_path: Path) -> None:
    """Entries are deleted when they are acknowledged; the lag must stay a number, and come back to zero."""
    if int(str(store.client.info("server")["redis_version"]).split(".")[0]) < 7:
        pytest.skip("group lag came with Redis 7")
    streams = {stage: stream_key("0", stage, "embedded") for stage in Stage}
    with Crew(redis_url, tmp_path):
        eventually(lambda: all(store.client.exists(stream) for stream in streams.values()))
    waiting = [submit(store, f"k{i}", 400, seed=i) for i in range(3)]
    lags = {stage: lag(store.client, stream) for stage, stream in streams.items()}
    assert lags[Stage.PORTRAIT] == len(waiting)
    assert lags[Stage.ENCODE] == len(waiting) * store.limits.encode_ahead
    with Crew(redis_url, tmp_path):
        eventually(lambda: all(store.get(job_id).muxed_frames == 400 for job_id in waiting), 30.0)
    assert {stage: lag(store.client, stream) for stage, stream in streams.items()} == dict.fromkeys(Stage, 0)


def lag(client: "Redis", stream: str) -> int | None:
    groups: Any = client.xinfo_groups(stream)
    found: int | None = groups[0]["lag"]
    return found


@pytest.mark.parametrize("overlay_only", OVERLAYS)
def test_gpus_are_asked_for_where_there_are_some(overlay_only: str) -> None:
    templates = pods(render(FOLDER / "overlays" / overlay_only))
    asking = {
        name for name, found in templates.items() if "nvidia.com/gpu" in container(found)["resources"].get("limits", {})
    }
    assert asking == ({"motion-dit", "renderer"} if overlay_only == "gpu" else set())
    for name in asking:
        assert templates[name]["spec"]["runtimeClassName"] == "nvidia"
    devices = {environment(found).get("TH_RENDERER_DEVICE") for found in templates.values()} - {None}
    assert devices == ({"cuda"} if asking else set())
