"""Averages as numbers: the ring and the chain against the exact mean; what they cost."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import make_workload, make_world

from mission.client_update import average, client_update
from orbit.contact_plan import ContactPlan
from strategies.aggregation.averages import AggregationError, plane_sum, staleness_weight, weighted_mean
from strategies.drawn_worlds import make_problem
from strategies.intra_orbit import (
    PlaneLinks,
    PlaneOrder,
    all_reduce,
    all_reduce_s,
    plane_links,
    plane_orders,
    ring_all_reduce_s,
)
from strategies.planner.round_planner import plan_round
from strategies.problem.workload import IntraOrbit, StrategyConfig

sizes = st.tuples(st.integers(1, 7), st.integers(1, 23), st.integers(0, 2**31 - 1))


def draw(case: tuple[int, int, int]) -> tuple[list[np.ndarray], list[float]]:
    satellites, length, seed = case
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=length).astype(np.float32) for _ in range(satellites)]
    return arrays, rng.integers(1, 500, satellites).astype(float).tolist()


def exact_mean(arrays: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """In rational numbers, rounded at the end."""
    columns = zip(*(array.tolist() for array in arrays), strict=True)
    sums = [
        sum(Fraction(value) * Fraction(w) for value, w in zip(column, weights, strict=True))
        for column in columns
    ]
    return np.array([float(total / Fraction(sum(weights))) for total in sums], np.float32)


@given(sizes, st.booleans())
def test_a_plane_s_sum_is_the_exact_one_up_to_the_rounding_of_float64(case, ring: bool) -> None:
    arrays, weights = draw(case)
    vectors = [
        client_update({"head.weight": array}, [weight]) for array, weight in zip(arrays, weights, strict=True)
    ]
    mean = average(plane_sum(vectors, ring=ring), {"head.weight": arrays[0]})["head.weight"]
    np.testing.assert_allclose(mean, exact_mean(arrays, weights), rtol=1.2e-7, atol=1e-12)
    assert mean.dtype == np.float32


@given(sizes, st.booleans(), st.data())
def test_a_plane_s_sum_counts_every_satellite_once(case, ring: bool, data) -> None:
    satellites, length, _ = case
    counted = data.draw(st.integers(0, satellites - 1))
    ones = [np.full(length, float(index == counted)) for index in range(satellites)]
    assert plane_sum(ones, ring=ring).tolist() == [1.0] * length


def test_each_half_of_a_ring_goes_its_way_and_a_chain_adds_towards_its_middle() -> None:
    """By hand: floats whose sum depends on the order."""
    big, one = 2.0**53, 1.0
    a, b, c = np.full(6, big), np.full(6, one), np.full(6, one)
    # Three satellites, three chunks of one value each way: (a+b)+c, (b+c)+a, (c+a)+b; back (c+b)+a, (b+a)+c, (a+c)+b.
    apart, together = (big + one) + one, big + (one + one)
    assert apart != together
    ring = [apart, together, apart, together, apart, apart]
    assert plane_sum([a, b, c], ring=True).tolist() == ring
    assert plane_sum([a, b, c], ring=False).tolist() == [apart] * 6  # a, b in the middle, then c
    assert plane_sum([c, b, a], ring=False).tolist() == [together] * 6


def test_the_weighted_mean_is_the_exact_one_rounded() -> None:
    arrays, weights = draw((5, 50, 3))
    np.testing.assert_allclose(
        weighted_mean(arrays, weights), exact_mean(arrays, weights), rtol=1.2e-7, atol=1e-12
    )


def test_bad_weights_and_shapes_are_refused() -> None:
    with pytest.raises(AggregationError, match="shapes"):
        weighted_mean([np.zeros(2), np.zeros(3)], [1, 1])
    with pytest.raises(AggregationError, match="weights"):
        weighted_mean([np.zeros(2)], [0.0])
    with pytest.raises(AggregationError, match="2 arrays and 1 weights"):
        weighted_mean([np.zeros(2), np.zeros(2)], [1.0])
    assert staleness_weight(0) == 1.0 > staleness_weight(1) > staleness_weight(3)


def test_a_parallel_plane_is_faster_than_a_sequential_one() -> None:
    plane = PlaneLinks(tuple(range(12)), closed=True, rate_bps=1e9, owlt_s=0.013)
    parallel_s = all_reduce_s(plane, 403e6, IntraOrbit.PARALLEL)
    assert parallel_s == pytest.approx(2 * 11 * (0.013 + 403e6 * 4 / 12e9))
    assert all_reduce_s(plane, 403e6, IntraOrbit.SEQUENTIAL) > 10 * parallel_s


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_the_average_of_a_plane_keeps_within_the_capacity_of_its_links(size) -> None:
    plane = PlaneLinks(tuple(range(size)), closed=size > 2, rate_bps=1e9, owlt_s=0.01)
    rows, end_s = all_reduce(plane, 5e6, IntraOrbit.PARALLEL, start_s=7.0)
    assert end_s >= 7.0
    assert (size > 1) == bool(len(rows))
    if size > 1:
        assert (rows["bytes"] * 8.0 / (rows["end_s"] - rows["start_s"]) <= 1e9).all()
        assert ring_all_reduce_s(size, 5e6, 1e9, 0.01) > 0


def test_a_gap_opens_the_ring_and_two_gaps_break_the_plane() -> None:
    links = np.zeros(6, [("source", int), ("target", int), ("rate_bps", float), ("owlt_s", float)])
    links["source"], links["target"], links["rate_bps"] = [0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2], 1e9
    assert plane_links((0, 1, 2), links).closed
    chain = plane_links((0, 1, 2), links[2:])
    assert (chain.closed, chain.members) == (False, (1, 2, 0))
    assert plane_links((0, 1, 2), links[4:]) is None


def orders_of(world: ContactPlan, payload_bytes: float, intra_orbit: str = "parallel") -> list[PlaneOrder]:
    strategy_config = StrategyConfig.parse(intra_orbit, "topology-aware", "none")
    workload = make_workload(len(world.satellites))
    plan = plan_round(make_problem(world, workload), strategy_config)
    return plane_orders(plan, world, payload_bytes)


PASSES = [(turn % 6, 0, 200.0 * turn, 150.0) for turn in range(12)]  # the second ones bring the average back


def test_a_closed_plane_is_summed_round_the_ring_where_that_is_sooner_and_never_in_the_baseline() -> None:
    world = make_world(2, 3, 1, PASSES, isl_bps=1e6)
    ring, chain = (
        [PlaneOrder(tuple(f"sat-{p}-{k}" for k in range(3)), goes_round, linked=True) for p in (0, 1)]
        for goes_round in (True, False)
    )
    assert orders_of(world, 1e6) == ring
    assert orders_of(world, 1.0) == orders_of(world, 1e6, "sequential") == chain


def test_an_open_plane_is_a_chain_from_gap_to_gap_and_a_broken_one_is_left_to_the_ground() -> None:
    world = make_world(2, 3, 1, PASSES)
    contacts = world.contacts
    apart = [{0, 1}, {3, 4}, {4, 5}]  # one link of the first plane, two of the second
    kept = [{int(row["source"]), int(row["target"])} not in apart for row in contacts]
    first, second = orders_of(dataclasses.replace(world, contacts=contacts[kept]), 1.0, "none")
    assert first == PlaneOrder(("sat-0-1", "sat-0-2", "sat-0-0"), ring=False, linked=True)
    assert second == PlaneOrder(("sat-1-0", "sat-1-1", "sat-1-2"), ring=False, linked=False)
