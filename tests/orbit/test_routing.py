"""Routes against aiodtnsim's answers (committed in sabr_arrivals.json) and against trying everything."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.routing_cases import queries, random_plan
from orbit.constellation import walker
from orbit.contact_plan import CONTACT, ContactPlan, LinkKind, Node
from orbit.contact_plan_builder import (
    InterOrbitLink,
    IntraOrbitLink,
    Links,
    SpaceGroundLink,
    build_contact_plan,
)
from orbit.routing import NoPathError, booked, earliest_arrival, light_times, lowest_latency_path
from orbit.stations import GroundStation

REFERENCE = json.loads((Path(__file__).parent / "sabr_arrivals.json").read_text())


def small_plan(contacts: list[tuple[int, int, float, float, float, float]]) -> ContactPlan:
    """Five satellites; contacts as (source, target, start_s, duration_s, rate_bps, owlt_s), overlaps left
    out."""
    rows, taken = [], []
    for source, target, start_s, duration_s, rate_bps, owlt_s in contacts:
        end_s = start_s + duration_s
        overlaps = any(a == source and b == target and start_s <= d and c <= end_s for a, b, c, d in taken)
        if source != target and not overlaps:
            taken.append((source, target, start_s, end_s))
            rows.append(
                (source, target, LinkKind.INTER_ISL, start_s, end_s, rate_bps, owlt_s, np.nan, np.nan, 0, 0)
            )
    nodes = tuple(Node(str(k), "satellite", plane=k, slot=0) for k in range(5))
    return ContactPlan(Time("2026-03-01"), 1000.0, nodes=nodes, contacts=np.array(rows, CONTACT))


plans = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 4), st.integers(0, 300), st.integers(1, 60), st.sampled_from([8e3, 8e4, 8e5]),
        st.sampled_from([0.0, 0.01, 3.0]),
    ),
    max_size=14,
).map(small_plan)  # fmt: skip


def best_by_trying(plan: ContactPlan, source: int, target: int, start_s: float, size_bytes: float) -> float:
    """The earliest arrival over all sequences of contacts that visit no node twice."""
    best = start_s if source == target else np.inf

    def go(node: int, now_s: float, visited: frozenset[int]) -> None:
        nonlocal best
        for contact in plan.contacts[plan.contacts["source"] == node]:
            depart_s = max(now_s, contact["start_s"])
            sent_s = depart_s + 8 * size_bytes / contact["rate_bps"]
            there = int(contact["target"])
            if there in visited or sent_s > contact["end_s"] or depart_s >= contact["end_s"]:
                continue
            arrive_s = sent_s + contact["owlt_s"]
            if there == target:
                best = min(best, arrive_s)
            else:
                go(there, arrive_s, visited | {there})

    go(source, start_s, frozenset({source}))
    return best


@given(
    plans, st.integers(0, 4), st.integers(0, 4), st.integers(0, 300), st.sampled_from([0.0, 1000.0, 50000.0])
)
def test_no_sequence_of_contacts_arrives_earlier(plan, source, target, start_s, size_bytes) -> None:
    best = best_by_trying(plan, source, target, start_s, size_bytes)
    if not np.isfinite(best):
        with pytest.raises(NoPathError, match=f"from {source} at"):
            earliest_arrival(plan, source, target, start_s=start_s, size_bytes=size_bytes)
        return
    route = earliest_arrival(plan, source, target, start_s=start_s, size_bytes=size_bytes)
    assert route.arrive_s == pytest.approx(best)
    now_s, node = float(start_s), source
    for hop in route.hops:
        contact = plan.contacts[hop.contact]
        assert (contact["source"], contact["target"]) == (hop.source, hop.target)
        assert hop.source == node
        assert max(now_s, contact["start_s"]) <= hop.depart_s <= hop.sent_s <= contact["end_s"]
        now_s, node = hop.arrive_s, hop.target
    assert node == target


@pytest.mark.parametrize("part", range(3))
def test_three_hundred_arrivals_are_those_of_aiodtnsim(part: int) -> None:
    plan = random_plan()
    asked = list(zip(queries(), REFERENCE["arrivals_s"], strict=True))[part::3]
    assert len(asked) == 100
    for (source, target, start_s, size_bytes), expected_s in asked:
        route = earliest_arrival(plan, source, target, start_s=start_s, size_bytes=size_bytes)
        assert route.arrive_s == pytest.approx(expected_s, abs=0.002)  # it lets a hop fewer win a millisecond


def test_bundles_that_share_a_contact_go_one_after_the_other() -> None:
    plan = small_plan([(0, 1, 0, 10, 8e3, 0.0), (0, 1, 100, 50, 8e3, 0.0)])
    first = earliest_arrival(plan, 0, 1, start_s=0, size_bytes=6000)
    assert first.arrive_s == 6.0
    free = booked(plan, first)
    assert earliest_arrival(plan, 0, 1, start_s=0, size_bytes=4000, free_from_s=free).arrive_s == 10.0
    late = earliest_arrival(plan, 0, 1, start_s=0, size_bytes=6000, free_from_s=free)
    assert (late.hops[0].contact, late.arrive_s) == (1, 106.0)


@given(plans, st.integers(0, 4), st.integers(0, 4), st.integers(0, 300))
def test_no_open_path_has_less_light_time(plan, source, target, at_s) -> None:
    open_now = plan.contacts[(plan.contacts["start_s"] <= at_s) & (at_s < plan.contacts["end_s"])]
    delay = {(int(c["source"]), int(c["target"])): float(c["owlt_s"]) for c in open_now}
    best = 0.0 if source == target else np.inf
    others = [node for node in range(5) if node not in (source, target)]
    for between in itertools.chain.from_iterable(itertools.permutations(others, k) for k in range(4)):
        path = [source, *between, target]
        hops = list(itertools.pairwise(path))
        if source != target and all(hop in delay for hop in hops):
            best = min(best, sum(delay[hop] for hop in hops))
    if np.isfinite(best):
        nodes, latency_s = lowest_latency_path(plan, source, target, at_s=at_s)
        assert latency_s == pytest.approx(best)
        assert (nodes[0], nodes[-1]) == (source, target)
    else:
        with pytest.raises(NoPathError):
            lowest_latency_path(plan, source, target, at_s=at_s)


def test_light_crosses_a_real_constellation_no_faster_than_straight() -> None:
    epoch = Time("2026-03-01T06:00:00")
    shell = walker("53: 72/6/1", epoch=epoch, altitude_km=550)
    stations = [
        GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540),
        GroundStation("Perth", -31.8, lon_deg=115.89, height_m=250),
    ]
    links = Links(
        SpaceGroundLink(2e8, 5e7),
        IntraOrbitLink(1e9),
        inter_orbit=InterOrbitLink(1e9, "all", max_range_km=5000),
    )
    plan = build_contact_plan(shell, stations, links, epoch=epoch, horizon_s=7200.0)
    straight_s = np.linalg.norm(stations[0].position_km - stations[1].position_km) / 299792.458
    reached = 0
    for at_s in np.arange(0, 7200, 300.0):
        try:
            path, latency_s = lowest_latency_path(
                plan,
                plan.index("Matera"),
                plan.index("Perth"),
                at_s=at_s,
                owlt_s=light_times(plan, shell, stations, at_s),
            )
        except NoPathError:
            continue
        reached += 1
        assert straight_s < latency_s < 4 * straight_s
        assert {plan.nodes[node].kind for node in path[1:-1]} == {"satellite"}
    assert reached > 3
