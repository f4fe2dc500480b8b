"""A whole mission in this process: the ServerApp's run, the product's ClientApp, real gRPC between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mission.record import RunRecord
from mission.scenario import load_scenario
from server_app.run import ServerRun
from server_app.server_app import fine_tune

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports each file by itself
from small_missions import SMALL, Mission


@pytest.fixture
def fly(grid_of: Callable[[int, int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mission:
    """Run a small mission and return its run directory."""
    monkeypatch.setattr("server_app.backbone.service.TIMEOUT_S", 0.2)

    def mission(
        overrides: dict[str, Any], *, max_concurrency: int = 4, out: str = "run", nodes: int | None = None
    ) -> Path:
        scenario = load_scenario("walker-12", SMALL | overrides)
        record = RunRecord(tmp_path / out, scenario, command="skysplit run walker-12")
        grid = grid_of(nodes or scenario.constellation.satellites, max_concurrency)
        fine_tune(grid, ServerRun(record, "run-1"))
        return record.directory

    return mission
