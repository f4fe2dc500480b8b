"""A disk that fills at the end of a run costs nothing that was trained."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_missions import Mission, resumed

from mission.record import RunRecord, read_run
from report.run_report import write_report
from server_app import server_app
from server_app.results import run_recorder

TWO = {
    "constellation.satellites": 2, "constellation.planes": 1, "constellation.phasing": 0,
    "data.train_samples": 16, "training.rounds": 1,
}  # fmt: skip


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")


def test_a_run_whose_report_finds_no_room_is_complete_and_its_report_comes_later(
    fly: Mission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_recorder, "write_report", full)
    directory = fly(TWO)
    assert read_run(directory)["state"] == "completed"
    assert (directory / "final" / "head.safetensors").exists()
    assert write_report(directory).exists()


def test_a_run_whose_last_weights_find_no_room_is_finished_by_resuming_it(
    fly: Mission, grid_of: Callable[[int, int], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export = run_recorder.RunRecorder._export

    def once_full(self: run_recorder.RunRecorder, directory: Path, rounds: int) -> None:
        if directory.name == "final":
            full()
        export(self, directory, rounds)

    with monkeypatch.context() as patch:
        patch.setattr(run_recorder.RunRecorder, "_export", once_full)
        with pytest.raises(OSError, match="No space left"):
            fly(TWO)
    directory = tmp_path / "run"
    assert not (directory / "final").exists()
    monkeypatch.setattr(run_recorder, "write_report", write_report)
    resumed(grid_of(2, 2), directory)
    run = read_run(directory)
    assert run["state"] == "completed"
    assert run["result"]["rounds"] == 1
    assert (directory / "report.html").exists()


def test_where_not_even_the_failure_can_be_recorded_the_failure_is_what_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_app, "fine_tune", full)
    monkeypatch.setattr(RunRecord, "fail", full)
    config = {
        "scenario": "walker-12",
        "out": str(tmp_path / "run"),
        "resume": "",
        "backbone-address": "",
        "relay": "",
        "max-concurrency": 0,
        "cut": "",
    }
    context = type("Context", (), {"run_config": config, "run_id": 1})()
    with pytest.raises(OSError, match="report.html"):
        server_app.app(None, context)
