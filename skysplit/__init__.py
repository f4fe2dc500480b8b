"""SkySplit from Python: missions, contact plans, round plans, comparisons of strategies, and runs.

    import skysplit

    mission = skysplit.scenario("demo", training={"rounds": 2})
    mission.plot()                # ground tracks and stations
    mission.contacts().plot()     # times at which each satellite sees a station
    mission.plan().plot()         # one round: who sends what to whom and when
    mission.compare(starts=4)     # the strategies, their baselines and the lower bound
    mission.run().plot()          # fine-tune the model; accuracy over mission time
    skysplit.sweep("demo", grid={"ground.beams": [1, 2]}).plot()  # every combination of keys

A notebook displays each of these objects, and ``to_pandas()`` returns its figures. The commands of ``skysplit --help``
do the same from a shell.
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


def scenario(name_or_path: str = "demo", /, **overrides: Any) -> Mission:
    """Load a mission from a shipped scenario or a TOML file, and override keys.

    Args:
        name_or_path: The name of a shipped scenario or the path of a file; by default the demo, as in ``skysplit run``.
        overrides: Keys by table (``training={"rounds": 2}``) or dotted (``**{"training.rounds": 2}``).

    Raises:
        mission.scenario.ScenarioError: The file is unreadable, a key is unknown, or a value is out of range.
    """
    from skysplit.notebook import Mission  # not before it is asked for: the commands do without

    return Mission.of(name_or_path, overrides)


def load_run(directory: str | Path) -> Run:
    """Load a run from its directory.

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
    draws: int = 0,
    out: str | Path = "",
    processes: int = 1,
    executor: Executor | None = None,
) -> Sweep:
    """Plan a round for every combination of keys. Rounds that the directory already holds are not planned again.

    Args:
        name_or_path: A scenario as in ``skysplit run``, or, without other arguments, the TOML file of a sweep.
        grid: Values by dotted key. All combinations are planned.
        cases: Further overrides. Each case is combined with the whole grid.
        fixed: Overrides for all cases.
        starts: Number of start times over the first 40 % of the horizon.
        starts_s: Explicit start times [s of mission time] instead.
        missions: Plan all ``training.rounds`` rounds of a case one after the other, not only the first.
        draws: Fly each round through this many draws of its outages, see ``skysplit plan --draws``.
        out: Output directory; by default ``sweeps/NAME``.
        processes: Number of planning processes. More than one needs a script with ``if __name__ == "__main__"``.
        executor: An executor that plans instead, of ``concurrent.futures`` or Dask's ``client.get_executor()``.

    Raises:
        ValueError: A case is invalid; nothing has been planned.
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
        draws,
        Path(out) if out else None,
        processes,
        executor,
    )
