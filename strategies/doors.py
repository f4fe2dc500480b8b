"""The doors for strategies of other packages: which there are, and whether they can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

from mission.entry_points import INTER_ORBIT, INTRA_ORBIT, ROUND_PLANNERS, SPACE_GROUND, registered_names
from strategies.beam_scheduling import SpaceGroundStrategy
from strategies.inter_orbit import InterOrbitStrategy
from strategies.intra_orbit import IntraOrbitStrategy
from strategies.problem.workload import OUR_PLANNER, InterOrbit, IntraOrbit, SpaceGround, StrategyConfig
from strategies.registry import loaded, registered_planner, strategies_of


@dataclass(frozen=True)
class Door:
    """The entry points through which strategies of one kind come in.

    Attributes:
        group: The entry-point group.
        field: Of ``StrategyConfig``, and the key of ``[strategy]``.
        kind: The base class.
        ours: Names that are taken.
    """

    group: str
    field: str
    _: KW_ONLY
    kind: type
    ours: tuple[str, ...]


DOORS = (
    Door(SPACE_GROUND, "space_ground", kind=SpaceGroundStrategy, ours=tuple(SpaceGround)),
    Door(INTRA_ORBIT, "intra_orbit", kind=IntraOrbitStrategy, ours=tuple(IntraOrbit)),
    Door(INTER_ORBIT, "inter_orbit", kind=InterOrbitStrategy, ours=tuple(InterOrbit)),
)


def require_usable(strategy_config: StrategyConfig) -> StrategyConfig:
    """Return the strategies, all of which can be imported and used, and so can their planner.

    Raises:
        strategies.registry.StrategyError: One of another package cannot.
    """
    for door in DOORS:
        name = getattr(strategy_config, door.field)
        if name not in door.ours:
            loaded(door.group, name, door.kind, door.ours)
    if strategy_config.planner != OUR_PLANNER:
        registered_planner(strategy_config.planner)
    return strategy_config


def registered_variants(best: StrategyConfig) -> Iterator[tuple[str, str, StrategyConfig]]:
    """Yield the strategies and round planners of other packages, each in the place of ours.

    Of each its name, the name in whose place it is, and the strategies with it.

    Raises:
        strategies.registry.StrategyError: One of them cannot be used.
    """
    for door in DOORS:
        for name in strategies_of(door.group, door.kind, door.ours):
            changed: dict[str, Any] = {door.field: name}
            yield name, str(getattr(best, door.field)), dataclasses.replace(best, **changed)
    for name in registered_names(ROUND_PLANNERS):
        registered_planner(name)
        yield name, "our planner", dataclasses.replace(best, planner=name)
