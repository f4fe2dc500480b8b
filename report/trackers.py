"""The rounds of a run, handed to what keeps track of experiments: TensorBoard, or a tracker of another package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from mission.entry_points import TRACKERS, EntryPointError, registered_class
from mission.record import read_run, scenario_of
from mission.text.dotted_keys import dotted_keys
from report.totals import BYTES, by_round, read_activities, read_rounds, round_ends_s
from strategies.problem.plan import SPLIT_COLUMNS

_FIGURES = {
    **{
        column: column.replace("_", "/", 1)
        for column in ("test_accuracy", "test_score", "test_loss", "train_loss")
    },
    **{column: f"seconds/{column.removesuffix('_s')}" for column in SPLIT_COLUMNS},
    **{column: f"bytes/{column.removesuffix('_bytes')}" for column in BYTES},
}


class TrackerError(ValueError):
    """A tracker of another package cannot be used, or fails; the message names it."""


@dataclass(frozen=True)
class TrackedRun:
    """Facts about a run that a tracker learns before its rounds.

    Attributes:
        directory: The run directory.
        state: ``running``, ``completed``, ``failed`` or ``interrupted``.
        settings: The scenario as resolved, by dotted key; lists and tables in them as JSON values.
        versions: Of SkySplit and of what it runs on.
    """

    directory: Path
    state: str
    _: KW_ONLY
    settings: Mapping[str, Any]
    versions: Mapping[str, str]


class Tracker(ABC):
    """Keeps track of a run: the base class of trackers of other packages, which are made without arguments.

    A run that is tracked again, as while it goes on, is handed over anew from its first round.
    """

    @abstractmethod
    def begin(self, run: TrackedRun) -> None:
        """Start a run."""

    @abstractmethod
    def log(self, round_number: int, utc_s: float, figures: Mapping[str, float]) -> None:
        """Note a round.

        Args:
            round_number: From 1.
            utc_s: When the round is planned to end, mission time as seconds after 1970 UTC.
            figures: Scores, mean seconds of a satellite, bytes of the constellation, by a name with a slash:
                ``test/accuracy``, ``seconds/waiting``, ``bytes/downlink``.
        """

    @abstractmethod
    def end(self) -> str:
        """Finish the run, and return where it can be seen: a path or an address."""


def tracker_called(name: str, ours: Mapping[str, type[Tracker]]) -> type[Tracker]:
    """Return a tracker by its name.

    Raises:
        TrackerError: There is none of that name, or it cannot be used.
    """
    if name in ours:
        return ours[name]
    try:
        return registered_class(TRACKERS, name, Tracker, tuple(ours))
    except EntryPointError as error:
        raise TrackerError(str(error)) from error


def track(directory: Path, kind: type[Tracker]) -> str:
    """Hand a run over to a tracker, also one that goes on, and return where it can be seen.

    Raises:
        TrackerError: The tracker fails.
        ModuleNotFoundError: It needs a package that is not installed.
        FileNotFoundError: The directory holds no run.
        mission.scenario.ScenarioError: The run is another version's.
    """
    run = read_run(directory)
    epoch_s = scenario_of(run).epoch.timestamp()
    settings = dict(dotted_keys(run["scenario"]))
    tracked = TrackedRun(directory, run["state"], settings=settings, versions=run.get("versions", {}))
    rounds = by_round(read_rounds(directory))
    ends_s = round_ends_s(rounds, read_activities(directory))
    try:
        tracker = kind()
        tracker.begin(tracked)
        for row, end_s in zip(rounds.to_pylist(), ends_s, strict=True):
            figures = {
                name: float(row[column]) for column, name in _FIGURES.items() if row[column] is not None
            }
            tracker.log(row["round"], epoch_s + end_s, figures)
        return tracker.end()
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever a package's code does
        raise TrackerError(f"{kind.__qualname__}: failed: {type(error).__name__}: {error}") from error
