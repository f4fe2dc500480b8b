"""``strategy.staleness_limit``: no plane is late for more rounds than the scenario allows."""

from __future__ import annotations

import numpy as np
import pytest

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from server_app.planning.round_planner import RoundPlanner
from skysplit.planning_inputs import costs_of
from strategies.problem.plan import ACTIVITY, Plan
from strategies.problem.workload import StrategyConfig, Workload

KEYS = {
    "training.mode": "head",
    "constellation.satellites": 4,
    "constellation.planes": 4,
    "links.inter_orbit.topology": "none",
    "planning.profile": "DOFA-base",
    "planning.samples": 4,
    "strategy.planes_per_round": 1,
    "horizon_h": 12.0,
}
ROUNDS, LIMIT = 6, 2
NAMES = tuple(f"sat-{plane}-00" for plane in range(4))


def planner_of(limit: int) -> RoundPlanner:
    scenario = load_scenario("demo", KEYS | {"strategy.staleness_limit": limit})
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    return RoundPlanner(scenario, contacts, costs=costs_of(scenario), samples=[4] * 4)


def deliveries(planner: RoundPlanner, numbers: range, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Which satellites deliver in each round, where satellite 0 is always first and 3 is always last."""

    def planned(workload: Workload, start_s: float) -> Plan:
        del workload
        delivered_s = start_s + np.array([10.0, 20.0, 30.0, 40.0])
        return Plan(
            start_s, start_s + 40.0, lower_bound_s=40.0, names=NAMES, activities=np.empty(0, ACTIVITY),
            strategy_config=StrategyConfig.parse("none", "own-window", "none"),
            finish_s=delivered_s, delivered_s=delivered_s,
        )  # fmt: skip

    monkeypatch.setattr(planner, "_planned", planned)
    plans = ((planner(number, 50.0 * number), planner.quorum) for number in numbers)
    return [np.flatnonzero(quorum.delivered(plan)).tolist() for plan, quorum in plans]


def test_every_plane_delivers_within_as_many_rounds_as_the_limit_allows(monkeypatch) -> None:
    limited = deliveries(planner_of(LIMIT), range(1, ROUNDS + 1), monkeypatch)
    assert limited == [[0], [0], [0, 1, 2, 3]] * 2
    assert deliveries(planner_of(0), range(1, ROUNDS + 1), monkeypatch) == [[0]] * ROUNDS


def test_a_resumed_run_waits_for_the_same_planes(monkeypatch) -> None:
    begun = planner_of(LIMIT)
    deliveries(begun, range(1, 3), monkeypatch)
    resumed = planner_of(LIMIT)
    resumed.resume(begun.carry_over, dict.fromkeys(NAMES[1:], 1))  # as the checkpoint has them
    assert deliveries(resumed, range(3, 5), monkeypatch) == [[0, 1, 2, 3], [0]]


def test_a_limit_without_a_quorum_is_refused() -> None:
    with pytest.raises(ScenarioError, match="staleness_limit: found 2 with planes_per_round = 0"):
        load_scenario("demo", {"strategy.staleness_limit": 2})
