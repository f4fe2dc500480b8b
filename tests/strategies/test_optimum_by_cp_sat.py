"""Small instances solved to optimality by CP-SAT, a model of its own: bound ≤ optimum ≤ plan, and how far
apart.

``python tests/strategies/test_optimum_by_cp_sat.py [WORLDS]`` prints every instance and the distribution.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from synthetic_worlds import LADDER, make_workload, make_world

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.bound.lower_bound import RoundBounds
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import passes_of
from strategies.problem.workload import ComputeRates, Resources, Workload

cp_model = pytest.importorskip("ortools.sat.python.cp_model", reason="OR-Tools holds the optimum")

FAST = ComputeRates(1e18, 1e18)  # nothing but the links takes time
HORIZON_S = 6000
SESSIONS_OF_A_PASS = 2
FEATURE_BITS, ANSWER_BITS = (
    2_000_000,
    200_000,
)  # 100 samples a second over 200 Mbit/s, 10 a second over 2 Mbit/s


@dataclass(frozen=True, eq=False)
class Instance:
    """Satellites that do not see each other, passes that compete for stations with rates of their own."""

    contact_plan: ContactPlan
    workload: Workload
    setup_s: int

    @property
    def down(self) -> bool:
        """Whether features (or images) come down."""
        return self.workload.down_bytes > 0

    @property
    def up(self) -> bool:
        """Whether answers go up."""
        return self.workload.up_bytes > 0


def instance(seed: int) -> Instance:
    """Images down alone, features down and answers up, or answers up alone; set-up of 0 to 120 s."""
    rng = np.random.default_rng(seed)
    satellites, stations = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    passes = [
        (
            int(rng.integers(satellites)),
            int(rng.integers(stations)),
            int(rng.integers(1200)),
            int(rng.integers(120, 500)),
        )
        for _ in range(int(rng.integers(4, 9)))
    ]
    passes += [(k, g, 1300 + 150 * k + 100 * g, 800) for k in range(satellites) for g in range(stations)]
    passes += [(k, k % stations, 3000, 3000) for k in range(satellites)]
    world = make_world(satellites, 1, stations, passes, inter_bps=0, horizon_s=HORIZON_S)
    contacts = world.contacts.copy()
    down_bps = rng.choice([200e6, 100e6, 50e6, 20e6], stations)
    up_bps = rng.choice([20e6, 20e6, 10e6, 2e6], stations)
    for kind, end, rate_bps in ((LinkKind.DOWNLINK, "target", down_bps), (LinkKind.UPLINK, "source", up_bps)):
        mine = contacts["kind"] == kind
        contacts["rate_bps"][mine] = rate_bps[contacts[end][mine] - satellites]
    samples = rng.integers(300, 3000, satellites).tolist()
    features = dict(tokens=250, hidden=1000, feature_bits=8.0, hidden_bits=200.0, head_bytes=0.0)  # noqa: C408
    workload = (
        make_workload(satellites, samples, "downlink", raw_bytes=FEATURE_BITS / 8),
        make_workload(satellites, samples, "head", **features),
        make_workload(satellites, samples, "head", cached_fraction=1.0, **features),
    )[seed % 3]
    return Instance(
        dataclasses.replace(world, contacts=contacts), workload, int((0, 10, 60, 120)[int(rng.integers(4))])
    )


def optimum_s(case: Instance) -> tuple[float, float]:
    """The least makespan in whole seconds, as found and as proven to be needed.

    A session is an interval inside a pass, set-up first; those of a station, and those of a satellite, do not
    overlap.  In what is left of a session features come down and answers go up at the rates of its station.
    That an answer follows its feature is left out, so that what is needed here is needed all the more in a
    plan.
    """
    model = cp_model.CpModel()
    makespan = model.new_int_var(0, HORIZON_S, "makespan")
    at_station: dict[int, list] = {}
    at_satellite: dict[int, list] = {}
    received: dict[int, list] = {}
    answered: dict[int, list] = {}
    passes = passes_of(case.contact_plan, 0.0, HORIZON_S)
    for one in np.repeat(passes, SESSIONS_OF_A_PASS):
        first, last, satellite = int(one["start_s"]), int(one["end_s"]), int(one["satellite"])
        used = model.new_bool_var("")
        start, end = model.new_int_var(first, last, ""), model.new_int_var(first, last, "")
        length = model.new_int_var(0, last - first, "")
        interval = model.new_optional_interval_var(start, length, end, used, "")
        data = model.new_int_var(0, last - first, "")
        model.add(data <= length - case.setup_s).only_enforce_if(used)
        model.add(data == 0).only_enforce_if(~used)
        model.add(makespan >= end).only_enforce_if(used)
        at_station.setdefault(int(one["station"]), []).append(interval)
        at_satellite.setdefault(satellite, []).append(interval)
        received.setdefault(satellite, []).append(int(one["down_bps"]) // FEATURE_BITS * data)
        answered.setdefault(satellite, []).append(int(one["up_bps"]) // ANSWER_BITS * data)
    for intervals in (*at_station.values(), *at_satellite.values()):
        model.add_no_overlap(intervals)
    for satellite, count in enumerate(case.workload.samples):
        if case.down:
            model.add(sum(received[satellite]) >= count)
        if case.up:
            model.add(sum(answered[satellite]) >= count)
    model.minimize(makespan)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.random_seed = 1, 7
    solver.parameters.max_deterministic_time = 0.5
    assert solver.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return solver.objective_value, solver.best_objective_bound


def compared(seed: int) -> tuple[float, float, float, float]:
    """Bound, optimum as proven and as found, and plan, in seconds."""
    case = instance(seed)
    satellites, resources = len(case.workload.samples), Resources(setup_s=case.setup_s)
    found_s, proven_s = optimum_s(case)
    problem = make_problem(case.contact_plan, case.workload, rates=FAST, resources=resources)
    bound_s = RoundBounds(problem).lower_bound_s(np.arange(satellites))
    plan = plan_round(problem, LADDER["d"])
    return bound_s, proven_s, found_s, plan.makespan_s


@pytest.mark.parametrize(
    "seeds",
    [range(6), *(pytest.param(range(k, k + 18), marks=pytest.mark.slow) for k in range(6, 60, 18))],
    ids=str,
)
def test_bound_optimum_and_plan_come_in_this_order_and_close_together(seeds: range) -> None:
    above_bound, above_optimum = [], []
    for seed in seeds:
        bound_s, proven_s, found_s, plan_s = compared(seed)
        assert bound_s <= found_s + 0.5, seed  # answers of the last second still fly
        assert plan_s >= proven_s - 1.0, seed  # whole seconds
        above_bound.append(found_s / bound_s - 1.0)
        above_optimum.append(plan_s / found_s - 1.0)
    assert np.median(above_bound) <= 0.02
    assert np.median(above_optimum) <= 0.03
    assert max(above_optimum) <= 0.4


def _print(worlds: int) -> None:
    rows = []
    for seed in range(worlds):
        rows.append(compared(seed))
        kind = ("images", "both", "answers")[seed % 3]
        print(f"{seed:3d} {kind:8s}", *(f"{value:9.1f}" for value in rows[-1]), flush=True)
    bound_s, proven_s, found_s, plan_s = np.array(rows).T
    for name, gap in (
        ("optimum over bound", found_s / bound_s - 1.0),
        ("plan over optimum", plan_s / found_s - 1.0),
    ):
        print(
            f"{name}: median {100 * np.median(gap):.2f} %, 90th percentile {100 * np.quantile(gap, 0.9):.2f} %, "
            f"worst {100 * gap.max():.2f} % (world {int(np.argmax(gap))})"
        )
    print(f"proven optimal: {int(np.sum(proven_s >= found_s))} of {worlds}")


if __name__ == "__main__":
    _print(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
