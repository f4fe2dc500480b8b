"""S1, S2 and S3, each on and off in a setting where it changes the answer; docs/strategies.md has the commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from server_app.planning.round_planner import framing_of, problem_of
from server_app.planning.workloads import MissionWorkloads, variant_of
from skysplit.planning_inputs import costs_of, samples_of
from strategies.checker.check import require_feasible
from strategies.planner.round_planner import plan_round
from strategies.problem.workload import StrategyConfig

RoundLength = Callable[..., float]
LEAST_GAIN = 0.05  # of the round's length

# Trains of the Dove class with a radio from neighbour to neighbour: passes are short and sites unlike.
TRAINS = {
    "links.intra_orbit.enabled": True,
    "links.intra_orbit.mbps": 10.0,
    "constellation.train_spacing_deg": 4.0,
    "horizon_h": 2.0,
}
# Two of the paper's six planes: for half of the time one of them sees no station.
TWO_PLANES = {
    "constellation.satellites": 24,
    "constellation.planes": 2,
    "planning.samples": 200,
    "horizon_h": 1.0,
}


def rounds_of(name: str, settings: dict[str, Any]) -> RoundLength:
    """A function that plans, and has checked, the first round of a scenario with other strategies."""
    scenario = load_scenario(name, settings)
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    samples = samples_of(scenario, contacts)
    workloads = MissionWorkloads(scenario, costs_of(scenario), samples=samples, framing=framing_of(contacts))
    workload = workloads.of_round(variant_of(scenario))
    problem = problem_of(scenario, contacts, workload)

    def length_s(*names: str) -> float:
        plan = plan_round(problem, StrategyConfig.parse(*names))
        require_feasible(plan, problem)
        return plan.makespan_s

    return length_s


@pytest.fixture(scope="module")
def trains() -> RoundLength:
    return rounds_of("dove-3u", TRAINS)


@pytest.fixture(scope="module")
def two_planes() -> RoundLength:
    return rounds_of("paper", TWO_PLANES)


def test_links_within_planes_take_a_round_from_hours_to_minutes(trains: RoundLength) -> None:
    off_s = trains("none", "own-window", "none")
    on_s = trains("parallel", "own-window", "none")
    assert off_s == pytest.approx(5611, rel=0.02)
    assert on_s == pytest.approx(282, rel=0.02)


def test_matching_sessions_to_what_is_to_come_beats_its_baselines_where_sites_are_unlike(
    trains: RoundLength,
) -> None:
    matched_s = trains("parallel", "topology-aware", "none")
    for poorer, expected_s in (("own-window", 282), ("first-contact", 258), ("nearest", 258)):
        other_s = trains("parallel", poorer, "none")
        assert other_s == pytest.approx(expected_s, rel=0.02)
        assert matched_s < (1.0 - LEAST_GAIN) * other_s


def test_links_between_planes_serve_a_plane_that_sees_no_station(two_planes: RoundLength) -> None:
    off_s = two_planes("parallel", "topology-aware", "none")
    on_s = two_planes("parallel", "topology-aware", "min-latency")
    assert on_s < (1.0 - LEAST_GAIN) * off_s
    assert on_s / off_s == pytest.approx(18.8 / 30.6, rel=0.05)


def test_which_rule_points_the_lasers_makes_no_difference_where_one_neighbour_is_enough(
    two_planes: RoundLength,
) -> None:
    least_s = two_planes("parallel", "topology-aware", "min-latency")
    for rule in ("grid", "nearest"):
        assert two_planes("parallel", "topology-aware", rule) == pytest.approx(least_s, rel=LEAST_GAIN)
