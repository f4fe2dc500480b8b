"""Who takes part in a run, found out before anything of it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mission.orbits import constellation_of, contact_plan_of
from mission.schema import Scenario


def satellites_of(scenario: Scenario, on_progress: Callable[[Mapping[str, Any]], None]) -> tuple[str, ...]:
    """The scenario's satellites. That they have contacts is found out here; the ServerApp finds these in the cache.

    Raises:
        mission.scenario.ScenarioError: The orbits cannot be had, or no satellite ever sees a station.
    """
    constellation = constellation_of(scenario)
    on_progress({"phase": "computing the contact plan"})
    contact_plan_of(scenario, constellation)
    return constellation.names
