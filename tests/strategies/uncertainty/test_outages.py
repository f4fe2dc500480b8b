"""Outages: drawn as their laws say, each on its own, and met by whoever wants the link."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_worlds import WORLD, drawn, make_world

from mission.scenario import load_scenario
from orbit.contact_plan import LinkKind
from server_app.planning.uncertainty import outage_model_of
from strategies.problem.plan import Kind, activities
from strategies.uncertainty.outages import OutageLaw, OutageModel, Outages, Spells

LONG_S = 4e7
STATIONS = [int(node) for node in WORLD.stations]
NAMES = [WORLD.nodes[node].name for node in STATIONS]


def length_s(spells: np.ndarray) -> float:
    return float((spells[:, 1] - spells[:, 0]).sum())


@pytest.mark.parametrize(("part", "mean_s"), [(0.1, 600.0), (0.5, 3600.0), (0.02, 60.0)])
def test_the_part_that_is_out_and_the_length_of_a_spell_are_those_of_the_law(part, mean_s) -> None:
    spells = OutageLaw.constant(part, mean_s).draw(np.random.default_rng(1), LONG_S)
    assert length_s(spells) / LONG_S == pytest.approx(part, rel=0.05)
    lengths_s = spells[:, 1] - spells[:, 0]
    assert lengths_s.mean() == pytest.approx(mean_s, rel=0.05)
    assert lengths_s.std() == pytest.approx(mean_s, rel=0.07)  # of exponential lengths


def test_each_month_has_its_own_part() -> None:
    law = OutageLaw(((LONG_S / 4, 0.3), (LONG_S / 2, 0.0), (math.inf, 0.05)), 900.0)
    spells = law.draw(np.random.default_rng(2), LONG_S)
    parts = [
        length_s(np.clip(spells, begin, end)) / (end - begin)
        for begin, end in ((0.0, LONG_S / 4), (LONG_S / 4, LONG_S / 2), (LONG_S / 2, LONG_S))
    ]
    assert parts[0] == pytest.approx(0.3, rel=0.05)
    assert parts[1] < 1e-3  # the spell that began before may last into it
    assert parts[2] == pytest.approx(0.05, rel=0.07)


@drawn(60)
@given(st.floats(0.0, 0.95), st.floats(50.0, 1e5), st.integers(0, 99))
def test_spells_are_apart_in_order_and_inside_the_horizon(part, mean_s, seed) -> None:
    spells = OutageLaw.constant(part, mean_s).draw(np.random.default_rng(seed), 1e4)
    edges_s = spells.ravel()
    assert (np.diff(edges_s) >= 0.0).all()
    assert ((edges_s >= 0.0) & (edges_s <= 1e4)).all()
    assert len(spells) == 0 or part > 0.0


def test_one_more_station_is_no_other_weather_for_the_rest() -> None:
    law = OutageLaw.constant(0.2, 500.0)
    wider = make_world(2, 3, 3, [(k, k % 3, 100.0 * k, 60.0) for k in range(6)])
    more = [wider.nodes[int(node)].name for node in wider.stations]
    few = OutageModel(5, stations=dict.fromkeys(NAMES, (law,))).draw(WORLD, 3)
    many = OutageModel(5, stations=dict.fromkeys(more, (law,))).draw(wider, 3)
    for name in NAMES:
        here, there = few.spells[WORLD.index(name)], many.spells[wider.index(name)]
        assert np.array_equal(here[0].times_s, there[0].times_s)
    other = OutageModel(5, stations=dict.fromkeys(NAMES, (law,))).draw(WORLD, 4)
    assert not np.array_equal(
        few.spells[STATIONS[0]][0].times_s[:5], other.spells[STATIONS[0]][0].times_s[:5]
    )


def test_both_ways_of_a_link_between_satellites_fail_together_and_links_by_themselves() -> None:
    outages = OutageModel(5, isl=OutageLaw.constant(0.2, 500.0)).draw(WORLD, 0)
    assert all(isinstance(pair, tuple) and pair[0] < pair[1] for pair in outages.spells)
    first, second, *_ = (one[0].times_s for one in outages.spells.values())
    assert not np.array_equal(first[:3], second[:3])
    rows = activities(2, kind=Kind.FEATURES, link=LinkKind.INTRA_ISL, bytes=1.0, start_s=0.0, end_s=1e4)
    (low, high), *_ = outages.spells
    rows["node"], rows["peer"] = (low, high), (high, low)
    met_s = outages.first_met_s(rows)
    assert met_s[0] == met_s[1] < math.inf


@drawn(60)
@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=6), st.data())
def test_the_first_outage_that_is_met_is_the_one_that_looking_at_all_of_them_finds(lengths, data) -> None:
    edges_s = np.cumsum([length + 1.0 for length in lengths + lengths])
    times_s = edges_s.reshape(-1, 2)
    start_s = data.draw(st.floats(0.0, float(edges_s[-1]) + 5.0))
    end_s = start_s + data.draw(st.floats(0.1, 300.0))
    expected_s = min(
        (max(begin, start_s) for begin, over in times_s.tolist() if begin < end_s and over > start_s),
        default=math.inf,
    )
    spells = Spells(times_s, 10.0)
    assert spells.first_during(np.array([start_s]), np.array([end_s]))[0] == expected_s


def test_what_is_out_is_expected_to_stay_so_for_its_mean_length_and_nothing_else_changes() -> None:
    station = STATIONS[0]
    outages = Outages({station: (Spells(np.array([[100.0, 9000.0]]), 250.0),)})
    contacts = outages.as_expected(WORLD, 150.0).contacts
    there = (contacts["source"] == station) | (contacts["target"] == station)
    later = contacts[there & (contacts["end_s"] > 150.0)]  # of passes at 0 to 300, 200 to 500, 400 to 700 s …
    assert later["start_s"].min() == 400.0
    before = WORLD.contacts[(WORLD.contacts["source"] != station) & (WORLD.contacts["target"] != station)]
    assert contacts[~there].tobytes() == before.tobytes()  # NaN among them
    assert outages.as_expected(WORLD, 99.0) is WORLD
    assert outages.over_s(station, 150.0) == 9000.0


def test_causes_that_follow_each_other_are_one_outage() -> None:
    spells = (Spells(np.array([[0.0, 10.0], [20.0, 30.0]]), 1.0), Spells(np.array([[5.0, 20.0]]), 1.0))
    outages = Outages({STATIONS[0]: spells})
    assert outages.over_s(STATIONS[0], 3.0) == 30.0
    assert outages.stands(STATIONS[0], 30.0, 40.0)
    assert not outages.stands(STATIONS[0], 3.0, 3.0)


def test_a_scenario_gives_the_weather_of_each_month_by_utc() -> None:
    year = [round(0.01 * month, 2) for month in range(12)]
    station = f'{{name = "A", lat_deg = 0.0, lon_deg = 0.0, blocked_by_month = {year}}}'
    scenario = load_scenario(
        "demo", {"ground.stations": f"[{station}]", "epoch": "2026-02-26T12:00:00Z", "horizon_h": 80.0}
    )
    weather = outage_model_of(scenario).stations["A"][1]
    march_s = (datetime(2026, 3, 1, tzinfo=UTC) - scenario.epoch).total_seconds()
    assert weather.parts == ((march_s, 0.01), (math.inf, 0.02))


def test_a_scenario_in_which_nothing_fails_has_no_draws() -> None:
    with pytest.raises(ValueError, match=r"found no outages in demo.*uncertainty\.station_outage"):
        outage_model_of(load_scenario("demo"))
