"""The baseline that brings raw images down: the ground trains when it has them all, and asks nobody any more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, RESOURCES, WORLD, drawn, make_workload, worlds

from orbit.contact_plan import LinkKind
from strategies.checker import check_plan
from strategies.plan import Kind
from strategies.planner import plan_round
from strategies.round_state import state_at
from strategies.workload import Workload


def computed_s(workload: Workload) -> float:
    return sum(workload.samples) * workload.epochs * workload.ground_flops / RATES.ground_flops


@drawn(15)
@given(worlds(), st.sampled_from(list(LADDER)), st.integers(1, 3))
def test_the_first_step_follows_the_last_image_and_all_steps_follow_without_a_pause(
    case, switches, epochs
) -> None:
    world, split, resources = case
    workload = make_workload(len(split.samples), split.samples, "downlink", epochs=epochs)
    plan = plan_round(world, workload, RATES, resources, LADDER[switches], start_s=0.0)
    assert check_plan(plan, world, workload, RATES, resources) == []
    assert plan.lower_bound_s <= plan.makespan_s
    down = plan.activities[plan.activities["link"] == LinkKind.DOWNLINK]
    arrived_s = down["end_s"][down["kind"] == Kind.FEATURES].max()
    steps = plan.of_kind(Kind.BACKBONE)
    assert arrived_s <= steps["start_s"].min() <= arrived_s + 0.1  # light time
    assert plan.end_s == pytest.approx(steps["start_s"].min() + computed_s(workload))


def test_once_the_images_are_down_a_round_is_nothing_but_compute_and_its_own_bound() -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], "downlink", epochs=2, raw_bytes=0.0)
    plan = plan_round(WORLD, workload, RATES, RESOURCES, LADDER["d"], start_s=35_000.0)  # after the last pass
    assert check_plan(plan, WORLD, workload, RATES, RESOURCES) == []
    assert plan.makespan_s == pytest.approx(computed_s(workload))
    assert plan.gap == pytest.approx(0.0, abs=1e-3)  # the bound is searched to a thousandth
    assert set(plan.activities["kind"]) == {Kind.BACKBONE}


@pytest.mark.parametrize("part", [0.3, 0.9985, 0.9995])
def test_what_was_sent_and_computed_before_a_failure_is_not_done_again(part) -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], "downlink", epochs=2)
    plan = plan_round(WORLD, workload, RATES, RESOURCES, LADDER["d"], start_s=0.0)
    now_s = part * plan.end_s
    state = state_at(plan, workload, now_s)
    rest = plan_round(WORLD, workload, RATES, RESOURCES, LADDER["d"], start_s=now_s, state=state)
    assert check_plan(rest, WORLD, workload, RATES, RESOURCES, state) == []
    steps = rest.of_kind(Kind.BACKBONE)
    count = np.sum(steps["end_sample"] - steps["first_sample"])
    assert count == 2 * sum(workload.samples) - sum(state.done)
    assert rest.end_s >= plan.end_s - 1.0
