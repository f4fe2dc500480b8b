"""Stations that serve numbers of satellites of their own: in plan, bound and checker, and from the scenario."""

from __future__ import annotations

import dataclasses
import math

import pytest
from synthetic_worlds import LADDER, make_workload, make_world

from mission.scenario import load_scenario
from server_app.planning.round_planner import resources_of
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.checked_plan import checked_plan
from strategies.problem.plan import Kind
from strategies.problem.workload import Resources, WorkloadError

# Two satellites of two planes without links over two stations, nodes 2 and 3, that both see them.
PASSES = [(satellite, 0, 0.0, 900.0) for satellite in (0, 1)] + [(0, 1, 2000.0, 900.0), (1, 1, 2000.0, 900.0)]
WORLD = make_world(2, 1, 2, PASSES, inter_bps=0.0, ring=False)


@pytest.mark.parametrize("strategy", ["b", "c", "d"])
def test_a_station_with_two_beams_of_its_own_serves_both_at_once(strategy) -> None:
    workload = make_workload(2, 160, "head")
    one, two = (
        make_problem(WORLD, workload, resources=Resources(1, 10.0, own_beams=own))
        for own in ((), ((2, 2), (3, 1)))
    )
    slow, fast = (checked_plan(problem, LADDER[strategy]) for problem in (one, two))
    assert fast.end_s < slow.end_s
    assert fast.lower_bound_s <= fast.makespan_s
    assert fast.lower_bound_s < slow.lower_bound_s
    sessions = fast.of_kind(Kind.SESSION)
    assert max(sessions["start_s"]) < min(sessions["end_s"])
    found = check_plan(fast, one)
    assert "antenna" in {violation.rule for violation in found}
    # Of the other station it has none more.
    elsewhere = dataclasses.replace(two, resources=Resources(1, 10.0, own_beams=((3, 2),)))
    assert "antenna" in {violation.rule for violation in check_plan(fast, elsewhere)}


def test_a_station_with_fewer_beams_than_the_others_keeps_to_them() -> None:
    workload = make_workload(2, 160, "head")
    many = make_problem(WORLD, workload, resources=Resources(2, 10.0, own_beams=((2, 1),)))
    plan = checked_plan(many, LADDER["d"])
    alone = checked_plan(make_problem(WORLD, workload, resources=Resources(1, 10.0)), LADDER["d"])
    assert plan.end_s == pytest.approx(alone.end_s)


def test_a_scenario_bounds_what_is_held_of_others() -> None:
    assert resources_of(load_scenario("walker-12", {"links.buffer_gb": "0.5"})).buffer_bytes == 5e8
    assert resources_of(load_scenario("walker-12")).buffer_bytes == math.inf


def test_a_scenario_gives_stations_beams_by_their_nodes() -> None:
    stations = (
        '[{name = "Kiruna", lat_deg = 67.9, lon_deg = 21.0}, '
        '{name = "Madrid", lat_deg = 40.4, lon_deg = -3.7, beams = 3}]'
    )
    resources = resources_of(load_scenario("walker-12", {"ground.stations": stations, "ground.beams": "2"}))
    assert [resources.beams_of(node) for node in (12, 13)] == [2, 3]
    with pytest.raises(WorkloadError, match=r"beams: found 0"):
        Resources(own_beams=((12, 0),))
