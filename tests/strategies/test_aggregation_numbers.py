"""Averages as numbers: the ring, the chain and the flooding against the weighted mean."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.aggregation import (
    AggregationError,
    chain_reduce_broadcast,
    mean_of_planes,
    merge_flooded,
    partial_sum,
    ring_all_reduce,
    staleness_weight,
    weighted_mean,
)
from strategies.intra_orbit import PlaneLinks, all_reduce, all_reduce_s, plane_links, ring_all_reduce_s
from strategies.workload import IntraOrbit

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


@settings(deadline=None)
@given(sizes)
def test_the_ring_gives_every_satellite_the_same_bits_and_the_weighted_mean(case) -> None:
    arrays, weights = draw(case)
    results = ring_all_reduce(arrays, weights)
    assert {result.tobytes() for result in results} == {results[0].tobytes()}
    np.testing.assert_allclose(results[0], weighted_mean(arrays, weights), rtol=3e-7, atol=1e-7)


@settings(deadline=None)
@given(sizes)
def test_the_chain_gives_every_satellite_the_same_bits_and_the_exact_mean_rounded(case) -> None:
    arrays, weights = draw(case)
    results = chain_reduce_broadcast(arrays, weights)
    assert {result.tobytes() for result in results} == {results[0].tobytes()}
    assert len(results) == len(arrays)
    np.testing.assert_allclose(results[0], exact_mean(arrays, weights), rtol=1.2e-7, atol=1e-12)
    assert len({id(result) for result in results}) == len(arrays)  # each holds its own


@settings(deadline=None)
@given(sizes, st.data())
def test_the_chain_counts_every_satellite_once(case, data) -> None:
    arrays, weights = draw(case)
    changed = data.draw(st.integers(0, len(arrays) - 1))
    before = chain_reduce_broadcast(arrays, weights)[0]
    arrays[changed] = arrays[changed] + np.float32(1024.0)
    expected = before + 1024.0 * weights[changed] / sum(weights)
    np.testing.assert_allclose(chain_reduce_broadcast(arrays, weights)[0], expected, rtol=1e-5, atol=1e-4)


def test_the_weighted_mean_is_the_exact_one_rounded() -> None:
    arrays, weights = draw((5, 50, 3))
    np.testing.assert_allclose(
        weighted_mean(arrays, weights), exact_mean(arrays, weights), rtol=1.2e-7, atol=1e-12
    )


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_flooding_counts_no_plane_twice_however_often_it_is_heard(heard) -> None:
    sums = {plane: partial_sum(np.full(3, float(plane)), 1.0 + plane) for plane in range(6)}
    known = {}
    for plane in heard + heard[::-1]:
        known = merge_flooded(known, {plane: sums[plane]})
    planes = sorted(set(heard))
    expected = weighted_mean([np.full(3, float(p)) for p in planes], [1.0 + p for p in planes])
    np.testing.assert_array_equal(mean_of_planes(known, np.dtype(float)), expected)


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
