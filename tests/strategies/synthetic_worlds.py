"""Small synthetic contact plans for tests: those of the benchmark, and drawn by hypothesis."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from benchmarks.planner_worlds import (
    EPOCH,
    HORIZON_S,
    LADDER,
    RATES,
    RESOURCES,
    WORLD,
    make_workload,
    make_world,
)
from orbit.contact_plan import ContactPlan
from strategies.problem.workload import Resources, Workload

__all__ = [
    "EPOCH",
    "HORIZON_S",
    "LADDER",
    "RATES",
    "RESOURCES",
    "WORLD",
    "drawn",
    "make_workload",
    "make_world",
    "shells",
    "worlds",
]


def drawn(max_examples: int) -> settings:
    """Settings of a test over drawn worlds, without shrinking: a plan takes a second, and a world is small as it is."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def shells(draw: st.DrawFn) -> tuple[int, int, int, list[tuple[int, int, float, float]]]:
    """Planes, satellites of each, stations, and a few passes: satellite, station, start and length in seconds."""
    planes, slots, stations = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    one_pass = st.tuples(
        st.integers(0, planes * slots - 1),
        st.integers(0, stations - 1),
        st.floats(0.0, 4000.0),
        st.floats(30.0, 500.0),
    )
    return planes, slots, stations, draw(st.lists(one_pass, min_size=0, max_size=12))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[ContactPlan, Workload, Resources]:
    """A constellation that always gets through: every satellite has late passes, besides the drawn ones."""
    planes, slots, stations, passes = draw(shells())
    count = planes * slots
    passes += [
        (k, (k + turn) % stations, 8000.0 + 700.0 * (turn * count + k), 400.0)
        for turn in range(3)  # the last one brings the average back
        for k in range(count)
    ]
    samples = draw(st.lists(st.integers(0, 200), min_size=count, max_size=count))
    samples[draw(st.integers(0, count - 1))] = draw(st.integers(1, 200))
    world = make_world(
        planes, slots, stations, passes, ring=draw(st.booleans()), isl_bps=draw(st.sampled_from([5e7, 1e9]))
    )
    workload = make_workload(
        count, samples,
        mode=draw(st.sampled_from(["lora", "head"])), epochs=draw(st.sampled_from([1, 1, 2])),
        returned_tokens=draw(st.sampled_from([1, 1, 197])),
        cached_fraction=draw(st.sampled_from([0.0, 0.0, 0.4, 1.0])),
    )  # fmt: skip
    tight_bytes = 8.0 * workload.micro_batch * workload.c1_bytes
    resources = Resources(
        beams=draw(st.integers(1, 2)), setup_s=draw(st.sampled_from([0.0, 10.0, 40.0])),
        buffer_bytes=draw(st.sampled_from([math.inf, tight_bytes])),
    )  # fmt: skip
    return world, workload, resources
