"""The rounds of a run as TensorBoard event files; needs the extra ``tensorboard``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from report.trackers import TrackedRun, Tracker


class TensorBoard(Tracker):
    """Writes the folder ``tensorboard`` of a run directory anew: a scalar per round and figure.

    Its step is the round, its time the UTC of mission time at which the round is planned to end.
    """

    def __init__(self) -> None:
        """Raise ModuleNotFoundError where the extra is not installed."""
        from tensorboard.summary import Writer

        self._open = Writer

    def begin(self, run: TrackedRun) -> None:
        """Open a folder beside the one that is there."""
        self._folder, self._temporary = run.directory / "tensorboard", run.directory / "tensorboard.tmp"
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._writer = self._open(str(self._temporary))

    def log(self, round_number: int, utc_s: float, figures: Mapping[str, float]) -> None:
        """Write the scalars of a round."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, round_number, wall_time=utc_s)

    def end(self) -> str:
        """Put the folder in its place."""
        self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.replace(self._temporary, self._folder)
        return str(Path(self._folder))
