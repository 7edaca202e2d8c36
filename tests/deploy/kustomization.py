"""Renders a kustomization: the few features that deploy/k8s uses, by the rules of kustomize's reference.

resources (files and folders), namespace, patches (strategic merge, by name or by target), images. Anything else is an
error here, so that the manifests stay within what the tests see.
"""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
CLUSTER_WIDE = {"Namespace"}
# Lists of core resources that are merged entry by entry, and what tells entries apart; others are replaced.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


def render(folder: Path) -> list[Resource]:
    """Every resource of a kustomization, in order.

    Raises:
        ValueError: an unknown field, a patch that meets no resource, or two resources of one name.
    """
    kustomization = _load_one(folder / "kustomization.yaml")
    if unknown := kustomization.keys() - KNOWN:
        raise ValueError(f"{folder}: unknown fields {sorted(unknown)}")
    resources: list[Resource] = []
    for name in kustomization["resources"]:
        path = folder / name
        resources += render(path) if path.is_dir() else load_all(path)
    for patch in kustomization.get("patches", ()):
        _apply(folder, patch, resources)
    for resource in resources:
        if "namespace" in kustomization and resource["kind"] not in CLUSTER_WIDE:
            resource["metadata"]["namespace"] = kustomization["namespace"]
        _set_images(resource, {image["name"]: image for image in kustomization.get("images", ())})
    names = [identity(resource) for resource in resources]
    if len(names) != len(set(names)):
        raise ValueError(f"{folder}: two resources of one name")
    return resources


def load_all(path: Path) -> list[Resource]:
    """The documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def identity(resource: Resource) -> tuple[str, str]:
    """Kind and name."""
    return resource["kind"], resource["metadata"]["name"]


def merged(base: Any, patch: Any, *, is_core: bool, key: str = "") -> Any:
    """Strategic merge of a core resource, JSON merge of any other.

    Args:
        base: what there is; not changed.
        patch: what to lay over it.
        is_core: lists of core resources have merge keys.
        key: name of the field.
    """
    if isinstance(base, dict) and isinstance(patch, dict):
        result = dict(base)
        for name, value in patch.items():
            result[name] = merged(base[name], value, is_core=is_core, key=name) if name in base else value
        return {name: value for name, value in result.items() if value is not None}
    if is_core and isinstance(base, list) and key in MERGE_KEYS:
        by = MERGE_KEYS[key]
        entries = {entry[by]: entry for entry in base}
        for entry in patch:
            entries[entry[by]] = merged(entries.get(entry[by], {}), entry, is_core=is_core)
        return list(entries.values())
    return copy.deepcopy(patch)


def _apply(folder: Path, patch: dict[str, Any], resources: list[Resource]) -> None:
    text = (folder / patch["path"]).read_text() if "path" in patch else patch["patch"]
    for document in yaml.safe_load_all(text):
        target = patch.get("target") or {"kind": document["kind"], "name": re.escape(document["metadata"]["name"])}
        met = [i for i, resource in enumerate(resources) if _is_meant(resource, target)]
        if not met:
            raise ValueError(f"{folder}: a patch of {target} meets nothing")
        for i in met:
            kept = dict(resources[i]["metadata"])
            is_core = "." not in resources[i]["apiVersion"].partition("/")[0] or "k8s.io" in resources[i]["apiVersion"]
            resources[i] = merged(resources[i], document, is_core=is_core)
            resources[i]["metadata"] = kept | {
                name: value for name, value in resources[i]["metadata"].items() if name not in ("name", "namespace")
            }


def _is_meant(resource: Resource, target: dict[str, str]) -> bool:
    wanted = dict(pair.split("=") for pair in target.get("labelSelector", "").split(",") if pair)
    labels = resource["metadata"].get("labels", {})
    return (
        resource["kind"] == target.get("kind", resource["kind"])
        and re.fullmatch(target.get("name", ".*"), resource["metadata"]["name"]) is not None
        and wanted.items() <= labels.items()
    )


def _set_images(node: Any, images: dict[str, dict[str, str]]) -> None:
    if isinstance(node, list):
        for entry in node:
            _set_images(entry, images)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "image" and isinstance(value, str):
                repository, _, tag = value.partition(":")
                if repository in images:
                    node[name] = f"{repository}:{images[repository].get('newTag', tag)}"
            else:
                _set_images(value, images)


def _load_one(path: Path) -> dict[str, Any]:
    (document,) = load_all(path)
    return document
