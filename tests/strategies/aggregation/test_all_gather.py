"""Features passed round a plane: who gets what, how fast, and what the checker makes of it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from synthetic_worlds import HORIZON_S, RESOURCES, make_workload, make_world

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.planner.split_round import SplitRound
from strategies.problem.network import PayloadTooLargeError
from strategies.problem.plan import Kind, Plan
from strategies.problem.workload import Resources, StrategyConfig

GATHER = StrategyConfig.parse("all-gather", "topology-aware", "none")
WORK = make_workload(10, 200)


def world(ring: bool = True) -> ContactPlan:
    passes = [(k, k % 2, 60.0 * k + 700.0 * turn, 300.0) for turn in range(8) for k in range(10)]
    return make_world(2, 5, 2, passes, ring=ring, inter_bps=0, isl_bps=1e8)


def gathered(
    contact_plan: ContactPlan, resources: Resources = RESOURCES, strategy_config: StrategyConfig = GATHER
) -> Plan:
    """Exactly this strategy, no poorer one."""
    problem = make_problem(contact_plan, WORK, resources=resources)
    plan = SplitRound(problem, strategy_config, end_s=HORIZON_S).plan()
    assert plan is not None
    return plan


def changed(plan: Plan, index: int, **fields: float) -> Plan:
    rows = plan.activities.copy()
    for name, value in fields.items():
        rows[name][index] = value
    return dataclasses.replace(plan, activities=rows)


def rules(plan: Plan, contact_plan: ContactPlan, resources: Resources = RESOURCES) -> set[str]:
    return {
        violation.rule
        for violation in check_plan(plan, make_problem(contact_plan, WORK, plan.start_s, resources=resources))
    }


@pytest.mark.parametrize("ring", [True, False], ids=["ring", "chain"])
def test_every_satellite_of_a_plane_gets_the_features_of_all_others_once(ring) -> None:
    contact_plan = world(ring)
    plan = gathered(contact_plan)
    assert rules(plan, contact_plan) == set()
    rows = plan.of_kind(Kind.GATHER)
    got = sorted(zip(rows["satellite"].tolist(), rows["peer"].tolist(), strict=True))
    planes = (range(5), range(5, 10))
    assert got == sorted((a, b) for plane in planes for a, b in itertools.permutations(plane, 2))


def test_a_ring_shares_the_way_in_both_directions_and_a_chain_cannot() -> None:
    seconds = WORK.samples[0] * WORK.c1_bytes * 8.0 / 1e8
    ring, chain = (gathered(world(ring)).of_kind(Kind.GATHER)["end_s"].max() for ring in (True, False))
    assert 2 * seconds <= ring <= 2 * seconds * 1.3  # the farthest two copies of four over each directed link
    assert 4 * seconds <= chain <= 4 * seconds * 1.3


def test_any_gateway_may_send_what_it_heard_without_another_hop() -> None:
    plan = gathered(world())
    down = plan.activities[
        (plan.activities["kind"] == Kind.FEATURES) & (plan.activities["link"] == LinkKind.DOWNLINK)
    ]
    assert (down["satellite"] != down["node"]).any()
    between = plan.activities[
        (plan.activities["kind"] == Kind.FEATURES) & (plan.activities["link"] == LinkKind.INTRA_ISL)
    ]
    assert len(between) == 0


def test_all_gather_goes_on_to_other_planes_over_their_links() -> None:
    contact_plan = make_world(
        2, 5, 1, [(0, 0, 100.0 + 400.0 * turn, 350.0) for turn in range(40)], isl_bps=1e9, inter_bps=5e8
    )
    strategy_config = StrategyConfig.parse("all-gather", "topology-aware", "grid")
    plan = gathered(contact_plan, strategy_config=strategy_config)
    assert rules(plan, contact_plan) == set()
    assert (plan.of_kind(Kind.FEATURES)["link"] == LinkKind.INTER_ISL).any()


def test_the_planner_takes_all_gather_and_is_never_worse_than_without_links() -> None:
    contact_plan = world()
    with_links = plan_round(make_problem(contact_plan, WORK), GATHER)
    own = StrategyConfig.parse("none", "own-window", "none")
    assert with_links.makespan_s <= plan_round(make_problem(contact_plan, WORK), own).makespan_s


def test_a_copy_that_runs_ahead_comes_twice_or_from_nowhere_is_noticed() -> None:
    contact_plan = world()
    plan = gathered(contact_plan)
    rows = plan.activities
    copies = np.flatnonzero(rows["kind"] == Kind.GATHER)
    hop = next(i for i in copies if rows["node"][i] != rows["satellite"][i])
    first = next(
        i
        for i in copies
        if rows["satellite"][i] == rows["satellite"][hop] and rows["peer"][i] == rows["node"][hop]
    )
    assert "order" in rules(changed(plan, hop, start_s=rows["start_s"][first] + 1e-3), contact_plan)
    twice = dataclasses.replace(plan, activities=np.append(rows, rows[copies[0]]))
    assert "once" in rules(twice, contact_plan)
    without = dataclasses.replace(plan, activities=rows[rows["kind"] != Kind.GATHER])
    assert "order" in rules(without, contact_plan)


def test_a_buffer_too_small_for_the_plane_is_noticed_and_refused() -> None:
    contact_plan = world()
    plane_bytes = 4 * 200 * WORK.c1_bytes
    assert "buffer" in rules(gathered(contact_plan), contact_plan, Resources(buffer_bytes=0.9 * plane_bytes))
    with pytest.raises(PayloadTooLargeError, match="all-gather"):
        gathered(contact_plan, Resources(buffer_bytes=0.9 * plane_bytes))
    roomy = Resources(buffer_bytes=1.2 * plane_bytes)
    assert rules(gathered(contact_plan, roomy), contact_plan, roomy) == set()
