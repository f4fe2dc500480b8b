"""Rounds flown through outages: nothing crosses what is out, and planning anew is worth it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic_worlds import LADDER, RATES, RESOURCES, make_workload, make_world

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.analysis.compare import compare
from strategies.analysis.mission_totals import Case, World
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import PlanningError
from strategies.problem.planning_problem import PlanningProblem
from strategies.uncertainty.draws import DrawnRounds, draw_facts, draw_rows, fly_draws
from strategies.uncertainty.flight import fly
from strategies.uncertainty.outages import OutageLaw, OutageModel, Outages, Spells

# Three satellites over two stations, a pass of 60 s in every 200 s: a round takes several of them.
WORLD = make_world(
    1, 3, 2, [(turn % 3, turn % 2, 200.0 * turn, 60.0) for turn in range(40)], down_bps=2e6, up_bps=5e5
)
DRAWS, NOTICE_S = 5, 20.0
STATIONS = {WORLD.nodes[node].name: (OutageLaw.constant(0.1, 100.0),) for node in WORLD.stations.tolist()}
MODEL = OutageModel(3, stations=STATIONS, isl=OutageLaw.constant(0.1, 10.0), notice_s=NOTICE_S)


def problem_in(world: ContactPlan, mode: str = "lora", samples: int = 32) -> PlanningProblem:
    return make_problem(world, make_workload(len(world.satellites), samples, mode))


@pytest.fixture(scope="module")
def drawn() -> DrawnRounds:
    return fly_draws(problem_in(WORLD), LADDER["d"], MODEL, DRAWS)


def test_no_byte_crosses_a_link_that_is_out(drawn) -> None:
    interruptions = 0
    for number, flights in enumerate(zip(drawn.replanned, drawn.held_up, strict=True)):
        spells = MODEL.draw(WORLD, number).spells
        for part in (part for flight in flights for part in flight.parts):
            interruptions += part.until_s < part.plan.end_s
            rows = part.plan.activities
            for row in rows[(rows["bytes"] > 0) & (rows["start_s"] < part.until_s)]:
                ends = sorted((int(row["node"]), int(row["peer"])))
                is_sgl = row["link"] in (LinkKind.DOWNLINK, LinkKind.UPLINK)
                for cause in spells.get(ends[1] if is_sgl else tuple(ends), ()):
                    until_s = min(row["end_s"], part.until_s)
                    assert not (
                        (cause.times_s[:, 0] < until_s) & (cause.times_s[:, 1] > row["start_s"])
                    ).any()
    assert interruptions


def test_a_round_with_outages_of_a_tenth_of_the_time_takes_half_as_long_again_at_most_in_the_median(
    drawn,
) -> None:
    found = drawn.to_json()
    assert found["replanned"]["unfinished"] == 0
    assert found["replanned"]["median_s"] <= 1.5 * found["clear_s"]
    assert found["replanned"]["p5_s"] >= found["clear_s"] * (1.0 - 1e-3)  # plans are searched for
    assert found["interruptions"] > 0
    assert found["margin_s"] == found["replanned"]["p95_s"] - found["clear_s"]
    facts = dict(draw_facts(found))
    assert facts["margin that 95 % keep"] in draw_rows([("split", found)])[0].values()


def test_a_clear_sky_changes_nothing(drawn) -> None:
    flown = fly(drawn.plan, problem_in(WORLD), LADDER["d"], Outages({}), notice_s=1.0)
    assert (flown.end_s, flown.interruptions, len(flown.parts)) == (drawn.plan.end_s, 0, 1)


@pytest.mark.parametrize("mode", ["lora", "head"])
def test_a_lonely_station_that_is_out_for_a_while_delays_the_round_by_about_that(mode) -> None:
    world = make_world(1, 3, 1, [(0, 0, 0.0, 9000.0)], down_bps=2e6, up_bps=5e5)
    problem = problem_in(world, mode)
    plan = plan_round(problem, LADDER["d"])
    out = Outages({3: (Spells(np.array([[40.0, 240.0]]), 200.0),)})
    held = fly(plan, problem, LADDER["d"], out, notice_s=None)
    setup_s = problem.resources.setup_s
    # What was in the air counts in whole micro-batches, of 16 samples of 151 kB: 9.7 s at 2 Mbit/s.
    assert plan.end_s + 200.0 - 1e-6 <= held.end_s <= plan.end_s + 200.0 + 2.0 * setup_s + 20.0
    assert held.interruptions == 1


def test_planning_anew_goes_round_a_station_that_is_out() -> None:
    world = make_world(1, 3, 2, [(0, 0, 0.0, 9000.0), (1, 1, 50.0, 9000.0)], down_bps=2e6, up_bps=5e5)
    problem = problem_in(world)
    plan = plan_round(problem, LADDER["d"])
    out = Outages({3: (Spells(np.array([[20.0, 5000.0]]), 5000.0),)})
    anew, held = (fly(plan, problem, LADDER["d"], out, notice_s=after) for after in (5.0, None))
    assert anew.end_s < plan.end_s + 60.0
    assert held.end_s > 5000.0
    used = anew.parts[-1].plan.activities
    assert not ((used["bytes"] > 0) & ((used["node"] == 3) | (used["peer"] == 3))).any()


def test_what_is_back_sooner_than_expected_is_used_again() -> None:
    world = make_world(1, 3, 1, [(0, 0, 0.0, 9000.0)], down_bps=2e6, up_bps=5e5)
    problem = problem_in(world)
    plan = plan_round(problem, LADDER["d"])
    out = Outages({3: (Spells(np.array([[40.0, 100.0]]), 3000.0),)})  # expected to take fifty minutes
    anew = fly(plan, problem, LADDER["d"], out, notice_s=5.0)
    assert len(anew.parts) == 3
    assert anew.end_s < plan.end_s + 200.0


def test_a_station_that_never_comes_back_leaves_the_round_open() -> None:
    world = make_world(1, 2, 1, [(0, 0, 0.0, 9000.0)], down_bps=2e6, up_bps=5e5)
    problem = problem_in(world)
    plan = plan_round(problem, LADDER["d"])
    out = Outages({2: (Spells(np.array([[20.0, world.horizon_s]]), 1e5),)})
    for notice_s in (5.0, None):
        assert math.isinf(fly(plan, problem, LADDER["d"], out, notice_s=notice_s).end_s)


def test_rounds_that_cannot_be_taken_up_in_the_middle_are_refused() -> None:
    problem = problem_in(WORLD, "onboard-lora", samples=16)
    plan = plan_round(problem, LADDER["e"])
    with pytest.raises(PlanningError, match="head and lora"):
        fly(plan, problem, LADDER["e"], Outages({}), notice_s=1.0)


def test_a_comparison_flies_the_split_and_not_what_trains_on_board() -> None:
    cases = tuple(
        Case(name, name, workloads=(make_workload(3, 16, mode),), strategy_config=LADDER["d"])
        for name, mode in (("split", "lora"), ("onboard-lora", "onboard-lora"))
    )
    world = World(WORLD, cases, rates=RATES, resources=RESOURCES, outages=MODEL)
    found = {case["name"]: case for case in compare(world, [0.0], draws=1)["cases"]}
    assert found["split"]["draws"]["draws"] == 1
    assert found["split"]["draws"]["clear_s"] == pytest.approx(found["split"]["median_s"])
    assert "draws" not in found["onboard-lora"]
