"""TensorBoard reads what a run's rounds say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mission.record import read_run, scenario_of
from report.event_files import TensorBoard
from report.totals import by_round, read_activities, read_rounds, round_ends_s
from report.trackers import track


def test_tensorboard_shows_the_rounds_at_their_mission_time_however_often_they_are_written(
    simulated_run: Path, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra tensorboard is not installed",
    )
    run = tmp_path / "run"
    shutil.copytree(simulated_run, run)
    track(run, TensorBoard)
    read = accumulator.EventAccumulator(track(run, TensorBoard))
    read.Reload()
    table = by_round(read_rounds(run))
    rounds, ends_s = table.to_pylist(), round_ends_s(table, read_activities(run))
    epoch_s = scenario_of(read_run(run)).epoch.timestamp()
    for tag, column in (
        ("test/accuracy", "test_accuracy"),
        ("seconds/waiting", "waiting_s"),
        ("bytes/isl", "isl_bytes"),
    ):
        found = [
            (event.tensor_proto.float_val[0], event.step, event.wall_time) for event in read.Tensors(tag)
        ]
        assert found == [
            (pytest.approx(row[column]), row["round"], pytest.approx(epoch_s + end_s))
            for row, end_s in zip(rounds, ends_s, strict=True)
        ]
