"""SkySplit from Python: a mission, its contacts, a round's plan, the strategies compared, a run.

    import skysplit

    mission = skysplit.scenario("demo", training={"rounds": 2})
    mission.plot()                # ground tracks and stations
    mission.contacts().plot()     # when which link can carry data
    mission.plan().plot()         # one round: who sends what to whom and when
    mission.compare(starts=4)     # the strategies beside their baselines and the bound
    mission.run().plot()          # fine-tune it; accuracy over mission time

In a notebook each of them shows itself; ``to_pandas()`` gives its figures. The commands of ``skysplit --help`` are the
same from a shell.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skysplit.notebook import Mission, Run

__all__ = ["__version__", "load_run", "scenario"]

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
