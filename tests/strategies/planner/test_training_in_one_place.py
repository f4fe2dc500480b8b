"""The ground trains by itself: on what comes while the rest is still on its way, and asks nobody any more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, WORLD, drawn, make_workload, worlds

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.planner.step_order import Schedule
from strategies.problem.plan import Kind, Plan
from strategies.problem.round_state import state_at
from strategies.problem.workload import ComputeRates, Workload


def computed_s(workload: Workload) -> float:
    return sum(workload.samples) * workload.epochs * workload.ground_flops / RATES.ground_flops


def served_s(plan: Plan, world: ContactPlan, workload: Workload, rates: ComputeRates) -> float:
    """When a queue is empty into which every micro-batch comes as its downlink carries it."""
    come = []
    for row in plan.of_kind(Kind.FEATURES):
        if row["link"] != LinkKind.DOWNLINK:
            continue
        owlt_s = float(world.between(int(row["node"]), int(row["peer"]))["owlt_s"][0])
        first, end = int(row["first_sample"]), int(row["end_sample"])
        lead = min(workload.micro_batch, end - first)
        # The first micro-batch takes its own time on the link, the rest comes at an even pace.
        contacts = world.between(int(row["node"]), int(row["peer"]))
        lead_s = lead * workload.c1_bytes * 8.0 / float(contacts["rate_bps"][0])
        pace_s = (row["end_s"] - row["start_s"] - lead_s) / max(end - first - lead, 1)
        for begin in range(first, end, workload.micro_batch):
            until = min(begin + workload.micro_batch, end)
            come.append((row["start_s"] + lead_s + pace_s * (until - first - lead) + owlt_s, until - begin))
    now_s = 0.0
    for time_s, count in sorted(come):
        now_s = max(now_s, time_s) + count * workload.ground_flops / rates.ground_flops
    return now_s


@drawn(10)
@given(
    worlds(),
    st.sampled_from(list(LADDER)),
    st.integers(1, 3),
    st.sampled_from(["downlink", "features"]),
    st.sampled_from([1.0, 0.02]),
)
def test_the_first_pass_takes_images_as_they_come_and_later_ones_follow_without_a_pause(
    case, strategy_config, epochs, mode, speed
) -> None:
    world, split, resources = case
    workload = make_workload(len(split.samples), split.samples, mode, epochs=epochs)
    rates = ComputeRates(RATES.satellite_flops, RATES.ground_flops * speed)
    plan = plan_round(
        make_problem(world, workload, rates=rates, resources=resources), LADDER[strategy_config]
    )
    assert check_plan(plan, make_problem(world, workload, rates=rates, resources=resources)) == []
    assert plan.lower_bound_s <= plan.makespan_s
    later_s = computed_s(workload) / speed * (epochs - 1) / epochs
    assert plan.end_s == pytest.approx(served_s(plan, world, workload, rates) + later_s, rel=1e-3)


@pytest.mark.parametrize("mode", ["downlink", "features"])
@pytest.mark.parametrize("strategy_config", ["b", "d", "e"])
def test_the_schedule_takes_each_sample_once_in_the_order_in_which_the_plan_computes_them(
    mode: str, strategy_config: str
) -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], mode, epochs=2)
    plan = plan_round(make_problem(WORLD, workload), LADDER[strategy_config])
    found = Schedule.of(plan, plan.names).first_pass
    taken = [plan.names.index(name) for name, count in found for _ in range(count)]
    assert np.bincount(taken, minlength=6).tolist() == list(workload.samples)
    due = sorted(
        (row["start_s"] + (row["end_s"] - row["start_s"]) * (place + 1) / count, row["satellite"])
        for row in plan.of_kind(Kind.BACKBONE)
        if row["epoch"] == 0
        for count in [int(row["end_sample"] - row["first_sample"])]
        for place in range(count)
    )
    assert taken == [satellite for _, satellite in due]
    later = make_workload(6, [100, 0, 37, 64, 1, 200], "downlink", epochs=2, raw_bytes=0.0)
    again = plan_round(make_problem(WORLD, later), LADDER[strategy_config])
    assert Schedule.of(again, again.names).first_pass == ()  # all are there: mixed by chance


def test_once_the_images_are_down_a_round_is_nothing_but_compute_and_its_own_bound() -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], "downlink", epochs=2, raw_bytes=0.0)
    plan = plan_round(make_problem(WORLD, workload, 35_000.0), LADDER["d"])  # after the last pass
    assert check_plan(plan, make_problem(WORLD, workload, plan.start_s)) == []
    assert plan.makespan_s == pytest.approx(computed_s(workload))
    assert plan.gap == pytest.approx(0.0, abs=1e-3)  # the bound is searched to a thousandth
    assert set(plan.activities["kind"]) == {Kind.BACKBONE}


@pytest.mark.parametrize("part", [0.3, 0.9985, 0.9995])
def test_what_was_sent_and_computed_before_a_failure_is_not_done_again(part) -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], "downlink", epochs=2)
    plan = plan_round(make_problem(WORLD, workload), LADDER["d"])
    now_s = part * plan.end_s
    state = state_at(plan, workload, now_s)
    rest = plan_round(make_problem(WORLD, workload, now_s, state=state), LADDER["d"])
    assert check_plan(rest, make_problem(WORLD, workload, rest.start_s, state=state)) == []
    steps = rest.of_kind(Kind.BACKBONE)
    count = np.sum(steps["end_sample"] - steps["first_sample"])
    assert count == 2 * sum(workload.samples) - sum(state.done)
    assert rest.end_s >= plan.end_s - 1.0
