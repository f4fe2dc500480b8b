"""The example notebook runs from its first cell to its last, and every picture in it is one."""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

pytestmark = pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
NOTEBOOK = Path(__file__).parents[3] / "examples" / "first-mission" / "first_mission.ipynb"


def shown_by(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return what a notebook would show: the value of its last expression."""
    *before, last = ast.parse(source).body
    exec(compile(ast.Module(before, []), str(NOTEBOOK), "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
    exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
    return None


def test_every_cell_of_the_example_runs_and_the_stations_are_those_it_names() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = [shown_by("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"]
    assert all(
        cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"
    )  # none that may be out of date
    mission, _map, access, plan, gantt, by_link = shown
    assert "stations 3" in repr(mission)
    assert set(access["station"]) >= {"Svalbard", "Awarua", "Santiago"}
    assert "length" in repr(plan)
    assert isinstance(_map, go.Figure)
    assert isinstance(gantt, go.Figure)
    assert by_link.loc["downlink", "sum"] > 0
