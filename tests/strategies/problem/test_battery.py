"""Batteries: levels against closed forms, windows that any plan may use, plans that keep the limit or are refused."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, WORLD, drawn, make_workload, worlds

from mission.orbits import constellation_of
from mission.scenario import ScenarioError, load_scenario
from orbit.contact_plan import ContactPlan
from server_app.planning.round_planner import resources_of
from strategies.checker.capacity import charge_of
from strategies.checker.check import check_plan
from strategies.checker.judged_plan import JudgedPlan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.battery import Battery, levels_j
from strategies.problem.network import NoRouteError, PlanningError
from strategies.problem.plan import Kind
from strategies.problem.power_windows import power_windows
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import PowerDrawn, Resources, StrategyConfig

ORBIT_S, DARK_S, ORBITS = 5700.0, 2100.0, 60
SLOW = dataclasses.replace(RATES, satellite_flops=RATES.satellite_flops / 100.0)


def lit_of(satellites: int, orbits: int = ORBITS) -> Sunlight:
    """The same night at the end of every orbit."""
    begins_s = np.arange(orbits) * ORBIT_S
    return Sunlight((np.column_stack([begins_s, begins_s + ORBIT_S - DARK_S]),) * satellites)


def battery(wh: float, solar_w: float, idle_w: float, *, lowest: float = 0.5, satellites: int = 6) -> Battery:
    capacity_j = 3600.0 * wh
    return Battery(capacity_j, lowest * capacity_j, solar_w=solar_w, idle_w=idle_w, lit=lit_of(satellites))


def long_world() -> ContactPlan:
    return dataclasses.replace(WORLD, horizon_s=ORBITS * ORBIT_S)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0.1, 900.0), st.floats(-50.0, 50.0)), min_size=1, max_size=12),
    st.floats(0.0, 1.0),
)
def test_levels_are_those_of_a_battery_run_step_by_step(stretches, share) -> None:
    capacity_j = 20_000.0
    time_s = np.concatenate([[0.0], np.cumsum([length_s for length_s, _ in stretches])])
    found = levels_j(
        time_s, np.array([watts for _, watts in stretches]), start_j=share * capacity_j, capacity_j=capacity_j
    )
    level_j = share * capacity_j
    for (length_s, watts), now_j in zip(stretches, found[1:], strict=True):
        level_j = min(level_j + length_s * watts, capacity_j)
        assert now_j == pytest.approx(level_j, abs=1e-6)


def test_with_power_to_spare_a_satellite_computes_always_and_the_night_takes_what_it_draws() -> None:
    windows = power_windows(long_world(), battery(40.0, 60.0, 5.0), PowerDrawn(compute_w=20.0), None)
    assert windows.computing.lit_s[0].tolist() == [[0.0, ORBITS * ORBIT_S], [ORBITS * ORBIT_S, math.inf]]
    night_j = 25.0 * DARK_S
    assert windows.level_j[0].min() == pytest.approx(40.0 * 3600.0 - night_j, rel=0.01)


@pytest.mark.parametrize("solar_w", [14.0, 20.0, 30.0])
def test_with_less_a_satellite_computes_for_as_long_as_the_panels_feed_it(solar_w: float) -> None:
    """The energy balance of many orbits: computing = what panels give less what is drawn at all times."""
    held = battery(40.0, solar_w, 4.0)
    windows = power_windows(long_world(), held, PowerDrawn(compute_w=25.0), None)
    computed_s = np.diff(windows.computing.lit_s[0][:-1], axis=1).sum()
    given_j = (solar_w * (ORBIT_S - DARK_S) / ORBIT_S - 4.0) * ORBITS * ORBIT_S
    used_j = held.capacity_j - windows.level_j[0][-1]
    assert 25.0 * computed_s == pytest.approx(given_j + used_j, rel=0.01)
    assert windows.level_j[0].min() >= held.lowest_j - 1e-3


def test_in_sunlight_only_nothing_is_computed_at_night_whatever_the_battery_holds() -> None:
    lit = lit_of(6)
    windows = power_windows(long_world(), battery(400.0, 60.0, 5.0), PowerDrawn(compute_w=20.0), lit)
    assert windows.computing.lit_s[0][:-1].tolist() == lit.lit_s[0].tolist()


def test_a_battery_that_idling_alone_empties_is_one_error() -> None:
    with pytest.raises(
        PlanningError, match=r"power: \S+ needs \d+\.\d Wh at \d+ s .* power\.battery_wh = 10"
    ):
        power_windows(long_world(), battery(10.0, 60.0, 9.0), PowerDrawn(compute_w=20.0), None)


@drawn(6)
@given(worlds(), st.data())
def test_plans_keep_the_limit_of_every_battery_and_are_no_sooner_than_their_bound(case, data) -> None:
    world, workload, resources = case
    count = len(workload.samples)
    mode = data.draw(st.sampled_from(["lora", "head", "onboard-full", "onboard-lora"]))
    rates = dataclasses.replace(RATES, satellite_flops=RATES.satellite_flops / 1000.0)
    workload = make_workload(count, workload.samples, mode)
    held = battery(
        data.draw(st.floats(8.0, 20.0)), data.draw(st.floats(20.0, 60.0)), 2.0, lowest=0.3, satellites=count
    )
    powered = dataclasses.replace(
        resources, buffer_bytes=math.inf, battery=held, drawn=PowerDrawn(25.0, radio_w=3.0, isl_w=0.5)
    )
    problem = make_problem(world, workload, rates=rates, resources=powered)
    strategy_config = StrategyConfig.parse("parallel", "topology-aware", "grid")
    try:
        plan = plan_round(problem, strategy_config)
    except NoRouteError:
        return  # the last pass was over before all had been computed
    except PlanningError as error:
        assert "without computing" in str(error)
        return
    assert check_plan(plan, problem) == []
    assert plan.lower_bound_s <= plan.makespan_s


@pytest.mark.parametrize("mode", ["lora", "onboard-lora"])
def test_a_plan_made_without_regard_to_the_battery_is_refused_and_one_made_with_it_takes_longer(mode) -> None:
    workload = make_workload(6, 200, mode)
    rates = dataclasses.replace(
        RATES, satellite_flops=RATES.satellite_flops / (1000.0 if mode == "lora" else 30.0)
    )
    held = battery(20.0, 12.0, 2.0, lowest=0.97)
    held = dataclasses.replace(held, lit=Sunlight((np.array([[500.0, np.inf]]),) * 6))
    limited = Resources(battery=held, drawn=PowerDrawn(compute_w=25.0))
    problem = make_problem(WORLD, workload, rates=rates, resources=limited)
    careless = plan_round(make_problem(WORLD, workload, rates=rates), LADDER["d"])
    assert "compute" in {violation.rule for violation in check_plan(careless, problem)}
    plan = plan_round(problem, LADDER["d"])
    assert check_plan(plan, problem) == []
    assert plan.makespan_s > careless.makespan_s


def test_a_plan_that_sends_more_than_contacts_carry_is_refused_for_the_battery_too() -> None:
    workload = make_workload(6, 200, "lora")
    limited = Resources(battery=battery(20.0, 12.0, 0.5), drawn=PowerDrawn(25.0, radio_w=30.0))
    problem = make_problem(WORLD, workload, rates=SLOW, resources=limited)
    plan = plan_round(problem, LADDER["b"])
    assert check_plan(plan, problem) == []
    rows = plan.activities.copy()
    rows["bytes"][rows["kind"] == Kind.FEATURES] *= 1e4
    louder = dataclasses.replace(plan, activities=rows, end_s=5000.0)
    found = [str(one) for one in check_plan(louder, problem)]
    assert any(
        re.match(r"battery: \S+ is down to -?\d+\.\d+ Wh at \d+ s, allowed are 10\.000", one) for one in found
    )


@pytest.mark.parametrize("mode", ["lora", "onboard-lora"])
def test_the_charge_over_a_round_is_that_of_an_integration_second_by_second(mode) -> None:
    workload = make_workload(6, 200, mode)
    rates = dataclasses.replace(
        RATES, satellite_flops=RATES.satellite_flops / (1000.0 if mode == "lora" else 30.0)
    )
    held, drawn_w = battery(20.0, 12.0, 2.0, lowest=0.6), PowerDrawn(25.0, radio_w=4.0, isl_w=1.0)
    problem = make_problem(WORLD, workload, rates=rates, resources=Resources(battery=held, drawn=drawn_w))
    plan = plan_round(problem, LADDER["d"])
    found = charge_of(JudgedPlan(plan, problem), 2)
    rows = plan.activities[plan.activities["node"] == 2]
    computes = rows[np.isin(rows["kind"], (Kind.EMBED, Kind.TRAIN))]
    contacts = WORLD.contacts
    left_s = computes["flops"] / rates.satellite_flops
    sends = rows[rows["bytes"] > 0]
    sent_s = np.array(
        [
            8.0
            * row["bytes"]
            / contacts["rate_bps"][
                (contacts["source"] == 2)
                & (contacts["target"] == row["peer"])
                & (contacts["kind"] == row["link"])
            ][0]
            for row in sends
        ]
    )
    windows = power_windows(WORLD, held, drawn_w, None).computing.lit_s[2]
    step_s, level_j, computing_s = 0.5, held.capacity_j, 0.0
    for time_s in np.arange(0.0, plan.end_s, step_s):
        powered = bool(((windows[:, 0] <= time_s) & (time_s < windows[:, 1])).any())
        busy = powered and computing_s < left_s[computes["start_s"] <= time_s].sum() - step_s / 2
        computing_s += step_s * busy
        lit = time_s % ORBIT_S < ORBIT_S - DARK_S
        level_j = min(level_j + step_s * (12.0 * lit - 2.0 - 25.0 * busy), held.capacity_j)
    radio = np.isin(sends["peer"], WORLD.stations)
    # What is sent counts at the end: the battery is not full again before.
    assert level_j < held.capacity_j - 1.0
    level_j -= 4.0 * sent_s[radio].sum() + 1.0 * sent_s[~radio].sum()
    assert found.level_j[-1] == pytest.approx(level_j, rel=0.01)
    assert found.drawn_j == pytest.approx(
        25.0 * computing_s + 4.0 * sent_s[radio].sum() + sent_s[~radio].sum(), rel=0.01
    )


def test_a_scenario_says_what_its_batteries_are() -> None:
    power = {"battery_wh": 40.0, "lowest_charge": 0.6, "solar_w": 30.0, "idle_w": 5.0, "compute_w": 20.0}
    scenario = load_scenario("demo", {f"power.{key}": value for key, value in power.items()})
    held = resources_of(scenario).battery
    assert held is not None
    assert (held.capacity_j, held.lowest_j, held.solar_w, held.idle_w) == (144_000.0, 86_400.0, 30.0, 5.0)
    assert len(held.lit.lit_s) == len(constellation_of(scenario))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"battery_wh": 40.0, "compute_w": 20.0},
            r"power\.solar_w: found 0 with battery_wh = 40; needed to charge",
        ),
        (
            {"battery_wh": 40.0, "solar_w": 20.0},
            r"power\.compute_w: found 0 with battery_wh = 40; needed to plan",
        ),
        ({"idle_w": 5.0}, r"power\.battery_wh: found 0 beside solar_w or idle_w"),
        ({"lowest_charge": 1.0}, r"power\.lowest_charge: found 1\.0, allowed: less than 1"),
    ],
)
def test_half_a_battery_is_one_error(keys, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario("demo", {f"power.{key}": value for key, value in keys.items()})
