"""k-of-P rounds: when they end, what the late have done by then, and how their weights count."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, drawn, make_workload, make_world, worlds

from strategies.aggregation.averages import (
    AggregationError,
    mean_with_absent,
    staleness_weight,
    weighted_mean,
)
from strategies.aggregation.quorum import Quorum, cut
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind
from strategies.problem.round_state import RoundState
from strategies.problem.workload import WorkloadError


def planes_of(world) -> tuple[int, ...]:
    return tuple(world.nodes[index].plane for index in world.satellites)


@drawn(8)
@given(worlds(), st.sampled_from(["c", "d"]))
def test_a_round_ends_when_enough_planes_have_delivered_and_no_sooner(case, strategy_config) -> None:
    world, workload, resources = case
    plan = plan_round(make_problem(world, workload, resources=resources), LADDER[strategy_config])
    planes, active = np.array(planes_of(world)), np.array(workload.samples) > 0
    count = len(np.unique(planes))
    ends_s = [
        Quorum(planes_of(world), workload.samples, needed=needed).end_s(plan)
        for needed in range(1, count + 1)
    ]
    assert ends_s == sorted(ends_s)
    assert ends_s[-1] == Quorum(planes_of(world), workload.samples).end_s(plan) == plan.end_s
    for needed, end_s in enumerate(ends_s, 1):
        late = plan.delivered_s > end_s
        there = [plane for plane in np.unique(planes[active]) if not late[active & (planes == plane)].any()]
        assert len(there) >= min(needed, len(np.unique(planes[active])))
        before = plan.delivered_s < end_s - 1e-9
        sooner = [plane for plane in np.unique(planes[active]) if before[active & (planes == plane)].all()]
        # A round that waits for all waits for the average to be back on board, too.
        assert len(sooner) < needed or needed >= len(np.unique(planes[active]))


@drawn(8)
@given(worlds(), st.sampled_from(["c", "d"]), st.data())
def test_the_late_go_on_where_they_are_and_every_later_round_can_be_flown(
    case, strategy_config, data
) -> None:
    world, workload, resources = case
    planes = planes_of(world)
    quorum = Quorum(planes, workload.samples, needed=data.draw(st.integers(1, len(set(planes)))))
    now_s, state = 0.0, RoundState()
    for _ in range(3):
        try:
            plan = plan_round(
                make_problem(world, workload, now_s, resources=resources, state=state),
                LADDER[strategy_config],
            )
        except NoRouteError:
            assert now_s > 8000.0  # the last passes of this world are over
            return
        assert (
            check_plan(plan, make_problem(world, workload, plan.start_s, resources=resources, state=state))
            == []
        )
        now_s, left = quorum.end_s(plan), quorum.carry_over(plan, workload, state)
        late = plan.delivered_s > now_s
        if left.done:
            todo = np.array(workload.samples) * (workload.passes if workload.crosses else 1)
            assert (np.array(left.done) <= todo).all()
            assert not np.array(left.done)[~late].any()
            if state.done:  # who is late twice has not lost what it had done
                again = late & (np.array(state.done) > 0)
                assert (np.array(left.done)[again] >= np.array(state.done)[again]).all()
        state = left


def test_a_plane_that_is_seldom_in_sight_no_longer_holds_up_the_others() -> None:
    passes = [(k, k % 2, 60.0 * k + 900.0 * turn, 300.0) for turn in range(30) for k in range(6)]
    passes += [(8, 0, 20_000.0, 600.0)]
    world = make_world(3, 3, 2, passes, inter_bps=0)
    workload = make_workload(9, 200, "head")
    plan = plan_round(make_problem(world, workload), LADDER["d"])
    assert plan.end_s > 20_000.0
    two_of_three = Quorum(planes_of(world), workload.samples, needed=2)
    end_s = two_of_three.end_s(plan)
    assert end_s < 3_000.0
    assert (plan.delivered_s > end_s).tolist() == [False] * 6 + [True] * 3
    state = two_of_three.carry_over(plan, workload, RoundState())
    following = plan_round(make_problem(world, workload, end_s, state=state), LADDER["d"])
    assert two_of_three.end_s(following) < 6_000.0


def test_a_plan_that_is_cut_holds_what_was_done_by_then() -> None:
    world = make_world(1, 3, 1, [(0, 0, 0.0, 4000.0)])
    workload = make_workload(3, 400)
    plan = plan_round(make_problem(world, workload), LADDER["d"])
    late_s = 0.8 * plan.end_s
    done = cut(plan, late_s)
    assert done.activities["end_s"].max() <= done.end_s == late_s
    np.testing.assert_allclose(done.time_split().sum(axis=1), late_s)
    for kind in (Kind.FEATURES, Kind.BACKBONE):
        assert done.of_kind(kind)["bytes"].sum() + done.of_kind(kind)["flops"].sum() > 0.0
        assert done.of_kind(kind)["flops"].sum() <= plan.of_kind(kind)["flops"].sum()
    whole = cut(plan, plan.end_s)
    np.testing.assert_array_equal(whole.activities, plan.activities)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(0, 4)), min_size=1, max_size=6),
    st.integers(0, 900),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, 2**31 - 1),
)
def test_the_stale_mean_is_the_exact_weighted_mean_rounded_once(delivered, absent, exponent, seed) -> None:
    rng = np.random.default_rng(seed)
    current, *arrays = rng.normal(size=(1 + len(delivered), 7)).astype(np.float32)
    weights = [count * staleness_weight(late, exponent) for count, late in delivered]
    total = float(sum(count for count, _ in delivered) + absent)
    found = mean_with_absent(current, arrays, weights, total)
    parts = [Fraction(weight) for weight in weights]
    rest = Fraction(total) - sum(parts)
    exact = [
        float(
            (
                sum(part * Fraction(float(array[i])) for part, array in zip(parts, arrays, strict=True))
                + rest * Fraction(float(current[i]))
            )
            / Fraction(total)
        )
        for i in range(7)
    ]
    np.testing.assert_allclose(found, np.array(exact, np.float32), rtol=1.2e-7, atol=1e-9)


def test_when_all_are_there_and_fresh_the_mean_is_bit_for_bit_the_synchronous_one() -> None:
    arrays = list(np.random.default_rng(1).normal(size=(4, 50)).astype(np.float32))
    weights = [3.0, 1.0, 4.0, 1.5]
    found = mean_with_absent(np.full(50, 7.0, np.float32), arrays, weights, 9.5)
    assert found.tobytes() == weighted_mean(arrays, weights).tobytes()
    with pytest.raises(AggregationError, match="allowed is 9"):
        mean_with_absent(arrays[0], arrays, weights, 9.0)


def test_more_planes_than_there_are_cannot_be_waited_for() -> None:
    with pytest.raises(WorkloadError, match=r"planes_per_round: found 4, allowed 1 to 3"):
        Quorum((0, 0, 1, 2), (9, 9, 9, 9), needed=4)


def test_a_plane_that_is_overdue_is_waited_for_and_nobody_else() -> None:
    plan = SimpleNamespace(delivered_s=np.array([10.0, 20.0, 30.0, 40.0]), end_s=50.0)
    quorum = Quorum((0, 1, 2, 3), (8, 8, 8, 8), needed=1)
    assert quorum.end_s(plan) == 10.0
    for overdue, end_s in (({2}, 30.0), ({0}, 10.0), ({1, 3}, 40.0), ({7}, 10.0), ({0, 1, 2, 3}, 50.0)):
        assert dataclasses.replace(quorum, overdue=frozenset(overdue)).end_s(plan) == end_s
