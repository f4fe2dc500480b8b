"""Test the joint steps of many satellites: who shares one, how long one takes, and what crosses beside them."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_worlds import HORIZON_S, LADDER, make_workload, make_world

from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.planner.split.shares import BURST_S, LinkShares
from strategies.planner.split_round import SplitRound
from strategies.problem.workload import ComputeRates

_CACHED = {"shared_adapter": True, "cached_fraction": 1.0}


def batches(plan) -> list[np.ndarray]:
    steps = plan.steps
    return [steps[steps["batch"] == number] for number in np.unique(steps["batch"])]


def test_satellites_that_are_about_as_far_share_a_step_and_the_farthest_is_answered_first() -> None:
    # A line of nine whose middle sees the station: the round trip of a step is that of its farthest satellite.
    world = make_world(1, 9, 1, [(4, 0, 0.0, 4000.0)], ring=False)
    plan = plan_round(
        make_problem(world, make_workload(9, 96, satellites_per_step=3, **_CACHED)), LADDER["d"]
    )
    after_the_first_turn = batches(plan)[3:]
    assert len(after_the_first_turn) == 15
    for step in after_the_first_turn:
        hops = np.abs(step["satellite"] - 4).tolist()
        assert hops == sorted(hops, reverse=True)
        assert sorted(hops) in ([0, 1, 1], [2, 2, 3], [3, 4, 4])


@pytest.mark.parametrize("up_bps", [2e5, 4e5])
def test_the_fluid_knows_that_a_step_waits_for_its_answers_on_a_slow_uplink(up_bps: float) -> None:
    # A step computes for about as long as its answers take up, and neither goes on during the other.
    passes = [(0, 0, 0.0, 4000.0), (4, 1, 0.0, 4000.0), (8, 2, 0.0, 4000.0)]
    world = make_world(3, 4, 3, passes, up_bps=up_bps)
    work = make_workload(12, 96, satellites_per_step=12, shared_adapter=True)
    rates = ComputeRates(satellite_flops=0.5e12, ground_flops=10e12)
    split_round = SplitRound(make_problem(world, work, rates=rates), LADDER["c"], end_s=HORIZON_S)
    plan = split_round.plan()
    assert plan is not None
    assert 0.9 * plan.makespan_s < split_round.promised_s() <= plan.makespan_s


def test_names_of_features_wait_for_no_more_small_crossings_than_there_are() -> None:
    # Names of features that the ground keeps are so few bytes that nearly all of a link is the small crossings'.
    work = make_workload(9, 96, shared_adapter=True, feature_bits=0.001)
    count = np.full(9, 96)
    shares = LinkShares.of(work, count, count)
    small_bits = 8.0 * 9 * 96 * (work.c3_bytes + work.up_bytes)
    assert shares.isl < 0.01
    assert shares.isl_delay_s(1e9) == pytest.approx((small_bits + shares.message_bits) / 1e9)
    assert shares.isl_delay_s(1e6) == pytest.approx(BURST_S * (1.0 - shares.isl) + shares.message_bits / 1e6)
