"""Weights over links that open at different times, against the routes of the contact plan's own search."""

from __future__ import annotations

import dataclasses

import numpy as np
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_worlds import make_workload, make_world

from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.routing import NoPathError, earliest_arrival
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.foremost import broadcast, gather
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Kind
from strategies.problem.routes import Routes
from strategies.problem.workload import StrategyConfig

EPOCH, UNTIL_S, SIZE_BYTES = Time("2026-01-01T00:00:00", scale="utc"), 2000.0, 1e6
COUNT = 6


@st.composite
def temporal_links(draw: st.DrawFn) -> ContactPlan:
    """Six satellites, links both ways that open for a while, some of them never."""
    pairs = draw(
        st.lists(
            st.tuples(
                st.integers(0, COUNT - 1), st.integers(0, COUNT - 1), st.integers(0, 19), st.integers(1, 6),
                st.sampled_from([1e6, 4e6]),
            ),
            min_size=3, max_size=25,
        )
    )  # fmt: skip
    rows, taken = [], set()
    for a, b, slot, slots, rate_bps in pairs:
        used = {(min(a, b), max(a, b), slot + k) for k in range(-1, slots + 1)}
        if a == b or used & taken:
            continue
        taken |= used
        start_s, end_s = 50.0 * slot, min(50.0 * (slot + slots), UNTIL_S)
        for source, target in ((a, b), (b, a)):
            rows.append(
                (
                    source,
                    target,
                    LinkKind.INTER_ISL,
                    start_s,
                    end_s,
                    rate_bps,
                    0.01,
                    np.nan,
                    900.0,
                    False,
                    False,
                )
            )
    nodes = [Node(f"sat-{k}", "satellite", plane=k, slot=0) for k in range(COUNT)]
    return ContactPlan(
        EPOCH, UNTIL_S, nodes=(*nodes, Node("station", "station")), contacts=np.array(rows, CONTACT)
    )


def arrives_s(plan: ContactPlan, source: int, target: int, start_s: float) -> float:
    if source == target:
        return start_s
    try:
        return earliest_arrival(plan, source, target, start_s=start_s, size_bytes=SIZE_BYTES).arrive_s
    except NoPathError:
        return np.inf


def test_planes_that_never_see_each_other_at_once_still_average_without_the_ground() -> None:
    passes = [(k, 0, 20_000.0 + 7000.0 * turn + 500.0 * k, 400.0) for turn in range(2) for k in range(12)]
    world = make_world(3, 4, 1, passes, inter_bps=0)
    rows = []
    for a, b, start_s, end_s in (
        (0, 4, 100.0, 200.0),
        (4, 8, 300.0, 400.0),
        (8, 4, 500.0, 700.0),
        (4, 0, 800.0, 900.0),
    ):
        for source, target in ((a, b), (b, a)):
            rows.append(
                (source, target, LinkKind.INTER_ISL, start_s, end_s, 5e8, 0.01, np.nan, 900.0, False, False)
            )
    apart = dataclasses.replace(world, contacts=np.concatenate([world.contacts, np.array(rows, CONTACT)]))
    workload = make_workload(12, 64, "onboard-lora")
    over_links = plan_round(
        make_problem(apart, workload), StrategyConfig.parse("parallel", "topology-aware", "nearest")
    )
    assert check_plan(over_links, make_problem(apart, workload)) == []
    assert (
        800.0 < over_links.end_s < 900.0
    )  # the first plane hears of the third when it sees the second again
    assert not len(over_links.of_kind(Kind.SESSION))
    through_ground = plan_round(
        make_problem(apart, workload), StrategyConfig.parse("parallel", "topology-aware", "none")
    )
    assert through_ground.end_s > 20_000.0


@settings(deadline=None, max_examples=150)
@given(temporal_links(), st.integers(0, COUNT - 1), st.floats(0.0, 300.0))
def test_a_broadcast_is_there_when_the_foremost_routes_are(plan, root, start_s) -> None:
    routes = Routes(plan.contacts, COUNT)
    reachable = {k for k in range(COUNT) if np.isfinite(arrives_s(plan, root, k, start_s))}
    journey = broadcast(routes, {root: start_s}, reachable, 8.0 * SIZE_BYTES)
    assert journey is not None
    expected = max(arrives_s(plan, root, k, start_s) for k in reachable)
    assert abs(journey.done_s - expected) < 0.01
    if len(reachable) < COUNT:
        assert broadcast(routes, {root: start_s}, set(range(COUNT)), 8.0 * SIZE_BYTES) is None


@settings(deadline=None, max_examples=150)
@given(
    temporal_links(),
    st.integers(0, COUNT - 1),
    st.lists(st.floats(0.0, 300.0), min_size=COUNT, max_size=COUNT),
)
def test_a_gathering_ends_when_the_last_could_have_come_alone_and_each_sends_once(
    plan, root, times_s
) -> None:
    routes = Routes(plan.contacts, COUNT)
    alone_s = {k: arrives_s(plan, k, root, times_s[k]) for k in range(COUNT)}
    members = {k: times_s[k] for k in range(COUNT) if np.isfinite(alone_s[k])}
    journey = gather(routes, root, members, 8.0 * SIZE_BYTES, UNTIL_S + 1.0)
    assert journey is not None
    assert abs(journey.done_s - max(alone_s[k] for k in members)) < 0.05
    senders = [send.node for send in journey.sends]
    assert len(set(senders)) == len(senders)
    assert set(members) - {root} <= set(senders)
    heard = dict(members)
    for send in journey.sends:
        came_s = [other.end_s for other in journey.sends if other.peer == send.node]
        assert send.start_s >= max([*came_s, heard.get(send.node, 0.0)]) - 1e-9
    if len(members) < COUNT:
        everyone = dict(enumerate(times_s))
        assert gather(routes, root, everyone, 8.0 * SIZE_BYTES, UNTIL_S + 1.0) is None
