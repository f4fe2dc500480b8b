"""Properties of every plan, on drawn constellations; each plan goes through the independent checker."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from every_pair import every_pair
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, WORLD, drawn, make_workload, make_world, worlds

from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError, PayloadTooLargeError, PlanningError
from strategies.problem.plan import Kind
from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, Resources, StrategyConfig


@drawn(6)
@given(worlds())
def test_every_plan_can_be_flown_is_above_its_bound_and_a_richer_strategy_is_never_worse(case) -> None:
    world, workload, resources = case
    makespan_s = []
    for strategy_config in LADDER.values():
        plan = plan_round(make_problem(world, workload, resources=resources), strategy_config)
        assert check_plan(plan, make_problem(world, workload, resources=resources)) == []
        assert plan.lower_bound_s <= plan.makespan_s
        np.testing.assert_allclose(plan.time_split().sum(axis=1), plan.makespan_s, rtol=1e-6)
        makespan_s.append(plan.makespan_s)
    assert makespan_s == sorted(makespan_s, reverse=True)


@drawn(5)
@given(worlds(), st.sampled_from(["onboard-lora", "onboard-full"]))
def test_on_board_too_a_richer_strategy_is_never_worse_and_no_link_closes_on_the_weights(case, mode) -> None:
    world, split, resources = case
    workload = make_workload(len(split.samples), split.samples, mode)
    makespan_s = []
    for strategy_config in LADDER.values():
        try:
            plan = plan_round(make_problem(world, workload, resources=resources), strategy_config)
        except NoRouteError:
            makespan_s.append(np.inf)
            continue
        assert check_plan(plan, make_problem(world, workload, resources=resources)) == []
        assert plan.lower_bound_s <= plan.makespan_s + 1e-9
        makespan_s.append(plan.makespan_s)
    assert np.diff(np.minimum(makespan_s, 1e9)).max() <= 0.5  # so near to the bound no other way is tried


@drawn(8)
@given(worlds(), st.sampled_from(["c", "e"]))
def test_what_a_satellite_passes_on_has_come_to_it_before_and_nothing_stays(case, strategy_config) -> None:
    world, workload, resources = case
    plan = plan_round(make_problem(world, workload, resources=resources), LADDER[strategy_config])
    hops = plan.of_kind(Kind.FEATURES)
    size = (hops["end_sample"] - hops["first_sample"]) * workload.c1_bytes
    np.testing.assert_allclose(hops["bytes"], size)
    time_s = np.unique(np.concatenate([hops["start_s"], hops["end_s"]]))
    length_s = np.maximum(hops["end_s"] - hops["start_s"], 1e-9)
    moved = np.clip((time_s[:, None] - hops["start_s"]) / length_s, 0.0, 1.0) * hops["bytes"]
    for node in np.unique(hops["node"]):
        came = moved[:, hops["peer"] == node].sum(axis=1)
        went = moved[:, (hops["node"] == node) & (hops["satellite"] != node)].sum(axis=1)
        assert (went <= came + 1e-6 * came.max(initial=0.0) + 1.0).all()
        assert went[-1:] == pytest.approx(came[-1:])


@every_pair(
    "intra, ground, inter",
    ["none", "sequential", "parallel", "all-gather"],
    ["own-window", "first-contact", "nearest", "topology-aware"],
    ["none", "nearest", "grid", "min-latency"],
)
def test_every_combination_of_switches_gives_a_plan_that_can_be_flown(intra, ground, inter) -> None:
    workload = make_workload(6, 40)
    plan = plan_round(make_problem(WORLD, workload, 50.0), StrategyConfig.parse(intra, ground, inter))
    assert check_plan(plan, make_problem(WORLD, workload, plan.start_s)) == []


@pytest.mark.parametrize("mode", ["lora", "head", "downlink", "onboard-full", "onboard-lora"])
@pytest.mark.parametrize("case", LADDER)
def test_every_mode_gives_a_plan_that_can_be_flown(mode, case) -> None:
    workload = make_workload(6, [100, 0, 37, 64, 1, 200], mode)
    plan = plan_round(make_problem(WORLD, workload), LADDER[case])
    assert check_plan(plan, make_problem(WORLD, workload)) == []
    assert (plan.finish_s <= plan.end_s).all()


def test_equal_input_gives_an_equal_plan() -> None:
    workload = make_workload(6, 200)
    first, second = (plan_round(make_problem(WORLD, workload, 10.0), LADDER["e"]) for _ in range(2))
    assert first.activities.tobytes() == second.activities.tobytes()


def test_a_share_on_board_is_never_worse_and_trains_every_sample_once() -> None:
    slow_ground = ComputeRates(0.5e12, 2e12)
    split = make_workload(6, 400)
    shared = make_workload(6, 400, onboard_share=True)
    plain = plan_round(make_problem(WORLD, split, rates=slow_ground), LADDER["e"])
    joint = plan_round(make_problem(WORLD, shared, rates=slow_ground), LADDER["e"])
    assert check_plan(joint, make_problem(WORLD, shared, rates=slow_ground)) == []
    assert joint.makespan_s < 0.7 * plain.makespan_s
    trained = joint.of_kind(Kind.TRAIN)
    assert (trained["end_sample"] - trained["first_sample"]).sum() == sum(joint.onboard_samples) > 0


def test_a_bounded_buffer_is_kept() -> None:
    workload = make_workload(6, 200)
    tight = Resources(buffer_bytes=6 * workload.micro_batch * workload.c1_bytes)
    plan = plan_round(make_problem(WORLD, workload, resources=tight), LADDER["d"])
    assert check_plan(plan, make_problem(WORLD, workload, resources=tight)) == []


def test_a_buffer_below_one_micro_batch_is_refused() -> None:
    workload = make_workload(6, 200)
    with pytest.raises(PayloadTooLargeError, match="micro-batch"):
        plan_round(make_problem(WORLD, workload, resources=Resources(buffer_bytes=1e5)), LADDER["d"])


def test_a_loss_is_planned_around_and_finished_samples_are_not_sent_again() -> None:
    workload = make_workload(6, 200)
    state = RoundState(done=(200, 64, 0, 0, 0, 0), on_ground=(200, 128, 0, 0, 0, 0), lost=frozenset({5}))
    plan = plan_round(make_problem(WORLD, workload, 500.0, state=state), LADDER["e"])
    rows = plan.activities
    assert 5 not in rows["node"]
    assert 5 not in rows["peer"]
    sent = rows[(rows["kind"] == Kind.FEATURES) & (rows["link"] == 0)]
    count = np.bincount(sent["satellite"], sent["end_sample"] - sent["first_sample"], minlength=6)
    assert count.tolist() == [0, 72, 200, 200, 200, 0]
    steps = plan.of_kind(Kind.BACKBONE)
    count = np.bincount(steps["satellite"], steps["end_sample"] - steps["first_sample"], minlength=6)
    assert count.tolist() == [0, 136, 200, 200, 200, 0]


def test_no_route_names_satellite_and_time() -> None:
    world = make_world(1, 2, 1, [(0, 0, 100.0, 200.0)], isl_bps=1e9, inter_bps=0)
    alone = dataclasses.replace(world, contacts=world.contacts[world.contacts["kind"] < 2])
    with pytest.raises(NoRouteError, match=r"sat-0-1.*space-ground.*0 s"):
        plan_round(make_problem(alone, make_workload(2, 10)), LADDER["d"])


@pytest.mark.parametrize("strategy_config", ["b", "d"])
def test_images_that_are_embedded_after_the_first_pass_go_down_in_the_next(strategy_config) -> None:
    passes = [(0, 0, 0.0, 100.0), (1, 0, 300.0, 300.0), (0, 0, 1000.0, 300.0), (1, 0, 2000.0, 300.0)]
    world = make_world(2, 1, 1, passes, inter_bps=0.0)
    # 96 images take 150 s.
    workload = make_workload(2, 96, embedding_flops=150.0 * RATES.satellite_flops / 96)
    plan = plan_round(make_problem(world, workload), LADDER[strategy_config])
    assert check_plan(plan, make_problem(world, workload)) == []
    features = plan.activities[plan.activities["kind"] == Kind.FEATURES]
    of_first = features[features["satellite"] == 0]
    assert of_first["start_s"].min() < 100.0
    assert of_first["end_s"].max() > 1000.0


def test_weights_that_no_pass_is_long_enough_for_name_their_satellite_and_how_much_is_left() -> None:
    world = make_world(2, 1, 1, [(0, 0, 100.0, 2000.0), (1, 0, 3000.0, 11.0)], isl_bps=0, inter_bps=0)
    workload = make_workload(2, 10, mode="onboard-full")
    with pytest.raises(
        NoRouteError, match=r"the passes of sat-1-0's group carry .*B to the ground, the weights are"
    ):
        plan_round(make_problem(world, workload), LADDER["b"])


def test_a_satellite_that_would_train_its_share_past_its_last_pass_takes_a_smaller_one() -> None:
    # The second waits for a late pass; in as long the slow first could train much, but its last pass before the average
    # comes back is early.
    passes = [(0, 0, 1000.0, 400.0), (1, 0, 18_000.0, 400.0), (0, 0, 19_000.0, 400.0)]
    world = make_world(2, 1, 1, passes, inter_bps=0.0)
    workload = make_workload(2, 160, onboard_share=True)
    slow = ComputeRates(RATES.satellite_flops / 1000.0, RATES.ground_flops)
    plan = plan_round(make_problem(world, workload, rates=slow), LADDER["b"])
    assert check_plan(plan, make_problem(world, workload, rates=slow)) == []


def test_a_start_after_the_contact_plan_is_refused() -> None:
    with pytest.raises(NoRouteError, match="ends at"):
        plan_round(make_problem(WORLD, make_workload(6), 1e9), LADDER["b"])


def test_samples_for_another_constellation_are_refused() -> None:
    with pytest.raises(PlanningError, match="6 satellites"):
        plan_round(make_problem(WORLD, make_workload(5)), LADDER["b"])
