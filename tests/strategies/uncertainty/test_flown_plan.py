"""A round that outages interrupt, as one plan: each step once, in the order in which it was taken."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_worlds import LADDER, make_workload, make_world

from orbit.contact_plan import LinkKind
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.planner.step_order import Schedule
from strategies.problem.network import NoRouteError
from strategies.uncertainty.flight import fly
from strategies.uncertainty.flown_plan import flown_plan
from strategies.uncertainty.outages import OutageLaw, OutageModel, Outages, Spells

# Three satellites over two stations, a pass of 60 s in every 200 s.
WORLD = make_world(
    1, 3, 2, [(turn % 3, turn % 2, 200.0 * turn, 60.0) for turn in range(40)], down_bps=2e6, up_bps=5e5
)
STATIONS = {WORLD.nodes[node].name: (OutageLaw.constant(0.1, 100.0),) for node in WORLD.stations.tolist()}
MODEL = OutageModel(3, stations=STATIONS, isl=OutageLaw.constant(0.1, 10.0), notice_s=20.0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("number", [0, 2, 3])
def test_each_step_is_taken_once_in_order_and_the_round_ends_as_flown(number: int, shared: bool) -> None:
    workload = make_workload(3, 40, "lora", epochs=2, shared_adapter=shared)
    problem = make_problem(WORLD, workload)
    clear = plan_round(problem, LADDER["d"])
    flown = fly(clear, problem, LADDER["d"], MODEL.draw(WORLD, number), notice_s=20.0)
    assert flown.interruptions
    plan = flown_plan(flown)
    assert (plan.start_s, plan.end_s) == (clear.start_s, flown.end_s)
    assert plan.lower_bound_s == clear.lower_bound_s <= plan.makespan_s
    satellites = [plan.names[satellite] for satellite in range(3)]
    schedule = Schedule.of(plan, satellites)  # refuses steps that are missing, twice there, or out of order
    assert schedule.steps_of == dict.fromkeys(schedule.steps_of, 6)
    assert len(schedule.steps_of) == 3
    assert (plan.activities["end_s"] <= flown.end_s + 1e-6).all()
    # What was cut has crossed in part; what is sent again adds to it.
    down = [
        plan_.activities["bytes"][plan_.activities["link"] == LinkKind.DOWNLINK].sum()
        for plan_ in (clear, plan)
    ]
    assert down[1] >= down[0] * (1.0 - 1e-6)


def test_a_round_that_nothing_interrupts_is_its_plan() -> None:
    problem = make_problem(WORLD, make_workload(3, 32))
    clear = plan_round(problem, LADDER["d"])
    assert flown_plan(fly(clear, problem, LADDER["d"], Outages({}), notice_s=1.0)) is clear


def test_a_round_that_does_not_end_is_one_error() -> None:
    world = make_world(1, 2, 1, [(0, 0, 0.0, 9000.0)], down_bps=2e6, up_bps=5e5)
    problem = make_problem(world, make_workload(2, 32))
    clear = plan_round(problem, LADDER["d"])
    out = Outages({2: (Spells(np.array([[20.0, world.horizon_s]]), 1e5),)})
    with pytest.raises(NoRouteError, match="does not end before the horizon: outages have interrupted it"):
        flown_plan(fly(clear, problem, LADDER["d"], out, notice_s=5.0))
