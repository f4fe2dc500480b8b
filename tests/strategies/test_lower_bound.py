"""The lower bound: three solvers agree, more means never raise it, and it meets closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array
from synthetic_worlds import LADDER, RATES, drawn, make_workload, make_world, worlds

from orbit.contact_plan import LinkKind
from strategies.bound import flow_over_time, lower_bound_s
from strategies.network import NoRouteError, groups_of
from strategies.planner import plan_round
from strategies.regime import regime_law
from strategies.workload import ComputeRates, Resources

max_flow = pytest.importorskip("ortools.graph.python.max_flow", reason="OR-Tools is the second solver")


def alone(satellites: int) -> np.ndarray:
    return np.arange(satellites)


def together(satellites: int) -> np.ndarray:
    return np.zeros(satellites, int)


def flow_by_highs(flow, end_s: float, slots: int) -> float:
    """Maximum flow as a linear program, conservation at every node written out, by HiGHS."""
    tail, head, amount = flow._arcs(end_s, slots)
    nodes = int(max(tail.max(), head.max())) + 1
    arcs = np.arange(len(tail))
    balance = coo_array((np.ones(len(tail)), (head, arcs)), shape=(nodes, len(tail))) - coo_array(
        (np.ones(len(tail)), (tail, arcs)), shape=(nodes, len(tail))
    )
    found = linprog(
        -(head == 1).astype(float), A_eq=balance.tocsr()[2:], b_eq=np.zeros(nodes - 2),
        bounds=np.stack([np.zeros(len(tail)), amount], axis=1), method="highs",
    )  # fmt: skip
    return -float(found.fun)


def flow_by_or_tools(flow, end_s: float, slots: int) -> float:
    tail, head, amount = flow._arcs(end_s, slots)
    unit = 1e9 / float(flow.need.sum())
    solver = max_flow.SimpleMaxFlow()
    solver.add_arcs_with_capacity(
        tail.astype(np.int32), head.astype(np.int32), np.ceil(amount * unit).astype(np.int64)
    )
    assert solver.solve(0, 1) == solver.OPTIMAL
    return solver.optimal_flow() / unit


@drawn(15)
@given(worlds(), st.floats(100.0, 20_000.0))
def test_scipy_highs_and_or_tools_find_the_same_flow(case, end_s) -> None:
    world, workload, resources = case
    flow = flow_over_time(world, workload, RATES, resources, alone(len(workload.samples)) // 2, start_s=0.0)
    mine = flow.capacity(end_s, slots=12)
    total = float(flow.need.sum())
    assert mine == pytest.approx(flow_by_highs(flow, end_s, 12), abs=2e-5 * total)
    assert mine == pytest.approx(flow_by_or_tools(flow, end_s, 12), abs=2e-5 * total)


@drawn(15)
@given(worlds())
def test_faster_links_more_beams_more_compute_and_larger_groups_never_raise_the_bound(case) -> None:
    world, workload, resources = case
    satellites = len(workload.samples)
    own_s = lower_bound_s(world, workload, RATES, resources, alone(satellites), start_s=0.0)
    tolerance = 1.0 + 2e-3  # of the bisection
    faster = world.contacts.copy()
    faster["rate_bps"] *= 2.0
    for better in (
        lower_bound_s(world, workload, RATES, resources, together(satellites), start_s=0.0),
        lower_bound_s(
            dataclasses.replace(world, contacts=faster),
            workload,
            RATES,
            resources,
            alone(satellites),
            start_s=0.0,
        ),
        lower_bound_s(
            world, workload, RATES, dataclasses.replace(resources, beams=3), alone(satellites), start_s=0.0
        ),
        lower_bound_s(world, workload, ComputeRates(1e12, 100e12), resources, alone(satellites), start_s=0.0),
    ):
        assert better <= own_s * tolerance


@drawn(15)
@given(worlds(), st.data())
def test_a_lost_station_lost_links_or_a_later_start_never_lower_the_bound(case, data) -> None:
    world, workload, resources = case
    satellites = len(workload.samples)
    groups = groups_of(world.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL), satellites)
    whole_s = lower_bound_s(world, workload, RATES, resources, groups, start_s=0.0)
    contacts = world.contacts
    lost = data.draw(st.sampled_from(world.stations.tolist()))
    without_station = contacts[(contacts["source"] != lost) & (contacts["target"] != lost)]
    cut = contacts[contacts["kind"] != LinkKind.INTER_ISL]
    planes = groups_of(cut[cut["kind"] == LinkKind.INTRA_ISL], satellites)
    for poorer, joined in ((without_station, groups), (cut, planes)):
        try:
            bound_s = lower_bound_s(
                dataclasses.replace(world, contacts=poorer), workload, RATES, resources, joined, start_s=0.0
            )
        except NoRouteError:
            continue
        assert bound_s >= whole_s * (1.0 - 2e-3)
    later_s = lower_bound_s(world, workload, RATES, resources, groups, start_s=50.0)
    assert later_s + 50.0 >= whole_s * (1.0 - 2e-3)


def test_one_satellite_under_one_station_is_bound_by_its_link() -> None:
    world = make_world(1, 1, 1, [(0, 0, 0.0, 5000.0)])
    workload = make_workload(1, 10_000)
    transfer_s = 10_000 * (workload.c1_bytes + workload.c3_bytes) * 8.0 / 200e6
    found = lower_bound_s(world, workload, RATES, Resources(), alone(1), start_s=0.0)
    assert found == pytest.approx(transfer_s, rel=2e-3)


def test_several_long_passes_of_one_slot_carry_more_than_one_not_less() -> None:
    # Far more than all samples each: two such capacities together must not leave 32 bits.
    early = [(0, 0, 0.0, 50.0), (0, 0, 60.0, 50.0)]
    world = make_world(2, 1, 1, [*early, (0, 0, 20_000.0, 400.0), (1, 0, 15_000.0, 400.0)], inter_bps=0.0)
    found = lower_bound_s(world, make_workload(2, 100, "head"), RATES, Resources(), alone(2), start_s=0.0)
    assert found == pytest.approx(15_000.0, rel=2e-3)


@drawn(8)
@given(st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), st.integers(2000, 5000), st.floats(5e7, 4e8))
def test_the_regime_law_is_within_15_percent_of_the_plan_where_the_link_is_the_bottleneck(
    planes, slots, stations, samples, down_bps
) -> None:
    count = planes * slots
    passes = [(k, g, 0.0, 39_000.0) for k in range(count) for g in range(min(stations, count))]
    world = make_world(planes, slots, min(stations, count), passes, down_bps=down_bps)
    ample = ComputeRates(0.5e12, 2000e12)
    split, onboard = make_workload(count, samples), make_workload(count, samples, "onboard-lora")
    resources = Resources(setup_s=0.0)
    law = regime_law(world, split, onboard, ample, resources)
    assert law["bound_by"] == "transfer"
    split_s = plan_round(world, split, ample, resources, LADDER["e"], start_s=0.0).makespan_s
    onboard_s = plan_round(world, onboard, ample, resources, LADDER["e"], start_s=0.0).makespan_s
    assert split_s / onboard_s == pytest.approx(law["law"], rel=0.15)


def test_a_world_without_downlinks_has_no_bound() -> None:
    world = make_world(1, 2, 1, [(0, 0, 0.0, 500.0)])
    deaf = dataclasses.replace(world, contacts=world.contacts[world.contacts["kind"] != LinkKind.DOWNLINK])
    with pytest.raises(ValueError, match=r"sat-0-0.*carry 0 of"):
        lower_bound_s(deaf, make_workload(2, 10), RATES, Resources(), alone(2), start_s=0.0)
