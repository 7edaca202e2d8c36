"""The rules of the tree: who imports whom, what stays small, what never loads torch."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "gateway", "services", "training")
MAX_LINES = 400
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
HEAVY = ("torch", "transformers", "mediapipe", "jax", "matplotlib")
LIST_HEAVY = f"print(','.join(name for name in {HEAVY!r} if name in sys.modules))"


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_import_contracts_hold() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_modules_stay_small() -> None:
    long = {
        str(p.relative_to(ROOT)): n for p in sources(*PACKAGES) if (n := len(p.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_names_say_what_a_module_does() -> None:
    assert [str(path) for path in sources(*PACKAGES) if VAGUE_NAMES & {path.stem, path.parent.name}] == []


def test_packages_do_no_work_at_import() -> None:
    for path in sources(*PACKAGES):
        if path.name == "__init__.py":
            code = compile(path.read_text(), str(path), "exec")
            assert not {name for name in code.co_names if not name.startswith("__")}, f"{path}: a docstring only"


@pytest.mark.parametrize("package", ["shared", "gateway"])
def test_gateway_and_shared_never_load_torch(package: str) -> None:
    names = [module_name(path) for path in sources(package) if path.name not in {"launch.py", "__main__.py"}]
    script = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n{LIST_HEAVY}"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_data_files_reach_a_wheel() -> None:
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        file for key, patterns in package_data.items() for pattern in patterns for file in (ROOT / key).glob(pattern)
    }
    not_needed = {".py", ".pyc", ".md"}
    data = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in not_needed
    }
    assert sorted(str(path) for path in data - packed) == []
