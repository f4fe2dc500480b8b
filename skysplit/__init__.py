"""SkySplit from Python: a mission, its contacts, a round's plan, the strategies compared, a run.

    import skysplit

    mission = skysplit.scenario("demo", training={"rounds": 2})
    mission.plot()                # ground tracks and stations
    mission.contacts().plot()     # when which link can carry data
    mission.plan().plot()         # one round: who sends what to whom and when
    mission.compare(starts=4)     # the strategies beside their baselines and the bound
    mission.run().plot()          # fine-tune it; accuracy over mission time
    skysplit.sweep("demo", grid={"ground.beams": [1, 2]}).plot()  # every combination of keys

In a notebook each of them shows itself; ``to_pandas()`` gives its figures. The commands of ``skysplit --help`` are the
same from a shell.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from skysplit.notebook import Mission, Run, Sweep

__all__ = ["__version__", "load_run", "scenario", "sweep"]

__version__ = version("skysplit")


def scenario(name_or_path: str, /, **overrides: Any) -> Mission:
    """A mission: a shipped scenario or a TOML file, with keys overridden.

    Args:
        name_or_path: As in ``skysplit run``.
        overrides: Keys by table (``training={"rounds": 2}``) or dotted (``**{"training.rounds": 2}``).

    Raises:
        mission.scenario.ScenarioError: Unreadable file, unknown key, value out of range.
    """
    from skysplit.notebook import Mission  # not before it is asked for: the commands do without

    return Mission.of(name_or_path, overrides)


def load_run(directory: str | Path) -> Run:
    """A run of before, by its directory.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    from skysplit.notebook import Run

    return Run(Path(directory))


def sweep(
    name_or_path: str,
    /,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    cases: Sequence[Mapping[str, Any]] = (),
    fixed: Mapping[str, Any] | None = None,
    starts: int = 1,
    starts_s: Sequence[float] = (),
    missions: bool = False,
    out: str | Path = "",
    processes: int = 1,
    executor: Executor | None = None,
) -> Sweep:
    """Plan a round for every combination of keys; what its directory holds already is not planned again.

    Args:
        name_or_path: A scenario as in ``skysplit run``; or, alone, the TOML file of a sweep.
        grid: Values by dotted key, all combinations of which are planned.
        cases: Overrides of their own, each combined with the whole grid.
        fixed: Keys that all cases override.
        starts: Start times over the first 40 % of the horizon.
        starts_s: Start times instead, seconds of mission time.
        missions: Plan all ``training.rounds`` rounds of a case, one after the other, not the first alone.
        out: Directory; by default ``sweeps/NAME``.
        processes: How many plan at the same time; more than one only in a script with ``if __name__ == "__main__"``.
        executor: Plans instead: any of ``concurrent.futures``, or Dask's ``client.get_executor()``.

    Raises:
        ValueError: Something is wrong with a case; nothing has been planned.
    """
    from skysplit.notebook import Sweep

    return Sweep.of(
        name_or_path,
        grid or {},
        cases,
        fixed or {},
        starts,
        starts_s,
        missions,
        Path(out) if out else None,
        processes,
        executor,
    )
