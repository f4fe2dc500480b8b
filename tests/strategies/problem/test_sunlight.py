"""Satellites that compute in sunlight only: pauses in the dark, in every mode, seen by the checker."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import LADDER, RATES, WORLD, drawn, make_workload, worlds

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from orbit.contact_plan import LinkKind
from orbit.search.eclipse import ECLIPSE
from orbit.sunlit_links import downlinks_in_sunlight
from server_app.planning.round_planner import RoundPlanner
from splitmodel.costs.published import published
from strategies.checker.check import check_plan
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import Resources, StrategyConfig

dark_times = st.lists(st.tuples(st.floats(0.0, 9000.0), st.floats(1.0, 2200.0)), max_size=5)


def sunlight(eclipses: dict[int, list[tuple[float, float]]], satellites: int) -> Sunlight:
    """``eclipses`` as (start, length); of those that overlap the later begins when the earlier ends."""
    rows, until_s = [], {}
    for satellite in sorted(eclipses):
        for start_s, length_s in sorted(eclipses[satellite]):
            start_s = max(start_s, until_s.get(satellite, 0.0))
            until_s[satellite] = start_s + length_s
            rows.append((satellite, start_s, start_s + length_s))
    table = np.array(rows).reshape(-1, 3)
    return Sunlight.between(table[:, 0].astype(int), table[:, 1], table[:, 2], satellites)


@given(dark_times, st.floats(0.0, 10_000.0), st.floats(0.0, 4000.0))
def test_work_takes_as_much_sunlight_as_it_needs_and_never_ends_in_the_dark(
    eclipses, start_s, work_s
) -> None:
    lit = sunlight({0: eclipses}, 1)
    end_s = lit.finished_s(0, start_s, work_s)
    intervals = lit.lit_s[0]
    seconds = np.clip(end_s, *intervals.T) - np.clip(start_s, *intervals.T)
    assert seconds.sum() == pytest.approx(work_s, abs=1e-6)
    if work_s:
        assert ((intervals[:, 0] < end_s + 1e-9) & (end_s <= intervals[:, 1] + 1e-9)).any()


@drawn(10)
@given(worlds(), st.data())
def test_every_plan_computes_in_sunlight_only_and_is_no_sooner_than_without_eclipses(case, data) -> None:
    world, workload, resources = case
    count = len(workload.samples)
    lit = sunlight({k: data.draw(dark_times) for k in range(count)}, count)
    mode = data.draw(st.sampled_from(["lora", "head", "onboard-full", "onboard-lora"]))
    strategy_config = StrategyConfig.parse(
        data.draw(st.sampled_from(["none", "parallel", "all-gather"])),
        data.draw(st.sampled_from(["own-window", "topology-aware"])),
        data.draw(st.sampled_from(["none", "grid"])),
    )
    # A ViT's embedding on a small computer: 200 images take 280 s, training them on board hours.
    rates = dataclasses.replace(RATES, satellite_flops=RATES.satellite_flops / 1000.0)
    workload = make_workload(
        count, workload.samples, mode, onboard_share=mode == "lora" and data.draw(st.booleans())
    )
    powered = dataclasses.replace(resources, buffer_bytes=float("inf"), sunlight=lit)
    always = dataclasses.replace(powered, sunlight=None)
    try:
        plan = plan_round(make_problem(world, workload, rates=rates, resources=powered), strategy_config)
    except NoRouteError:
        # The last pass was over before all had been embedded, or trained.
        embed_s = np.array(workload.samples) * (workload.embedding_flops or workload.onboard_flops)
        ready_s = [lit.finished_s(k, 0.0, one / rates.satellite_flops) for k, one in enumerate(embed_s)]
        assert max(ready_s) > 8000.0
        return
    assert check_plan(plan, make_problem(world, workload, rates=rates, resources=powered)) == []
    assert plan.lower_bound_s <= plan.makespan_s
    trained = plan.of_kind(Kind.EMBED, Kind.TRAIN)
    if len(trained) and mode.startswith("onboard"):
        free = plan_round(make_problem(world, workload, rates=rates, resources=always), strategy_config)
        assert free.makespan_s <= plan.makespan_s + 1e-6


def test_a_satellite_in_the_dark_is_waited_for_and_the_others_send_first() -> None:
    workload = make_workload(6, 200)
    rates = dataclasses.replace(RATES, satellite_flops=RATES.satellite_flops / 100.0)
    lit = sunlight({0: [(0.0, 1500.0)]}, 6)
    powered = Resources(sunlight=lit)
    plan = plan_round(make_problem(WORLD, workload, rates=rates, resources=powered), LADDER["d"])
    assert check_plan(plan, make_problem(WORLD, workload, rates=rates, resources=powered)) == []
    sent = plan.of_kind(Kind.FEATURES)
    assert sent["start_s"][sent["satellite"] == 0].min() >= 1500.0
    assert sent["end_s"][sent["satellite"] != 0].max() < 1500.0


@pytest.mark.parametrize("mode", ["lora", "onboard-lora"])
def test_a_plan_made_for_satellites_with_power_at_any_time_is_refused_in_the_dark(mode) -> None:
    workload = make_workload(6, 200, mode)
    rates = dataclasses.replace(RATES, satellite_flops=RATES.satellite_flops / 100.0)
    plan = plan_round(make_problem(WORLD, workload, rates=rates), LADDER["d"])
    kind = Kind.TRAIN if mode == "onboard-lora" else Kind.EMBED
    row = plan.of_kind(kind)[0]
    dark = sunlight({int(row["node"]): [(float(row["start_s"]), float(row["end_s"] - row["start_s"]))]}, 6)
    found = check_plan(plan, make_problem(WORLD, workload, rates=rates, resources=Resources(sunlight=dark)))
    assert "compute" in {violation.rule for violation in found}


def test_who_is_in_the_dark_for_ever_cannot_take_part() -> None:
    resources = Resources(sunlight=sunlight({2: [(0.0, 1e9)]}, 6))
    with pytest.raises(NoRouteError):
        plan_round(make_problem(WORLD, make_workload(6, 200), resources=resources), LADDER["d"])


def test_downlinks_in_sunlight_are_what_eclipses_leave_of_each_contact() -> None:
    contact_plan, horizon_s = WORLD, WORLD.horizon_s
    rng = np.random.default_rng(3)
    starts_s = np.sort(rng.uniform(0.0, 8000.0, (6, 8)))
    eclipses = np.zeros(6 * 8 + 2, ECLIPSE)
    eclipses["satellite"] = [*np.repeat(np.arange(6), 8), 0, 5]
    eclipses["start_s"] = [*starts_s.ravel(), horizon_s - 50.0, horizon_s - 50.0]
    ends_s = np.minimum(starts_s + rng.uniform(5.0, 400.0, (6, 8)), np.roll(starts_s, -1, axis=1))
    ends_s[:, -1] = starts_s[:, -1] + 300.0
    eclipses["end_s"] = [*ends_s.ravel(), horizon_s, horizon_s]
    eclipses = np.sort(eclipses, order=["satellite", "start_s"])
    lit = downlinks_in_sunlight(contact_plan, eclipses)
    time_s = np.linspace(0.0, 9000.0, 20_011)
    for satellite in range(6):
        dark = eclipses[eclipses["satellite"] == satellite]
        in_dark = ((dark["start_s"] <= time_s[:, None]) & (time_s[:, None] < dark["end_s"])).any(axis=1)
        for station in (6, 7):

            def open_at(plan, source=satellite, target=station) -> np.ndarray:
                one = plan.between(source, target)
                return ((one["start_s"] <= time_s[:, None]) & (time_s[:, None] < one["end_s"])).any(axis=1)

            np.testing.assert_array_equal(open_at(lit), open_at(contact_plan) & ~in_dark)
    others = [LinkKind.UPLINK, LinkKind.INTRA_ISL, LinkKind.INTER_ISL]
    assert lit.of_kind(*others).tobytes() == contact_plan.of_kind(*others).tobytes()


def test_a_scenario_that_saves_power_is_planned_later_in_the_light_of_its_own_eclipses() -> None:
    small = {
        "constellation.satellites": 12, "constellation.planes": 2, "constellation.altitude_km": 1150.0,
        "horizon_h": 12.0, "planning.profile": "Prithvi-EO-2.0-300M (T1)", "compute.satellite_tflops": 0.001,
    }  # fmt: skip
    ends_s = {}
    for power in ("always", "sunlight"):
        settings = small | {"power.compute": power, "power.downlink": power}
        scenario = load_scenario("paper", settings)
        contacts = contact_plan_of(scenario, constellation_of(scenario))
        costs = published(scenario.planning.profile)
        planner = RoundPlanner(
            scenario, contacts, costs=costs, samples=[64] * 12
        )  # which has every plan checked
        ends_s[power] = planner(1, 0.0).end_s
    assert ends_s["always"] < ends_s["sunlight"]
