"""A whole mission in this process: the ServerApp's run, the product's ClientApp, real gRPC between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mission.record import RunRecord
from mission.scenario import load_scenario
from report.run_report import write_report
from server_app.run import ServerRun
from server_app.server_app import fine_tune

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports each file by itself
from small_missions import SMALL, Mission

MAX_CONCURRENCY = 4


def _fly(grid: Any, directory: Path, overrides: dict[str, Any]) -> Path:
    record = RunRecord(
        directory, load_scenario("walker-12", SMALL | overrides), command="skysplit run walker-12"
    )
    fine_tune(grid, ServerRun(record, "run-1"))
    return directory


def _timeout_s(satellites: int, max_concurrency: int) -> float:
    """Where all satellites compute at once nobody waits for a place, however slow the machine is."""
    return 0.05 if max_concurrency < satellites else 60.0


@pytest.fixture
def fly(
    grid_of: Callable[[int, int], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare_run: None
) -> Mission:
    """Run a small mission and return its run directory."""

    def mission(
        overrides: dict[str, Any], *, max_concurrency: int = 4, out: str = "run", nodes: int | None = None
    ) -> Path:
        satellites = load_scenario("walker-12", SMALL | overrides).constellation.satellites
        monkeypatch.setattr("server_app.backbone.service.TIMEOUT_S", _timeout_s(satellites, max_concurrency))
        return _fly(grid_of(nodes or satellites, max_concurrency), tmp_path / out, overrides)

    return mission


@pytest.fixture(scope="session")
def shared_run(
    tmp_path_factory: pytest.TempPathFactory,
    grid_of: Callable[[int, int], Any],
    bare: Callable[[], AbstractContextManager[None]],
) -> Mission:
    """Run a small mission once for all tests that look at it; they copy what they change."""
    directory = tmp_path_factory.mktemp("shared")
    flown: dict[tuple[str, bool], Path] = {}

    def mission(overrides: dict[str, Any], *, report: bool = False) -> Path:
        scenario = load_scenario("walker-12", SMALL | overrides)
        key = scenario.model_dump_json(), report
        if key not in flown:
            satellites = scenario.constellation.satellites
            with bare(), pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "server_app.backbone.service.TIMEOUT_S", _timeout_s(satellites, MAX_CONCURRENCY)
                )
                if report:
                    patch.setattr("server_app.results.run_recorder.write_report", write_report)
                flown[key] = _fly(
                    grid_of(satellites, MAX_CONCURRENCY), directory / f"run-{len(flown)}", overrides
                )
        return flown[key]

    return mission
