"""The rounds of a run as TensorBoard event files; needs the extra ``tensorboard``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mission.record import read_run, scenario_of
from report.totals import BYTES, by_round, read_activities, read_rounds, round_ends_s
from strategies.problem.plan import SPLIT_COLUMNS

_TAGS = {
    **{
        column: column.replace("_", "/", 1)
        for column in ("test_accuracy", "test_score", "test_loss", "train_loss")
    },
    **{column: f"seconds/{column.removesuffix('_s')}" for column in SPLIT_COLUMNS},
    **{column: f"bytes/{column.removesuffix('_bytes')}" for column in BYTES},
}


def write_events(directory: Path) -> Path:
    """Write the folder ``tensorboard`` of a run directory anew and return its path.

    A scalar per round and figure of ``report.totals.by_round`` (scores, mean seconds of a satellite, bytes of
    the constellation): its step is the round, its time the UTC of mission time at which the round is planned to end.

    Raises:
        FileNotFoundError: The directory holds no run.
        mission.scenario.ScenarioError: The run is another version's.
        ModuleNotFoundError: The extra is not installed.
    """
    from tensorboard.summary import Writer

    epoch_s = scenario_of(read_run(directory)).epoch.timestamp()
    folder, temporary = directory / "tensorboard", directory / "tensorboard.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    writer = Writer(str(temporary))
    rounds = by_round(read_rounds(directory))
    ends_s = round_ends_s(rounds, read_activities(directory))
    for row, end_s in zip(rounds.to_pylist(), ends_s, strict=True):
        for column, tag in _TAGS.items():
            if row[column] is not None:
                writer.add_scalar(tag, row[column], row["round"], wall_time=epoch_s + end_s)
    writer.close()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    return folder
