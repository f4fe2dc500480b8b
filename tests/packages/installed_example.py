"""Install the example package of a scheduler: its files and its entry points, as an installer leaves them, offline."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-scheduler"


def install(folder: Path, example: Path = EXAMPLE) -> Path:
    """Put what the example's `pyproject.toml` declares into a folder for `sys.path`."""
    declared = tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))
    project = declared["project"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in declared["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]:
        shutil.copy(example / name, folder / name)
    name = project["name"].replace("-", "_")
    info = folder / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
