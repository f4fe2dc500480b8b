"""``strategy.staleness_limit``: no plane is late for more rounds than the scenario allows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from server_app.planning.round_planner import RoundPlanner
from skysplit.planning_inputs import costs_of

KEYS = {
    "training.mode": "head",
    "constellation.satellites": 4,
    "constellation.planes": 4,
    "links.inter_orbit.topology": "none",
    "planning.profile": "DOFA-base",
    "planning.samples": 4,
    "strategy.planes_per_round": 1,
    "horizon_h": 48.0,
}
ROUNDS, LIMIT = 8, 2


def planner_of(limit: int) -> RoundPlanner:
    scenario = load_scenario("demo", KEYS | {"strategy.staleness_limit": limit})
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    return RoundPlanner(scenario, contacts, costs=costs_of(scenario), samples=[4] * 4)


def deliveries(planner: RoundPlanner, start_s: float, numbers: range) -> list[tuple[int, ...]]:
    """Which satellites deliver in each round."""
    found = []
    for number in numbers:
        plan = planner(number, start_s)
        start_s = planner.quorum.end_s(plan)
        found.append(tuple(np.flatnonzero(planner.quorum.delivered(plan)).tolist()))
    return found


def test_every_plane_delivers_within_as_many_rounds_as_the_limit_allows() -> None:
    limited = deliveries(planner_of(LIMIT), 0.0, range(1, ROUNDS + 1))
    since = dict.fromkeys(range(4), 1)
    for number, delivered in enumerate(limited, 1):
        for satellite in range(4):
            assert number - since[satellite] <= LIMIT
            if satellite in delivered:
                since[satellite] = number + 1
    counted = Counter(satellite for delivered in limited for satellite in delivered)
    assert min(counted[satellite] for satellite in range(4)) >= ROUNDS // (LIMIT + 1)


def test_a_limit_without_a_quorum_is_refused() -> None:
    with pytest.raises(ScenarioError, match="staleness_limit: found 2 with planes_per_round = 0"):
        load_scenario("demo", {"strategy.staleness_limit": 2})
