"""`.env.example` lists every setting with its default, and nothing else."""

import ast
import importlib
from pathlib import Path

from shared.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "gateway", "services")
READ_BY_SETUP = {"TH_TORCH_INDEX"}
READ_BY_COMPOSE = {
    "TH_IMAGE_TAG",
    "TH_PROMETHEUS_RETENTION",
    "TH_PUBLISH_ALERTMANAGER",
    "TH_PUBLISH_DEMO",
    "TH_PUBLISH_GATEWAY",
    "TH_PUBLISH_GRAFANA",
    "TH_PUBLISH_PROMETHEUS",
    "TH_REDIS_MAXMEMORY",
    "TH_TORCH_CUDA_INDEX",
}


def settings_classes() -> list[type[Settings]]:
    found = {Settings}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not any(_is_settings(node) for node in ast.walk(ast.parse(path.read_text()))):
                continue
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            found |= {
                value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Settings)
            }
    return sorted(found, key=lambda cls: cls.__name__)


def _is_settings(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id.endswith("Settings") and base.id != "BaseSettings" for base in node.bases
    )


def example() -> dict[str, tuple[str, str]]:
    """Name -> (value, comment above)."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    values, comment = {}, ""
    for line in lines:
        if line.startswith("#"):
            comment = line.lstrip("# ")
        elif "=" in line:
            name, _, value = line.partition("=")
            values[name] = (value, comment)
            comment = ""
    return values


def test_every_setting_is_listed_and_nothing_else() -> None:
    known = {(PREFIX + name).upper() for cls in settings_classes() for name in cls.model_fields}
    assert set(example()) == known | READ_BY_SETUP | READ_BY_COMPOSE


def test_every_value_is_the_default_and_explained() -> None:
    values = example()
    for cls in settings_classes():
        for name, field in cls.model_fields.items():
            value, comment = values[(PREFIX + name).upper()]
            assert getattr(cls.model_validate({name: value}), name) == field.default, name
            assert len(comment) > 10, f"{name} needs a comment line above it"


def test_units_are_part_of_names_with_a_number() -> None:
    for cls in settings_classes():
        for name, field in cls.model_fields.items():
            if field.annotation is float:
                assert name.rsplit("_", 1)[-1] in {"s", "hz", "px", "ratio"}, f"{name}: which unit?"
