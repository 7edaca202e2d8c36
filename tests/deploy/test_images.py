"""Dockerfiles: without findings, self-contained, nothing in them that the tree does not have."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy").glob("Dockerfile.*"))
SERVICES = {path.parent.name for path in (ROOT / "services").glob("*/worker.py")}
each = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def test_both_dockerfiles_are_there() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.gateway", "Dockerfile.worker"]


@each
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    found = subprocess.run(
        [hadolint, "--failure-threshold", "warning", str(path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


@each
def test_whatever_is_copied_exists_and_is_in_the_build_context(path: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[1] == "*", "nothing is sent to the engine but what is named"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = [words for words in re.findall(r"^COPY (.+)$", path.read_text(), re.MULTILINE) if "--from=" not in words]
    assert copied
    for words in copied:
        *sources, _ = (word for word in words.split() if not word.startswith("--"))
        for source in sources:
            for name in {source.replace("${SERVICE}", service) for service in SERVICES}:
                assert (ROOT / name).exists(), f"{path.name} copies {name}"
                assert allowed & {name, *map(str, Path(name).parents)}, f".dockerignore leaves {name} out"


@each
def test_images_run_as_a_numbered_user_and_say_how_they_are(path: Path) -> None:
    last = path.read_text().rpartition("\nFROM ")[2]
    assert "HEALTHCHECK" in last
    assert re.findall(r"^USER (\S+)$", path.read_text(), re.MULTILINE)[-1] == "10001:10001"


@each
def test_every_version_is_pinned(path: Path) -> None:
    text = path.read_text().replace("\\\n", " ")
    bases = re.findall(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    assert bases
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - {"${BASE_IMAGE}"} <= set(stages(text))
    for command in re.findall(r"pip --python \S+ install ([^&;]+)", text):
        assert "-c constraints.txt" in command or "--no-deps" in command, command
    assert "# syntax=" not in text, "the frontend would be pulled from a registry"


def test_the_worker_image_knows_every_service_and_no_other() -> None:
    named = re.search(r'case "\$SERVICE" in (.+?) esac', (ROOT / "deploy/Dockerfile.worker").read_text(), re.DOTALL)
    assert named
    assert set(re.findall(r"([a-z_]+)\) extras", named[1])) == SERVICES


@each
def test_extras_exist(path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    defined = set(
        re.findall(r"^([a-z_0-9]+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE)
    )
    text = path.read_text()
    named = re.findall(r"\.\[([a-z0-9,-]+)\]", text) + re.findall(r"extras=([a-z0-9,-]+)", text)
    assert named
    assert {extra.replace("-", "_") for group in named for extra in group.split(",")} <= defined


def stages(text: str) -> list[str]:
    return re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
