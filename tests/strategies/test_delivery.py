"""Files go up by contacts, resume in the next pass, and are shared over the links of a plane."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import drawn, make_world, worlds

from orbit.contact_plan import LinkKind
from strategies.delivery import DeliveryError, ReleaseDelivery, plan_delivery
from strategies.problem.workload import Resources

OWLT_S = 0.004  # of the passes of these worlds


def violations(delivery: ReleaseDelivery, world, size: int, beams: int, setup_s: float) -> list[str]:
    """What no antenna, beam or link could do."""
    found = []
    uplinks = world.of_kind(LinkKind.UPLINK)
    for part in delivery.parts:
        own = uplinks[(uplinks["source"] == part.station) & (uplinks["target"] == part.satellite)]
        inside = own[(own["start_s"] <= part.start_s + 1e-6) & (own["end_s"] >= part.end_s - 1e-6)]
        if not len(inside):
            found.append("outside a contact")
            continue
        sent = (part.end_s - part.data_s) * inside["rate_bps"][0] / 8.0
        if part.end_byte - part.first_byte > sent + 1.0:
            found.append("faster than the link")
        if part.data_s < part.start_s + setup_s - 1e-6 or part.start_s < delivery.start_s:
            found.append("before set-up")
    for at in (part.start_s for part in delivery.parts):
        during = [part for part in delivery.parts if part.start_s <= at < part.end_s - 1e-9]
        for who, limit in (("station", beams), ("satellite", 1)):
            nodes = [getattr(part, who) for part in during]
            if any(nodes.count(node) > limit for node in nodes):
                found.append(f"more than {limit} of a {who}")
    return found


@drawn(25)
@given(worlds(), st.integers(1, 40_000_000), st.integers(1, 2), st.floats(0.0, 3000.0))
def test_what_is_planned_can_be_flown_and_everybody_gets_every_byte_once_from_the_ground(
    case, size, beams, start_s
) -> None:
    world, _, resources = case
    try:
        delivery = plan_delivery(
            world, size, start_s=start_s, resources=Resources(beams=beams, setup_s=resources.setup_s)
        )
    except DeliveryError:
        return
    assert violations(delivery, world, size, beams, resources.setup_s) == []
    in_plane = [world.nodes[part.satellite].plane for part in delivery.parts]
    linked = world.of_kind(LinkKind.INTRA_ISL)
    for label in set(in_plane):
        members = [part for part, plane in zip(delivery.parts, in_plane, strict=True) if plane == label]
        groups = [members] if len(linked) else [
            list(group)
            for _, group in itertools.groupby(
                sorted(members, key=lambda part: part.satellite), key=lambda part: part.satellite
            )
        ]  # fmt: skip
        for group in groups:
            edges = sorted((part.first_byte, part.end_byte) for part in group)
            assert edges[0][0] == 0
            assert edges[-1][1] == size
            assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
    assert (delivery.delivered_s >= max(start_s, min(part.end_s for part in delivery.parts))).all()


def test_a_file_that_is_larger_than_a_pass_goes_on_in_the_next() -> None:
    world = make_world(1, 1, 1, [(0, 0, 100.0, 60.0), (0, 0, 1000.0, 60.0)], up_bps=250e3)
    size = 2_000_000  # at 250 kbit/s 64 s; a pass of 60 s has 50 after set-up, 1,562,500 bytes
    delivery = plan_delivery(world, size, resources=Resources(setup_s=10.0))
    assert [(part.first_byte, part.end_byte) for part in delivery.parts] == [
        (0, 1_562_500),
        (1_562_500, size),
    ]
    assert delivery.end_s == pytest.approx(1010.0 + 437_500 / 31_250 + OWLT_S)


def test_a_plane_hears_the_file_once_and_shares_it() -> None:
    world = make_world(1, 4, 1, [(0, 0, 0.0, 100.0), (1, 0, 200.0, 100.0)], up_bps=1e6, isl_bps=1e8)
    delivery = plan_delivery(world, 1_000_000, resources=Resources(setup_s=0.0))
    assert sum(part.end_byte - part.first_byte for part in delivery.parts) == 1_000_000
    up_s, hop_s = 8.0 + OWLT_S, 0.08 + 0.006
    hops = np.array([0, 1, 2, 1])  # round the ring
    assert delivery.delivered_s == pytest.approx(up_s + hops * hop_s)


def test_one_beam_serves_one_after_the_other_and_two_serve_both() -> None:
    world = make_world(2, 1, 1, [(0, 0, 0.0, 300.0), (1, 0, 0.0, 300.0)], up_bps=1e6, inter_bps=0.0)
    one, two = (
        plan_delivery(world, 1_000_000, resources=resources)
        for resources in (Resources(1, 5.0), Resources(1, 5.0, own_beams=((2, 2),)))
    )
    assert one.end_s == pytest.approx(2 * 13.0 + OWLT_S)
    assert two.end_s == pytest.approx(13.0 + OWLT_S)


def test_what_does_not_get_through_is_one_error_with_who_and_how_much() -> None:
    world = make_world(2, 1, 1, [(0, 0, 0.0, 300.0), (1, 0, 400.0, 8.0)], up_bps=1e6, inter_bps=0.0)
    with pytest.raises(DeliveryError, match=r"sat-1-0: 1000000 of 2000000 bytes do not go up"):
        plan_delivery(world, 2_000_000, resources=Resources(setup_s=0.0))
