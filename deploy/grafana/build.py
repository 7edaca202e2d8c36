"""Write the dashboards as Grafana reads them: ``python -m deploy.grafana.build [FOLDER]`` in the repository's root."""

import json
import sys
from pathlib import Path

from deploy.grafana import pipeline, renderer
from deploy.grafana.panels import to_json

DASHBOARDS = {"pipeline.json": pipeline.DASHBOARD, "renderer.json": renderer.DASHBOARD}
FOLDER = Path(__file__).with_name("dashboards")


def write(folder: Path) -> None:
    """Write all dashboards into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (folder / name).write_text(json.dumps(to_json(dashboard), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
