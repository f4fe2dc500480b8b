"""Pairs of rounds of which the second asks for less, or is given more: it may not end later than the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np

from benchmarks.planner_worlds import Drawn
from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PayloadTooLargeError
from strategies.problem.workload import InterOrbit, IntraOrbit, SpaceGround, StrategyConfig

# A plan is searched for, not computed: later by less than this part counts as equal.
ALIKE = 1e-3

_ISLS = (LinkKind.INTRA_ISL, LinkKind.INTER_ISL)


def makespan_s(drawn: Drawn) -> float:
    """Length of the planned round; infinite where there is none."""
    try:
        return plan_round(drawn.problem(), drawn.strategy_config).makespan_s
    except (NoRouteError, PayloadTooLargeError):
        return np.inf


def easier(drawn: Drawn, rng: np.random.Generator) -> dict[str, Drawn]:
    """The same round with less to move, faster links, one more contact, one more station, or a richer strategy."""
    workload, world = drawn.workload, drawn.world
    found: dict[str, Drawn] = {}
    less: Mapping[str, Callable[[], object]] = {
        "half the features": lambda: dataclasses.replace(workload, c1_bytes=workload.c1_bytes / 2.0),
        "half the hidden states": lambda: dataclasses.replace(workload, c2_bytes=workload.c2_bytes / 2.0),
        "all features cached": lambda: dataclasses.replace(workload, cached_fraction=1.0),
    }
    if not (workload.on_board or workload.central):
        found |= {name: dataclasses.replace(drawn, workload=change()) for name, change in less.items()}
    for name, kinds in (
        ("faster downlinks", (LinkKind.DOWNLINK,)),
        ("faster uplinks", (LinkKind.UPLINK,)),
        ("faster inter-satellite links", _ISLS),
    ):
        found[name] = dataclasses.replace(drawn, world=_faster(world, kinds))
    satellite, start_s = int(rng.choice(world.satellites)), float(rng.uniform(0.0, 4000.0))
    end_s = start_s + float(rng.uniform(60.0, 500.0))
    contact = (satellite, int(rng.choice(world.stations)), start_s, end_s)
    found["one more pass"] = dataclasses.replace(drawn, world=_with_pass(world, *contact))
    station = len(world.nodes)
    larger = dataclasses.replace(world, nodes=(*world.nodes, Node("another station", "station")))
    found["one more station"] = dataclasses.replace(
        drawn, world=_with_pass(larger, satellite, station, start_s, end_s)
    )
    if not workload.on_board:
        found |= {
            f"richer: {name}": dataclasses.replace(drawn, strategy_config=strategy_config)
            for name, strategy_config in _richer(drawn.strategy_config).items()
        }
    return found


def _faster(world: ContactPlan, kinds: Collection[LinkKind]) -> ContactPlan:
    contacts = world.contacts.copy()
    contacts["rate_bps"][np.isin(contacts["kind"], [int(kind) for kind in kinds])] *= 2.0
    return dataclasses.replace(world, contacts=contacts)


def _with_pass(world: ContactPlan, satellite: int, station: int, start_s: float, end_s: float) -> ContactPlan:
    """The world with one more pass, at the rates of the others; where the pair has one already, as it is."""
    contacts = world.contacts
    pair = (contacts["source"] == satellite) & (contacts["target"] == station)
    if (pair & (contacts["start_s"] < end_s) & (contacts["end_s"] > start_s)).any():
        return world
    rows = []
    for kind in (LinkKind.DOWNLINK, LinkKind.UPLINK):
        like = contacts[contacts["kind"] == kind]
        down = kind is LinkKind.DOWNLINK
        ends = (satellite, station) if down else (station, satellite)
        rows.append(
            (
                *ends,
                int(kind),
                start_s,
                end_s,
                float(like["rate_bps"].max()),
                0.004,
                np.nan,
                1000.0,
                False,
                False,
            )
        )
    return dataclasses.replace(world, contacts=np.concatenate([contacts, np.array(rows, CONTACT)]))


def _richer(strategy_config: StrategyConfig) -> dict[str, StrategyConfig]:
    """The strategies that contain these."""
    found = {}
    if strategy_config.inter_orbit is InterOrbit.NONE:
        found["inter-orbit links"] = dataclasses.replace(strategy_config, inter_orbit=InterOrbit.GRID)
    if strategy_config.intra_orbit is IntraOrbit.NONE:
        found["intra-orbit links"] = dataclasses.replace(strategy_config, intra_orbit=IntraOrbit.PARALLEL)
    if strategy_config.space_ground is SpaceGround.OWN_WINDOW:
        found["topology-aware"] = dataclasses.replace(
            strategy_config, space_ground=SpaceGround.TOPOLOGY_AWARE
        )
    return found
