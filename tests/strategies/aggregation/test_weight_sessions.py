"""On-board rounds through the ground: antennas are set up during training, and stay pointed for the way up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, drawn, make_workload, make_world, worlds

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.planner.weight_sessions import WeightSessions
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind
from strategies.problem.round_state import RoundState
from strategies.problem.workload import Resources

SETUP_S = 40.0
BEAMS = Resources(beams=2, setup_s=SETUP_S)


def apart(*passes: tuple[int, int, float, float]) -> ContactPlan:
    """Satellites without links between them, over one station."""
    return make_world(2, 1, 1, list(passes), inter_bps=0.0)


def test_a_round_in_one_pass_pays_no_set_up_beside_its_training() -> None:
    world = apart((0, 0, 0.0, 9000.0), (1, 0, 0.0, 9000.0))
    workload = make_workload(2, 600, "onboard-lora")
    trained_s = 600 * workload.onboard_flops / RATES.satellite_flops
    assert trained_s > SETUP_S
    plan = plan_round(make_problem(world, workload, resources=BEAMS), LADDER["d"])
    contacts = world.contacts
    crossing_s = [
        workload.aggregate_bytes * 8.0 / contacts["rate_bps"][contacts["kind"] == kind].max()
        for kind in (0, 1)
    ]
    light_s = 2.0 * contacts["owlt_s"].max()
    assert plan.end_s == pytest.approx(trained_s + sum(crossing_s) + light_s, abs=0.1)
    sessions = plan.of_kind(Kind.SESSION)
    assert len(sessions) == 2  # one each, held from the way down to the way up
    assert sessions["start_s"].min() == pytest.approx(trained_s - SETUP_S)
    assert plan.pointed == {(0, 2), (1, 2)}


def test_a_short_round_that_follows_another_pays_no_set_up() -> None:
    world = apart((0, 0, 0.0, 9000.0), (1, 0, 0.0, 9000.0))
    workload = make_workload(2, 8, "onboard-lora")
    first = plan_round(make_problem(world, workload, resources=BEAMS), LADDER["d"])
    state = RoundState(pointed=first.pointed)
    second = plan_round(make_problem(world, workload, first.end_s, resources=BEAMS, state=state), LADDER["d"])
    trained_s = 8 * workload.onboard_flops / RATES.satellite_flops
    assert first.makespan_s > SETUP_S
    assert second.makespan_s == pytest.approx(first.makespan_s - SETUP_S + trained_s, abs=0.1)
    assert not check_plan(second, make_problem(world, workload, second.start_s, resources=BEAMS, state=state))
    assert check_plan(
        second, make_problem(world, workload, second.start_s, resources=BEAMS)
    )  # without what went before it could not be flown


def test_one_beam_for_two_satellites_is_set_up_anew_for_each_but_the_last() -> None:
    world = apart((0, 0, 0.0, 9000.0), (1, 0, 0.0, 9000.0))
    workload = make_workload(2, 600, "onboard-lora")
    resources = dataclasses.replace(BEAMS, beams=1)
    plan = plan_round(make_problem(world, workload, resources=resources), LADDER["d"])
    assert not check_plan(plan, make_problem(world, workload, resources=resources))
    assert len(plan.of_kind(Kind.SESSION)) == 3  # one, then the other down and up, then the first again


def test_two_gateways_that_have_their_parts_of_the_average_at_the_same_time_are_one_place() -> None:
    windows = [(0, 0, 0.0, 9000.0), (3, 1, 0.0, 9000.0), (5, 2, 0.0, 9000.0)]
    world = make_world(2, 4, 3, windows, inter_bps=0.0)
    workload = make_workload(8, 64, "onboard-full")
    plan = plan_round(make_problem(world, workload, resources=BEAMS), LADDER["d"])
    up = plan.activities[plan.activities["link"] == LinkKind.UPLINK]
    ends_s = sorted(up["end_s"][up["peer"] < 4].tolist())
    assert len(ends_s) == 2
    assert ends_s[0] == pytest.approx(ends_s[1])
    assert check_plan(plan, make_problem(world, workload, resources=BEAMS)) == []


@pytest.mark.parametrize("end_s", [100.0, 120.0, 160.0])
def test_antennas_are_not_set_up_in_one_pass_for_the_next(end_s: float) -> None:
    """The other satellite is heard while a second pass of this one begins, a moment after its first."""
    passes = [(0, 2, 90.0, 9000.0), (1, 1, 0.0, 75.0), (1, 0, 0.0, end_s), (1, 0, end_s + 1.0, 9000.0)]
    world = make_world(2, 1, 3, passes, inter_bps=0.0)
    workload = make_workload(2, 100, "onboard-full")
    plan = plan_round(make_problem(world, workload, resources=BEAMS), LADDER["d"])
    assert check_plan(plan, make_problem(world, workload, resources=BEAMS)) == []


@drawn(8)
@given(worlds(), st.sampled_from(["onboard-lora", "onboard-full"]))
def test_a_second_round_on_what_the_first_left_pointed_can_be_flown_and_is_above_its_bound(
    case, mode
) -> None:
    world, drawn_workload, resources = case
    workload = make_workload(len(drawn_workload.samples), drawn_workload.samples, mode)
    for name in "bd":
        strategy_config = LADDER[name]
        state, now_s = RoundState(), 0.0
        for _ in range(2):
            try:
                plan = plan_round(
                    make_problem(world, workload, now_s, resources=resources, state=state), strategy_config
                )
            except NoRouteError:
                break
            assert not check_plan(
                plan, make_problem(world, workload, plan.start_s, resources=resources, state=state)
            )
            assert plan.makespan_s >= plan.lower_bound_s - 1e-6
            state, now_s = RoundState(pointed=plan.pointed), plan.end_s


def test_an_average_may_come_back_through_satellites_without_samples() -> None:
    """The weights meet by one way over the lasers, and by another, also without images, the average comes back."""
    world = make_world(2, 2, 2, [(k, k % 2, 100.0 * k, 300.0) for k in range(4)])
    workload = make_workload(4, [40, 0, 0, 40], "onboard-lora")
    plan = plan_round(make_problem(world, workload), LADDER["e"])
    assert not check_plan(plan, make_problem(world, workload))
    relays = {1, 2} & set(
        plan.of_kind(Kind.REDUCE)["node"].tolist() + plan.of_kind(Kind.UPDATE)["node"].tolist()
    )
    assert relays == {1, 2}


def test_what_is_left_for_less_than_a_microsecond_is_sent_then_and_holds_no_session() -> None:
    # Two groups are ready a quarter of a microsecond apart: what is left of one when the other is through is little.
    contact_plan = make_world(2, 1, 2, [(0, 0, 0.0, 9000.0), (1, 1, 0.0, 9000.0)], inter_bps=0.0)
    sessions = WeightSessions(
        contact_plan, Resources(setup_s=0.0), rule="topology-aware", start_s=0.0, pointed=frozenset(),
        group=np.array([0, 1]), trainers=np.array([0, 1]), size_bytes=41_000.0,
    )  # fmt: skip
    ready_s = np.array([100.0, 100.0 + 2.5e-7])
    down, through_s = sessions.to_ground(ready_s)
    assert down["bytes"].tolist() == pytest.approx([41_000.0, 41_000.0], rel=1e-6)
    assert through_s.tolist() == pytest.approx((ready_s + 8 * 41_000 / 200e6 + 0.004).tolist(), abs=1e-6)
