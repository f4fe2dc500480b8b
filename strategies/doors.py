"""The doors for strategies of other packages: which there are, and whether they can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mission.entry_points import INTER_ORBIT, INTRA_ORBIT, SPACE_GROUND, registered_names
from strategies.beam_scheduling import space_ground_strategy
from strategies.inter_orbit import inter_orbit_strategy
from strategies.intra_orbit import intra_orbit_strategy
from strategies.workload import InterOrbit, Switches

_FIELD_OF_DOOR = {SPACE_GROUND: "space_ground", INTRA_ORBIT: "intra_orbit", INTER_ORBIT: "inter_orbit"}


def require_usable(switches: Switches) -> Switches:
    """Return the strategies, all of which can be imported and used.

    Raises:
        strategies.registry.StrategyError: One of another package cannot.
    """
    space_ground_strategy(switches.space_ground)
    intra_orbit_strategy(switches.intra_orbit)
    if switches.inter_orbit not in (InterOrbit.NONE, InterOrbit.GRID):
        inter_orbit_strategy(switches.inter_orbit)
    return switches


def registered_variants(best: Switches) -> Iterator[tuple[str, str, Switches]]:
    """Yield the strategies of other packages, each in the place of ours: its name, the name in whose place, and all.

    Raises:
        strategies.registry.StrategyError: One of them cannot be used.
    """
    for group, field in _FIELD_OF_DOOR.items():
        for name in registered_names(group):
            switches = dataclasses.replace(best, **{field: name})
            yield name, str(getattr(best, field)), require_usable(switches)
