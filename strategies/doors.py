"""The doors for strategies of other packages: which there are, and whether they can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

from mission.entry_points import INTER_ORBIT, INTRA_ORBIT, SPACE_GROUND
from strategies.beam_scheduling import SpaceGroundStrategy
from strategies.inter_orbit import InterOrbitStrategy
from strategies.intra_orbit import IntraOrbitStrategy
from strategies.problem.workload import InterOrbit, IntraOrbit, SpaceGround, StrategyConfig
from strategies.registry import loaded, strategies_of


@dataclass(frozen=True)
class Door:
    """Where strategies of one kind come in.

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
    """Return the strategies, all of which can be imported and used.

    Raises:
        strategies.registry.StrategyError: One of another package cannot.
    """
    for door in DOORS:
        name = getattr(strategy_config, door.field)
        if name not in door.ours:
            loaded(door.group, name, door.kind, door.ours)
    return strategy_config


def registered_variants(best: StrategyConfig) -> Iterator[tuple[str, str, StrategyConfig]]:
    """Yield the strategies of other packages, each in the place of ours: its name, the name in whose place, and all.

    Raises:
        strategies.registry.StrategyError: One of them cannot be used.
    """
    for door in DOORS:
        for name in strategies_of(door.group, door.kind, door.ours):
            changed: dict[str, Any] = {door.field: name}
            yield name, str(getattr(best, door.field)), dataclasses.replace(best, **changed)
