"""A round under way, planned anew: what is done stays done, what is lost is avoided, the rest is flown once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, WORLD, drawn, make_workload, make_world, worlds

from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PlanningError
from strategies.problem.plan import Kind
from strategies.problem.round_state import RoundState, slowed, state_at
from strategies.problem.workload import WorkloadError

WORK = make_workload(6, 400)


@drawn(8)
@given(worlds(), st.floats(0.0, 0.95), st.data())
def test_the_rest_of_a_round_can_be_flown_whatever_is_lost_and_nothing_is_done_twice(
    case, part, data
) -> None:
    world, workload, resources = case
    plan = plan_round(make_problem(world, workload, resources=resources), LADDER["e"])
    now_s = part * plan.makespan_s
    lost = frozenset(data.draw(st.sets(st.integers(0, len(world.nodes) - 1), max_size=2)))
    state = state_at(plan, workload, now_s, lost)
    try:
        rest = plan_round(make_problem(world, workload, now_s, resources=resources, state=state), LADDER["e"])
    except (NoRouteError, WorkloadError):
        return  # what is lost may be what it all hung on
    assert (
        check_plan(rest, make_problem(world, workload, rest.start_s, resources=resources, state=state)) == []
    )
    assert not np.isin(rest.activities["node"], list(lost)).any()
    assert not np.isin(rest.activities["peer"], list(lost)).any()


def test_progress_grows_from_nothing_to_everything() -> None:
    for mode, epochs in (("lora", 2), ("head", 1)):
        workload = make_workload(6, [400, 0, 37, 64, 1, 200], mode, epochs=epochs)
        plan = plan_round(make_problem(WORLD, workload), LADDER["e"])
        states = [state_at(plan, workload, part * plan.end_s) for part in np.linspace(0.0, 1.0, 30)]
        assert sum(states[0].done) == sum(states[0].on_ground) == 0
        assert states[-1].on_ground == workload.samples
        assert states[-1].done == tuple(workload.passes * count for count in workload.samples)
        for earlier, later in itertools.pairwise(states):
            assert (np.array(earlier.done) <= later.done).all()
            assert (np.array(earlier.on_ground) <= later.on_ground).all()


def test_half_a_round_takes_less_than_a_whole_one_and_being_ahead_helps() -> None:
    in_sight = make_world(1, 6, 1, [(0, 0, 0.0, 5000.0)])
    plan = plan_round(make_problem(in_sight, WORK), LADDER["d"])
    now_s = 0.6 * plan.end_s
    state = state_at(plan, WORK, now_s)
    assert 0 < sum(state.done) < sum(WORK.samples)
    fresh, rest, ahead = (
        plan_round(make_problem(in_sight, WORK, now_s, state=known), LADDER["d"]).end_s
        for known in (RoundState(), state, RoundState(WORK.samples, WORK.samples))
    )
    assert ahead < rest < fresh


def test_slower_links_make_the_rest_longer() -> None:
    plan = plan_round(make_problem(WORLD, WORK), LADDER["d"])
    now_s = 0.3 * plan.end_s
    state = state_at(plan, WORK, now_s)
    slow = WORLD
    for station in WORLD.stations.tolist():
        slow = slowed(slow, station, 0.2)
    rest = plan_round(make_problem(slow, WORK, now_s, state=state), LADDER["d"])
    assert check_plan(rest, make_problem(slow, WORK, rest.start_s, state=state)) == []
    assert rest.end_s > plan_round(make_problem(WORLD, WORK, now_s, state=state), LADDER["d"]).end_s


def test_a_rest_that_does_too_much_or_too_little_is_noticed() -> None:
    plan = plan_round(make_problem(WORLD, WORK), LADDER["e"])
    now_s = 0.5 * plan.end_s
    state = state_at(plan, WORK, now_s)
    rest = plan_round(make_problem(WORLD, WORK, now_s, state=state), LADDER["e"])
    assert check_plan(rest, make_problem(WORLD, WORK, rest.start_s, state=state)) == []
    assert "once" in {
        violation.rule for violation in check_plan(rest, make_problem(WORLD, WORK, rest.start_s))
    }
    rows = rest.activities
    dropped = np.delete(rows, np.flatnonzero(rows["kind"] == Kind.BACKBONE)[0])
    fewer = dataclasses.replace(rest, activities=dropped)
    assert "once" in {
        v.rule for v in check_plan(fewer, make_problem(WORLD, WORK, fewer.start_s, state=state))
    }


def test_a_share_on_board_is_not_planned_anew() -> None:
    shared = make_workload(6, 400, onboard_share=True)
    with pytest.raises(PlanningError, match="share on board"):
        plan_round(make_problem(WORLD, shared, 9.0, state=RoundState(done=(1,) * 6)), LADDER["e"])
