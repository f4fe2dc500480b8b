"""Plans wait for nothing that a run does not wait for: links are used in full, memory is filled, trees start early."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_worlds import LADDER, RATES, RESOURCES, make_workload, make_world

from benchmarks.plan_replay import Flown, replay
from mission.client_update import pieces_of
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.checker.check import check_plan, require_feasible
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Kind, Plan
from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, Resources, StrategyConfig, Workload

_SLOW_BPS = 30e6
_TOGETHER = StrategyConfig.parse("parallel", "own-window", "none")
_ONE_BY_ONE = StrategyConfig.parse("sequential", "own-window", "none")


def chain(satellites: int, start_s: float = 400.0) -> ContactPlan:
    """Return a chain of satellites whose links are slow, with one pass of the last of them."""
    return make_world(
        1, satellites, 1, [(satellites - 1, 0, start_s, 600.0)], isl_bps=_SLOW_BPS, ring=False, inter_bps=0.0
    )


def planned(
    world: ContactPlan, work: Workload, strategy_config: StrategyConfig, resources: Resources = RESOURCES
) -> tuple[Plan, Flown]:
    """Return a plan that the checker has nothing against, and its flight."""
    problem = make_problem(world, work, resources=resources)
    plan = plan_round(problem, strategy_config)
    assert check_plan(plan, problem) == []
    return plan, replay(plan, world, work, RATES, resources)


def test_a_gateway_fills_its_memory_before_its_session_opens() -> None:
    work = make_workload(4, 64, mode="downlink")
    buffer_bytes = 8.0 * work.micro_batch * work.c1_bytes
    plan, flown = planned(chain(4), work, _TOGETHER, Resources(buffer_bytes=buffer_bytes))
    down = plan.activities[plan.activities["link"] == LinkKind.DOWNLINK]
    opens_s = float(down["start_s"][down["bytes"] > 0].min())
    came = plan.activities[(plan.activities["kind"] == Kind.FEATURES) & (plan.activities["peer"] == 3)]
    assert came["bytes"][came["end_s"] <= opens_s].sum() == pytest.approx(buffer_bytes)
    assert flown.end_s == pytest.approx(plan.end_s, rel=1e-3)


def test_a_replay_lets_nothing_into_a_memory_that_is_full() -> None:
    world, work = chain(4), make_workload(4, 64, mode="downlink")
    plan, flown = planned(world, work, _TOGETHER)
    small = Resources(buffer_bytes=8.0 * work.micro_batch * work.c1_bytes)
    over_bits = 8.0 * (3 * 64 * work.c1_bytes - small.buffer_bytes)
    late_s = replay(plan, world, work, RATES, small).end_s - flown.end_s
    assert 0.5 * over_bits / _SLOW_BPS < late_s < 1.5 * over_bits / _SLOW_BPS


def test_blocks_of_a_plane_that_stores_them_whole_cross_it_one_by_one() -> None:
    work = make_workload(4, 64, mode="downlink")
    plan, flown = planned(chain(4, 10.0), work, _ONE_BY_ONE)
    serial_s = 8.0 * work.c1_bytes * 64 * (1 + 2 + 3) / _SLOW_BPS
    assert plan.makespan_s > serial_s
    assert flown.end_s == pytest.approx(plan.end_s, rel=2e-3)


def test_features_have_links_to_themselves_until_there_are_answers() -> None:
    work = make_workload(4, 16, returned_tokens=197)
    plan, flown = planned(chain(4), work, _TOGETHER)
    rows = plan.activities[plan.activities["kind"] == Kind.FEATURES]
    isls = rows[rows["link"] == LinkKind.INTRA_ISL]
    sent_s = isls["bytes"] * 8.0 / _SLOW_BPS
    assert (isls["end_s"] - isls["start_s"]).min() == pytest.approx(sent_s.max(), rel=1e-6)
    assert flown.end_s == pytest.approx(plan.end_s, abs=0.1)


@pytest.mark.parametrize("head", [{}, {"shared_head": True}], ids=["heads", "shared-head"])
def test_features_over_slow_links_give_their_own_answers_room_and_no_more(head) -> None:
    work = make_workload(5, [0, 150, 150, 150, 150], **head)
    plan, flown = planned(chain(5, 2.0), work, _TOGETHER)
    assert flown.end_s == pytest.approx(plan.end_s, rel=5e-3)


@pytest.mark.parametrize("slots", [4, 5])
def test_weights_go_up_a_tree_while_others_still_train(slots) -> None:
    world = make_world(2, slots, 1, [(0, 0, 5000.0, 500.0)], isl_bps=1e9, inter_bps=_SLOW_BPS)
    samples = np.linspace(40, 160, 2 * slots).astype(int).tolist()
    work = make_workload(2 * slots, samples, mode="onboard-full")
    plan, flown = planned(world, work, StrategyConfig.parse("parallel", "own-window", "grid"))
    trained_s = plan.activities["end_s"][plan.activities["kind"] == Kind.TRAIN]
    sums = plan.activities[plan.activities["kind"] == Kind.REDUCE]
    assert sums["start_s"].min() == pytest.approx(trained_s.min(), abs=10.1)  # lasers are pointed for 10 s
    assert sums["end_s"].max() < trained_s.max() + work.aggregate_bytes * 8.0 / _SLOW_BPS
    assert flown.end_s == pytest.approx(plan.end_s, abs=1e-3)


def test_weights_on_a_chain_travel_in_as_many_pieces_as_relays_cut_them_into() -> None:
    work = make_workload(7, 64, mode="onboard-full")
    plan, flown = planned(chain(7), work, _TOGETHER)
    trained_s = float(plan.activities["end_s"][plan.activities["kind"] == Kind.TRAIN].max())
    pieces, hops = pieces_of(work.aggregate_bytes), 3
    way_s = work.aggregate_bytes * 8.0 / _SLOW_BPS * (hops - 1 + pieces) / pieces + hops * 0.006
    assert plan.end_s - trained_s == pytest.approx(2.0 * way_s)
    assert flown.end_s == pytest.approx(plan.end_s, abs=1e-3)


@pytest.mark.parametrize(
    ("size_bytes", "pieces"), [(0, 1), (1, 1), (1 << 16, 1), ((1 << 16) + 1, 2), (1e12, 256)]
)
def test_vectors_are_cut_by_their_size_alone(size_bytes, pieces) -> None:
    assert pieces_of(size_bytes) == pieces


def test_a_round_that_own_windows_of_planes_end_at_its_bound_uses_them() -> None:
    world = make_world(1, 3, 2, [(k, k % 2, 10.0 * k, 3000.0) for k in range(3)])
    slow_ground = ComputeRates(RATES.satellite_flops, 1e12)
    problem = make_problem(world, make_workload(3, 2400), rates=slow_ground)
    own, richer, richest = (plan_round(problem, LADDER[name]) for name in "cde")
    assert own.makespan_s <= 1.001 * richest.lower_bound_s
    assert richer.makespan_s == richest.makespan_s == own.makespan_s
    assert richest.strategy_config.space_ground == "own-window"


@pytest.mark.parametrize("samples", [17, 24, 40])
def test_answers_to_all_but_the_last_micro_batch_have_room_beside_features(samples: int) -> None:
    # The last micro-batch of a block is smaller than the first, and answers to all before it are on the downlink.
    world = make_world(1, 6, 1, [(3, 0, 0.0, 900.0)], down_bps=2e6, up_bps=2.5e5, isl_bps=1e7, inter_bps=0.0)
    work = make_workload(
        6, samples, tokens=17, hidden=64, feature_bits=62.5, head_bytes=2.6e3, adapter_bytes=2.6e3,
        shared_adapter=True, satellites_per_step=24, embedding_flops=3e6, backbone_flops=1e8,
    )  # fmt: skip
    planned(world, work, _TOGETHER)


def test_features_that_answers_hold_up_pass_no_sooner_than_those_before_them() -> None:
    # Twelve satellites through one session: answers to all of them hold the last ones up by more than a micro-batch.
    world = make_world(1, 12, 1, [(3, 0, 0.0, 900.0)], isl_bps=1e9, inter_bps=0.0)
    work = make_workload(12, 1000, hidden=1024, feature_bits=16.0, backbone_flops=1.2e11)
    problem = make_problem(world, work, rates=ComputeRates(0.5e12, 100e12))
    plan = plan_round(problem, _TOGETHER)
    assert check_plan(plan, problem) == []
    assert plan.makespan_s <= 1.01 * plan.lower_bound_s


def test_lasers_between_planes_that_stand_after_a_round_on_board_need_no_acquisition_in_the_next() -> None:
    world = make_world(2, 3, 0, [])
    work = make_workload(6, [1] * 6, mode="onboard-lora")
    problem = make_problem(world, work, 0.0, rates=RATES, resources=Resources(acquisition_s=20.0))
    first = plan_round(problem, LADDER["e"])
    following = dataclasses.replace(problem, start_s=first.end_s, state=RoundState(pointed=first.pointed))
    second = plan_round(following, LADDER["e"])
    require_feasible(second, following)
    assert first.makespan_s > 20.0 > second.makespan_s >= second.lower_bound_s
    assert first.pointed


def test_lasers_between_planes_stand_through_a_round_in_which_nothing_crosses() -> None:
    """The ground trains alone: images come down, it computes for a round, and the head goes up to all."""
    world = make_world(2, 3, 1, [(0, 0, 0.0, 3600.0)])
    images = make_workload(6, 16, mode="downlink")
    nothing = dataclasses.replace(images, c1_bytes=0.0)
    resources, now_s, state, lengths_s = Resources(acquisition_s=20.0), 0.0, RoundState(), []
    for work in (images, nothing, dataclasses.replace(nothing, update_bytes=1e3)):
        problem = make_problem(world, work, now_s, rates=RATES, resources=resources, state=state)
        plan = plan_round(problem, LADDER["e"])
        require_feasible(plan, problem)
        lengths_s.append(plan.makespan_s)
        now_s, state = plan.end_s, RoundState(pointed=plan.pointed)
    assert lengths_s[0] > 20.0 > lengths_s[2]
