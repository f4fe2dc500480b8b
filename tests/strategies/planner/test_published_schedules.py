"""Schedules of papers: each is flown as its paper says, accepted by the checker, and stands above its bound."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_worlds import WORLD, make_workload, make_world

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.schedules import PUBLISHED, published_cases
from strategies.asynchronous.checked_mission import checked_mission
from strategies.asynchronous.mission import Goal
from strategies.asynchronous.replay import check_mission
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.intra_orbit import PlaneLinks, all_reduce_s
from strategies.planner.plane_rounds import plan_plane_rounds
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, Plan
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import Mode, StrategyConfig, Workload

WEIGHTS_BITS = 8.0 * 170.031e6  # of make_workload's whole model, with its head
GRID = StrategyConfig.parse("parallel", "first-contact", "grid")
ON_BOARD = make_workload(4, 16, mode=Mode.ONBOARD_FULL)


def two_planes(passes: list[tuple[int, int, float, float]]) -> ContactPlan:
    """Two planes of two, which only the ground joins; a pass of 400 s carries the weights of ten models."""
    return make_world(2, 2, 2, passes, inter_bps=0.0, ring=False)


def planned(world: ContactPlan, space_ground: str) -> Plan:
    strategy_config = StrategyConfig.parse("parallel", space_ground, "none")
    plan = plan_round(make_problem(world, ON_BOARD), strategy_config)
    assert check_plan(plan, make_problem(world, ON_BOARD)) == []
    return plan


def sinks(plan: Plan) -> set[int]:
    """Satellites that send weights to the ground."""
    down = plan.of_kind(Kind.REDUCE)
    return set(down["node"][down["link"] == LinkKind.DOWNLINK].tolist())


def round_of(how: TrainingVariant) -> Workload:
    """A round on board; where the first blocks alone train there, with the features of make_workload's split."""
    whole = make_workload(6, 16, mode=how.mode)
    if not how.client_share:
        return whole
    return dataclasses.replace(
        whole, onboard_flops=how.client_share * whole.onboard_flops, c1_bytes=make_workload(6).c1_bytes
    )


@pytest.mark.parametrize("name", [schedule.name for schedule in PUBLISHED])
def test_every_schedule_passes_the_checker_from_every_start_above_its_bound(name: str) -> None:
    [case] = [case for case in published_cases(lambda how: (round_of(how),)) if case.name == name]
    workload = case.workloads[0]
    assert workload.on_board
    assert (workload.c1_bytes > 0) == (name == "sfl-leo")
    for start_s in (0.0, 2050.0):
        problem = make_problem(WORLD, workload, start_s)
        if case.asynchronous is not None:
            mission = checked_mission(problem, case.asynchronous, Goal(updates=12))
            assert check_mission(mission, problem, case.asynchronous) == []
            assert mission.plan.makespan_s >= mission.plan.lower_bound_s
            continue
        if case.plane_rounds:
            plan = plan_plane_rounds(
                problem, case.strategy_config, [problem.workload] * case.plane_rounds
            ).plan
        else:
            plan = plan_round(problem, case.strategy_config)
            assert check_plan(plan, problem) == []
        assert plan.makespan_s >= plan.lower_bound_s > 0.0


def test_planes_train_and_average_by_themselves_before_all_average() -> None:
    [case] = [
        case
        for case in published_cases(lambda how: (make_workload(6, 16, mode=how.mode),))
        if case.name == "autoflsat"
    ]
    problem = make_problem(WORLD, case.workloads[0])
    once = plan_plane_rounds(problem, case.strategy_config, [problem.workload]).plan
    often = plan_plane_rounds(problem, case.strategy_config, [problem.workload] * 4).plan
    for plan, rounds in ((once, 1), (often, 4)):
        train = plan.of_kind(Kind.TRAIN)
        assert train["flops"].sum() == pytest.approx(rounds * 96 * problem.workload.onboard_flops)
        assert not np.isin(plan.activities["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK)).any()
        between = plan.activities[plan.activities["link"] == LinkKind.INTER_ISL]
        moving = between[between["bytes"] > 0]
        assert moving["start_s"].min() >= train["end_s"].max()
    # A round of a plane takes as long whenever it is: its links are always open.
    in_plane_s = 16 * problem.workload.onboard_flops / problem.rates.satellite_flops
    in_plane_s += all_reduce_s(
        PlaneLinks((0, 1, 2), closed=True, rate_bps=1e9, owlt_s=0.006),
        problem.workload.aggregate_bytes,
        "parallel",
    )
    assert often.makespan_s - once.makespan_s == pytest.approx(3.0 * in_plane_s, rel=1e-6)


def test_planes_without_links_have_no_rounds_by_themselves() -> None:
    world = make_world(2, 1, 1, [(0, 0, 100.0, 300.0), (1, 0, 500.0, 300.0)], ring=False)
    two = [make_workload(2, 16, mode="onboard-full")] * 2
    one_each = plan_plane_rounds(make_problem(world, two[0]), GRID, two).plan
    assert len(one_each.of_kind(Kind.TRAIN)) == 4  # a plane of one needs no link
    apart = make_world(1, 4, 1, [(k, 0, 100.0 + 400.0 * k, 300.0) for k in range(8) if k < 4], ring=False)
    links = apart.contacts[apart.contacts["kind"] != LinkKind.INTRA_ISL]
    apart = dataclasses.replace(apart, contacts=links)
    four = [make_workload(4, 16, mode="onboard-full")] * 2
    with pytest.raises(NoRouteError):
        plan_plane_rounds(make_problem(apart, four[0]), GRID, four)


def test_longest_windows_elect_the_sink_whose_pass_carries_all_that_its_plane_sends() -> None:
    assert WEIGHTS_BITS / 200e6 > 6.0  # s, for one model down
    late = [(k, k % 2, 3000.0 + 500.0 * k, 400.0) for k in range(4)]
    # When all have trained, satellite 0 sees station 0 for too short a time, satellite 1 sees station 1 soon after.
    world = two_planes([(0, 0, 200.0, 16.0), (1, 1, 230.0, 300.0), (2, 0, 240.0, 300.0), *late])
    assert sinks(planned(world, "longest-window")) == {1, 2}
    assert 0 in sinks(planned(world, "first-contact"))


def test_of_several_passes_that_carry_it_the_longest_is_the_sink() -> None:
    late = [(k, k % 2, 3000.0 + 500.0 * k, 400.0) for k in range(4)]
    world = two_planes([(0, 0, 100.0, 150.0), (1, 1, 100.0, 400.0), (2, 0, 260.0, 300.0), *late])
    assert sinks(planned(world, "longest-window")) == {1, 2}


def test_where_no_pass_carries_it_weights_go_over_several() -> None:
    short = [(k, k % 2, 20.0 + 60.0 * turn + 15.0 * k, 14.5) for turn in range(40) for k in range(4)]
    plan = planned(two_planes(short), "longest-window")
    down = plan.of_kind(Kind.REDUCE)
    sent = down["bytes"][down["link"] == LinkKind.DOWNLINK].sum()
    assert sent == pytest.approx(2 * ON_BOARD.aggregate_bytes, rel=1e-6)


def test_planes_that_lasers_join_average_without_the_ground() -> None:
    [case] = [
        case
        for case in published_cases(lambda how: (make_workload(6, 16, mode=how.mode),))
        if case.name == "between-planes"
    ]
    plan = plan_round(make_problem(WORLD, case.workloads[0]), case.strategy_config)
    assert not np.isin(plan.activities["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK)).any()
    assert (plan.activities["link"] == LinkKind.INTER_ISL).any()
