"""What a measurement was taken on: hardware, versions, commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from gateway.cli.ports import usable_cores

PACKAGES = ("torch", "transformers", "opencv-contrib-python", "av", "numpy", "redis", "celery", "fastapi")


def environment_facts() -> dict[str, object]:
    """Hardware, versions, commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": usable_cores(),
        "load_before": round(psutil.getloadavg()[2], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit.stdout.strip() or "unknown",
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
