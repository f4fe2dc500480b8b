"""A round under way, planned anew: what is done stays done, what is lost is avoided, the rest is flown once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, RESOURCES, WORLD, drawn, make_workload, make_world, worlds

from benchmarks.plan_replay import replay
from orbit.contact_plan import LinkKind
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PlanningError
from strategies.problem.plan import Kind
from strategies.problem.round_state import AverageState, RoundState, slowed, state_at
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


# Two planes whose heads take 2.5 s over each link and half a minute up: their average has many moments.
SLOW = make_world(
    2, 3, 2, [(0, 0, 0.0, 600.0), (4, 1, 100.0, 700.0), (1, 0, 900.0, 600.0), (3, 1, 1000.0, 900.0)],
    up_bps=8e3, isl_bps=1e5, inter_bps=0.0,
)  # fmt: skip
FEW = make_workload(6, [16, 16, 0, 16, 16, 16], "head", backbone_flops=1e6, tokens=1)


@pytest.mark.parametrize("wanted", [LADDER["c"], LADDER["d"]], ids=["own windows", "any"])
def test_sums_and_averages_go_on_from_where_they_are(wanted) -> None:
    plan = plan_round(make_problem(SLOW, FEW), wanted)
    weights = plan.of_kind(Kind.REDUCE, Kind.UPDATE)
    sums = int((weights["link"] == LinkKind.DOWNLINK).sum())
    received = set(weights["peer"][weights["kind"] == Kind.UPDATE].tolist())
    for now_s in np.unique(weights["end_s"])[:-1].tolist():
        state = state_at(plan, FEW, now_s)
        done = weights[weights["end_s"] <= now_s]
        problem = make_problem(SLOW, FEW, now_s, state=state)
        rest = plan_round(problem, wanted)
        assert check_plan(rest, problem) == []
        assert rest.makespan_s >= rest.lower_bound_s * (1.0 - 1e-6)
        flown = replay(rest, SLOW, FEW, RATES, RESOURCES, state)
        assert flown.end_s == pytest.approx(rest.end_s, abs=0.01 * rest.makespan_s)
        sent = rest.of_kind(Kind.REDUCE, Kind.UPDATE)
        assert (np.concatenate([done, sent])["link"] == LinkKind.DOWNLINK).sum() == sums
        assert sorted(done["peer"][done["kind"] == Kind.UPDATE]) == sorted(state.average.received)
        peers = sent["peer"][sent["kind"] == Kind.UPDATE].tolist()
        assert state.average.received.isdisjoint(peers)
        assert state.average.received | set(peers) >= received - {2}
        again = make_problem(SLOW, FEW, now_s, state=dataclasses.replace(state, average=AverageState()))
        if state.average != AverageState(tuple(range(6))):
            found = {violation.rule for violation in check_plan(plan_round(again, wanted), problem)}
            assert "average" in found


def test_weights_whose_sum_was_on_a_satellite_that_is_lost_are_sent_again() -> None:
    plan = plan_round(make_problem(SLOW, FEW), LADDER["d"])
    inner = np.sort(plan.of_kind(Kind.REDUCE), order="end_s")
    first = inner[inner["link"] == LinkKind.INTRA_ISL][0]
    node, peer, now_s = int(first["node"]), int(first["peer"]), float(first["end_s"])
    assert state_at(plan, FEW, now_s).average.holders[node] == peer
    assert state_at(plan, FEW, now_s, frozenset({peer})).average.holders[node] == node


def test_a_share_on_board_is_not_planned_anew() -> None:
    shared = make_workload(6, 400, onboard_share=True)
    with pytest.raises(PlanningError, match="share on board"):
        plan_round(make_problem(WORLD, shared, 9.0, state=RoundState(done=(1,) * 6)), LADDER["e"])
