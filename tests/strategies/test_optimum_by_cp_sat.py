"""Small instances solved to optimality by CP-SAT, a model of its own: bound ≤ optimum ≤ plan, and how far apart."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_worlds import LADDER, make_workload, make_world

from orbit.contact_plan import ContactPlan
from strategies.bound import lower_bound_s
from strategies.network import passes_of
from strategies.planner import plan_round
from strategies.workload import ComputeRates, Resources

cp_model = pytest.importorskip("ortools.sat.python.cp_model", reason="OR-Tools holds the optimum")

FAST = ComputeRates(1e18, 1e18)  # nothing but the links takes time
SETUP_S, HORIZON_S = 10, 4000
SESSIONS_OF_A_PASS = 2


def optimum_s(passes: np.ndarray, need_s: list[int]) -> tuple[float, float]:
    """The least makespan in whole seconds: satellite ``k`` needs ``need_s[k]`` seconds of data in its passes.

    A session is an interval inside a pass, set-up first; those of a station, and those of a satellite, do not overlap.
    Returns the makespan found and the one that is proven to be needed.
    """
    model = cp_model.CpModel()
    makespan = model.new_int_var(0, HORIZON_S, "makespan")
    at_station: dict[int, list] = {}
    at_satellite: dict[int, list] = {}
    data: dict[int, list] = {}
    for one in np.repeat(passes, SESSIONS_OF_A_PASS):
        first, last = int(one["start_s"]), int(one["end_s"])
        used = model.new_bool_var("")
        start, end = model.new_int_var(first, last, ""), model.new_int_var(first, last, "")
        length = model.new_int_var(0, last - first, "")
        interval = model.new_optional_interval_var(start, length, end, used, "")
        gain = model.new_int_var(0, last - first - SETUP_S, "")
        model.add(gain <= length - SETUP_S).only_enforce_if(used)
        model.add(gain == 0).only_enforce_if(~used)
        model.add(makespan >= end).only_enforce_if(used)
        at_station.setdefault(int(one["station"]), []).append(interval)
        at_satellite.setdefault(int(one["satellite"]), []).append(interval)
        data.setdefault(int(one["satellite"]), []).append(gain)
    for intervals in (*at_station.values(), *at_satellite.values()):
        model.add_no_overlap(intervals)
    for satellite, seconds in enumerate(need_s):
        model.add(sum(data[satellite]) >= seconds)
    model.minimize(makespan)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.random_seed = 1, 7
    solver.parameters.max_deterministic_time = 1.0
    assert solver.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return solver.objective_value, solver.best_objective_bound


def packing(seed: int) -> tuple[ContactPlan, list[int]]:
    """Satellites that do not see each other, passes that compete for one or two stations, seconds of data for each."""
    rng = np.random.default_rng(seed)
    satellites, stations = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    passes = [
        (
            int(rng.integers(satellites)),
            int(rng.integers(stations)),
            int(rng.integers(900)),
            int(rng.integers(60, 300)),
        )
        for _ in range(int(rng.integers(3, 9)))
    ]
    passes += [(k, k % stations, 1200 + 400 * k, 300) for k in range(satellites)]
    need_s = rng.integers(15, 180, satellites).tolist()
    return make_world(satellites, 1, stations, passes, inter_bps=0, horizon_s=HORIZON_S), need_s


def test_bound_optimum_and_plan_come_in_this_order_and_close_together() -> None:
    gaps = []
    for seed in range(20):
        world, need_s = packing(seed)
        satellites, resources = len(need_s), Resources(setup_s=SETUP_S)
        workload = make_workload(
            satellites, [100 * seconds for seconds in need_s], "downlink", raw_bytes=250e3
        )
        assert workload.c1_bytes * 8.0 * 100 == 200e6  # so that 100 samples take a second
        found_s, proven_s = optimum_s(passes_of(world, 0.0, HORIZON_S), need_s)
        bound_s = lower_bound_s(world, workload, FAST, resources, np.arange(satellites), start_s=0.0)
        plan = plan_round(world, workload, FAST, resources, LADDER["d"], start_s=0.0)
        assert bound_s <= found_s + 0.1
        assert plan.makespan_s >= proven_s - 1.0  # whole seconds
        assert plan.makespan_s <= 1.4 * found_s
        gaps.append(plan.makespan_s / found_s - 1.0)
    assert np.median(gaps) <= 0.03
