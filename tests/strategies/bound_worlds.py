"""Worlds that are hard on a bound: stations unlike in both directions, few and slow links, set-up, sunlight, epochs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from synthetic_worlds import make_workload, make_world, shells

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, Resources, Workload


@dataclass(frozen=True, eq=False)
class BoundCase:
    """A round to be bounded."""

    contact_plan: ContactPlan
    workload: Workload
    rates: ComputeRates
    resources: Resources
    start_s: float


@st.composite
def bound_cases(draw: st.DrawFn) -> BoundCase:
    """Up to three planes of five under up to three stations; not all of them get through."""
    planes, slots, stations, passes = draw(shells())
    count = planes * slots
    if draw(st.booleans()):  # several of a plane are in sight at once
        passes += [(k, k % stations, 0.0, 600.0) for k in range(count)]
    passes += [
        (k, (k + turn) % stations, 8000.0 + 700.0 * (turn * count + k), 400.0)
        for turn in range(2)
        for k in range(count)
    ]
    world = make_world(
        planes, slots, stations, passes, ring=draw(st.booleans()),
        isl_bps=draw(st.sampled_from([2e7, 1e8, 1e9])), inter_bps=draw(st.sampled_from([0.0, 5e7, 5e8])),
    )  # fmt: skip
    contacts = world.contacts.copy()
    for kind, end, rates in (
        (LinkKind.DOWNLINK, "target", [2e6, 5e7, 2e8]),
        (LinkKind.UPLINK, "source", [2.5e5, 2e6, 5e7]),
    ):
        of_station = np.array([draw(st.sampled_from(rates)) for _ in range(stations)])
        mine = contacts["kind"] == kind
        contacts["rate_bps"][mine] = of_station[contacts[end][mine] - count]
    samples = draw(st.lists(st.integers(0, 200), min_size=count, max_size=count))
    samples[draw(st.integers(0, count - 1))] = draw(st.integers(1, 200))
    workload = make_workload(
        count, samples,
        mode=draw(st.sampled_from(["lora", "lora", "head", "downlink", "onboard-lora", "onboard-full"])),
        epochs=draw(st.sampled_from([1, 1, 2, 3])), returned_tokens=draw(st.sampled_from([1, 1, 197])),
        cached_fraction=draw(st.sampled_from([0.0, 0.0, 0.4, 1.0])), shared_adapter=draw(st.booleans()),
        satellites_per_step=draw(st.sampled_from([1, 4, 12])), gradient_delay=draw(st.sampled_from([0, 0, 2])),
        micro_batches=draw(st.sampled_from([1, 2, 4])),
    )  # fmt: skip
    resources = Resources(
        beams=draw(st.integers(1, 2)), setup_s=draw(st.sampled_from([0.0, 10.0, 60.0])),
        sunlight=draw(st.sampled_from([None, None, _eclipsed(count, draw(st.floats(0.0, 5400.0)))])),
    )  # fmt: skip
    rates = ComputeRates(
        draw(st.sampled_from([0.5e12, 1e9, 0.05e12])), draw(st.sampled_from([50e12, 1e12])),
        message_s=draw(st.sampled_from([0.0, 0.0, 0.002])),
    )  # fmt: skip
    return BoundCase(
        dataclasses.replace(world, contacts=contacts),
        workload,
        rates,
        resources,
        draw(st.sampled_from([0.0, 3000.0])),
    )


def _eclipsed(satellites: int, first_s: float) -> Sunlight:
    """A third of every 90 minutes in the dark, each satellite some minutes after the one before."""
    orbit, satellite = np.divmod(np.arange(8 * satellites), satellites)
    start_s = first_s + 5400.0 * orbit + 300.0 * satellite
    return Sunlight.between(satellite, start_s, start_s + 1800.0, satellites)
