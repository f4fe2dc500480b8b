"""The checker finds what is wrong: a good plan, one thing changed, the rule that must notice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from synthetic_worlds import LADDER, RATES, RESOURCES, WORLD, make_workload

from orbit.contact_plan import LinkKind
from strategies.checker import InfeasiblePlanError, check_plan, require_feasible
from strategies.plan import Kind, Plan
from strategies.planner import plan_round
from strategies.workload import ComputeRates, Resources, Switches

WORK = make_workload(6, 200)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_round(WORLD, WORK, RATES, RESOURCES, LADDER["e"], start_s=0.0)


def rules(plan: Plan, rates: ComputeRates = RATES, resources: Resources = RESOURCES) -> set[str]:
    return {violation.rule for violation in check_plan(plan, WORLD, WORK, rates, resources)}


def changed(plan: Plan, change: Callable[[np.ndarray], np.ndarray]) -> Plan:
    return dataclasses.replace(plan, activities=change(plan.activities.copy()))


def first(rows: np.ndarray, kind: Kind, link: int | None = None) -> int:
    return int(np.argmax((rows["kind"] == kind) & ((rows["link"] == link) if link is not None else True)))


def test_an_unchanged_plan_breaks_no_rule(plan) -> None:
    assert rules(plan) == set()
    require_feasible(plan, WORLD, WORK, RATES, RESOURCES)


def test_a_dropped_block_is_noticed(plan) -> None:
    assert "once" in rules(
        changed(plan, lambda rows: np.delete(rows, first(rows, Kind.FEATURES, LinkKind.DOWNLINK)))
    )


def test_a_block_delivered_twice_is_noticed(plan) -> None:
    def twice(rows: np.ndarray) -> np.ndarray:
        return np.append(rows, rows[first(rows, Kind.FEATURES, LinkKind.DOWNLINK)])

    assert "once" in rules(changed(plan, twice))


def test_a_step_left_out_is_noticed(plan) -> None:
    assert "once" in rules(changed(plan, lambda rows: np.delete(rows, first(rows, Kind.BACKBONE))))


def test_a_missing_session_is_noticed(plan) -> None:
    assert "session" in rules(changed(plan, lambda rows: np.delete(rows, first(rows, Kind.SESSION))))


def test_a_missing_laser_is_noticed(plan) -> None:
    assert "laser" in rules(changed(plan, lambda rows: rows[rows["kind"] != Kind.LASER]))


def test_a_second_satellite_on_one_beam_is_noticed(plan) -> None:
    def crowded(rows: np.ndarray) -> np.ndarray:
        extra = rows[[first(rows, Kind.SESSION)]].copy()
        extra["node"] = (extra["node"] + 1) % 6
        return np.append(rows, extra)

    assert "antenna" in rules(changed(plan, crowded))


def test_a_transfer_outside_its_window_is_noticed(plan) -> None:
    def early(rows: np.ndarray) -> np.ndarray:
        rows["node"][first(rows, Kind.FEATURES, LinkKind.DOWNLINK)] = 5  # whose window is not open yet
        return rows

    assert "window" in rules(changed(plan, early))


def test_a_link_faster_than_it_is_is_noticed(plan) -> None:
    def hurried(rows: np.ndarray) -> np.ndarray:
        index = first(rows, Kind.FEATURES, LinkKind.DOWNLINK)
        rows["bytes"][index] *= 3.0
        return rows

    assert "capacity" in rules(changed(plan, hurried))


def test_features_that_leave_before_they_are_embedded_are_noticed(plan) -> None:
    def late(rows: np.ndarray) -> np.ndarray:
        rows["end_s"][first(rows, Kind.EMBED)] += 50.0
        return rows

    assert "order" in rules(changed(plan, late))


def test_steps_before_their_features_are_noticed(plan) -> None:
    def eager(rows: np.ndarray) -> np.ndarray:
        backbone = rows["kind"] == Kind.BACKBONE
        rows["start_s"][backbone] = plan.start_s
        return rows

    assert "order" in rules(changed(plan, eager))


def test_an_answer_before_its_computation_is_noticed(plan) -> None:
    def eager(rows: np.ndarray) -> np.ndarray:
        rows["start_s"][first(rows, Kind.HIDDEN, LinkKind.UPLINK)] -= 5.0
        return rows

    assert "order" in rules(changed(plan, eager))


def test_slower_computers_than_planned_are_noticed(plan) -> None:
    assert "compute" in rules(plan, rates=ComputeRates(RATES.satellite_flops, RATES.ground_flops / 4.0))


def test_a_longer_set_up_than_planned_is_noticed(plan) -> None:
    assert "session" in rules(plan, resources=Resources(setup_s=20.0))


def test_a_smaller_buffer_than_planned_is_noticed(plan) -> None:
    assert "buffer" in rules(plan, resources=Resources(buffer_bytes=1e5))


def test_a_bound_above_the_plan_is_noticed(plan) -> None:
    assert "bound" in rules(dataclasses.replace(plan, lower_bound_s=2.0 * plan.makespan_s))


def test_weights_left_out_of_the_average_are_noticed(plan) -> None:
    assert "average" in rules(changed(plan, lambda rows: rows[rows["kind"] != Kind.REDUCE]))


def test_weights_sent_before_the_last_step_are_noticed(plan) -> None:
    def hasty(rows: np.ndarray) -> np.ndarray:
        own = (rows["kind"] == Kind.REDUCE) & (rows["node"] < 6)
        rows["start_s"][own] = plan.start_s
        return rows

    assert "average" in rules(changed(plan, hasty))


@pytest.mark.parametrize("kind", [Kind.REDUCE, Kind.UPDATE])
def test_weights_passed_on_before_they_are_there_are_noticed(kind) -> None:
    work = make_workload(6, 50, "onboard-lora")
    switches = Switches.parse("parallel", "topology-aware", "none")
    plan = plan_round(WORLD, work, RATES, RESOURCES, switches, start_s=0.0)
    assert check_plan(plan, WORLD, work, RATES, RESOURCES) == []
    rows = plan.activities.copy()
    link = LinkKind.DOWNLINK if kind is Kind.REDUCE else LinkKind.UPLINK
    through_ground = (rows["kind"] == kind) & (rows["link"] == link)
    rows["start_s"][through_ground], rows["end_s"][through_ground] = plan.start_s, plan.start_s + 1.0
    hasty = dataclasses.replace(plan, activities=rows)
    assert "average" in {violation.rule for violation in check_plan(hasty, WORLD, work, RATES, RESOURCES)}


def test_an_infeasible_plan_is_refused_with_its_first_violations(plan) -> None:
    broken = changed(plan, lambda rows: rows[rows["kind"] != Kind.SESSION])
    with pytest.raises(InfeasiblePlanError, match="has no session"):
        require_feasible(broken, WORLD, WORK, RATES, RESOURCES)
