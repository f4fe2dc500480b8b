"""What a scenario says about orbits, stations and links is what flight dynamics is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

from mission.orbits import constellation_of, contact_plan_of, links_of, stations_of
from mission.scenario import ScenarioError, load_scenario
from orbit.constellation import walker
from orbit.contact_plan import LinkKind
from orbit.contact_plan_builder import Links, SpaceGroundLink, build_contact_plan
from orbit.link_budget import LinkBudget
from server_app.planning.round_planner import resources_of

EPOCH = Time("2026-01-01T00:00:00")
NAMES = tuple(f"sat-{plane}-{slot:02d}" for plane in range(2) for slot in range(6))
SCENARIO = """
epoch = "2026-01-01T00:00:00Z"
horizon_h = 6.0
[constellation]
satellites = 12
planes = 2
[[ground.stations]]
name = "Kiruna"
lat_deg = 67.86
lon_deg = 20.96
[[ground.stations]]
name = "Valley"
lat_deg = 47.3
lon_deg = 11.4
mask_profile_deg = [[0, 30], [90, 5], [180, 30]]
max_range_km = 1800
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({"half_slot_shift": "true"}, {"phasing": "half-slot"}),
        ({"plane_phase_deg": "[0, 12.5]"}, {"phasing": (0.0, 12.5)}),
        ({"mean_motion_rev_day": "15.0"}, {"altitude_km": None, "mean_motion_rev_day": 15.0}),
        ({"frame": "GCRS"}, {"frame": "GCRS"}),
        ({"theory": "osculating"}, {"theory": "osculating"}),
        ({"propagator": "j2"}, {"propagator": "j2"}),
        ({"train_spacing_deg": "4", "pattern": "star"}, {"slot_spacing_deg": 4.0, "star": True}),
    ],
)
def test_a_shell_is_flown_as_the_scenario_says(file: str, said: dict[str, str], asked: dict) -> None:
    flown = constellation_of(
        load_scenario(file, {f"constellation.{key}": value for key, value in said.items()})
    )
    meant = walker("53: 12/2/1", epoch=EPOCH, **{"altitude_km": 550.0, **asked})
    assert flown.propagator == meant.propagator
    for element in ("raan_rad", "mean_anomaly_rad", "mean_motion_rad_min", "ecc", "inc_rad"):
        np.testing.assert_array_equal(getattr(flown.elements, element), getattr(meant.elements, element))


def test_a_station_has_the_horizon_and_the_reach_that_the_scenario_says(file: str) -> None:
    plain, valley = stations_of(load_scenario(file))
    assert (plain.mask_deg, plain.max_range_km) == (10.0, None)
    assert valley.mask_deg == ((0.0, 30.0), (90.0, 5.0), (180.0, 30.0))
    assert valley.max_range_km == 1800.0


def test_limits_of_lasers_are_those_of_the_scenario(file: str) -> None:
    limits = {"max_range_km": 4000.0, "grazing_altitude_km": 100.0, "max_slew_deg_s": 0.5}
    tables = ("intra_orbit", "inter_orbit")
    overrides = {f"links.{table}.{key}": value for table in tables for key, value in limits.items()}
    links = links_of(load_scenario(file, {**overrides, "links.intra_orbit.acquisition_s": 20.0}))
    assert links.intra_orbit is not None
    assert links.inter_orbit is not None
    for link in (links.intra_orbit, links.inter_orbit):
        assert {key: getattr(link, key) for key in limits} == limits
    assert links.intra_orbit.acquisition_s == 20.0
    assert links.inter_orbit.acquisition_s == 0.0  # the planner's
    free = links_of(load_scenario(file))
    assert free.intra_orbit is not None
    assert (free.intra_orbit.max_range_km, free.intra_orbit.max_slew_deg_s) == (None, None)


def test_a_link_budget_takes_the_place_of_the_constant_rate_one_way(file: str) -> None:
    budget = {"enabled": True, "bandwidth_mhz": 300.0, "coding": "dvb-s2", "rain_margin_db": 4.0}
    scenario = load_scenario(file, {f"links.sgl.down_budget.{key}": value for key, value in budget.items()})
    meant = LinkBudget(
        8.2 * 1e9, 300e6, eirp_dbw=15.0, g_over_t_db_k=31.0, rain_margin_db=4.0, coding="dvb-s2"
    )
    links = links_of(scenario)
    assert links.space_ground == SpaceGroundLink(meant, 50e6)
    plan = build_contact_plan(
        constellation_of(scenario),
        stations_of(scenario),
        Links(links.space_ground),
        epoch=EPOCH,
        horizon_s=scenario.horizon_s,
    )
    down = plan.of_kind(LinkKind.DOWNLINK)
    highest = meant.rate_bps(down["min_range_km"], down["max_elevation_deg"])
    assert len(down) > 5
    assert ((down["rate_bps"] > 0.3 * highest) & (down["rate_bps"] <= highest)).all()
    assert np.ptp(down["rate_bps"]) > 50e6


def test_a_mask_has_one_range_as_a_number_and_as_a_profile(file: str, tmp_path: Path) -> None:
    for mask in (-5.0, 0.0, 89.9):
        (tmp_path / "mine.toml").write_text(
            SCENARIO.replace("lon_deg = 20.96", f"lon_deg = 20.96\nmask_deg = {mask}")
        )
        assert stations_of(load_scenario(file))[0].mask_deg == mask
        (tmp_path / "mine.toml").write_text(SCENARIO.replace("[90, 5]", f"[90, {mask}]"))
        assert stations_of(load_scenario(file))[1].mask_deg[1] == (90.0, mask)
    for mask in (-5.1, 90.0):
        for text in (
            SCENARIO.replace("lon_deg = 20.96", f"lon_deg = 20.96\nmask_deg = {mask}"),
            SCENARIO.replace("[90, 5]", f"[90, {mask}]"),
        ):
            (tmp_path / "mine.toml").write_text(text)
            with pytest.raises(ScenarioError, match=f"found {mask}"):
                load_scenario(file)


def test_a_grid_is_given_by_names_by_a_file_and_by_a_word(file: str, tmp_path: Path) -> None:
    def pairs_of(value: object) -> object:
        inter = links_of(load_scenario(file, {"links.inter_orbit.pairs": value}), NAMES).inter_orbit
        assert inter is not None
        return inter.pairs

    expected = (("sat-0-00", "sat-1-03"), ("sat-0-01", "sat-1-02"))
    assert pairs_of([list(pair) for pair in expected]) == expected
    assert pairs_of('[["sat-0-00", "sat-1-03"], ["sat-0-01", "sat-1-02"]]') == expected
    (tmp_path / "grid.csv").write_text("sat-0-00,sat-1-03\nsat-0-01,sat-1-02\n")
    assert pairs_of(str(tmp_path / "grid.csv")) == expected
    assert pairs_of("same-slot") == "same-slot"
    assert pairs_of("") == ()


def test_the_planner_has_the_terminals_of_the_scenario(file: str) -> None:
    scenario = load_scenario(file, {"links.inter_orbit.terminals": "1"})
    assert resources_of(scenario).isl_terminals == 1
    links = links_of(scenario)
    assert links.inter_orbit is not None
    assert links.inter_orbit.terminals == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"pairs": 3}, "links.inter_orbit.pairs: found 3, allowed: [[name, name], …], a file, or same-slot"),
        ({"pairs": '[["a"]]'}, "allowed: [[name, name], …], a file, or same-slot"),
        ({"pairs": "[[1, 2]]"}, "allowed: [[name, name], …], a file, or same-slot"),
        ({"pairs": "nowhere"}, "links.inter_orbit.pairs: found 'nowhere', but there is no such file"),
        ({"pairs": '[["sat-0-00", "sat-7-00"]]'}, "found 'sat-7-00', which is no satellite's name"),
        ({"pairs": '[["sat-0-00", "sat-0-03"]]'}, "both fly in plane 0"),
        ({"pairs": "same-slot", "topology": "all"}, 'pairs: found with topology = "all"'),
        ({"terminals": "0"}, "links.inter_orbit.terminals: found 0, allowed: greater than or equal to 1"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line_that_names_the_key(file: str, overrides: dict, says: str) -> None:
    def read_and_plan() -> None:
        scenario = load_scenario(
            file, {f"links.inter_orbit.{key}": value for key, value in overrides.items()}
        )
        contact_plan_of(scenario, constellation_of(scenario))

    with pytest.raises(ScenarioError) as refusal:
        read_and_plan()
    assert says in str(refusal.value)
    assert "inter_orbit.pairs" in str(refusal.value) or "inter_orbit.terminals" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SCENARIO.replace("[90, 5]", "[0, 5]"), "stations.1.mask_profile_deg: found"),
        (SCENARIO.replace("[90, 5]", "[90, 95]"), "stations.1.mask_profile_deg.1.1: found 95"),
        (SCENARIO.replace("[90, 5]", "[400, 5]"), "stations.1.mask_profile_deg.1.0: found 400"),
        (SCENARIO.replace("[90, 5]", "[90]"), "stations.1.mask_profile_deg.1.1: missing"),
        (SCENARIO.replace("1800", "-1"), "stations.1.max_range_km: found -1"),
        (
            SCENARIO.replace("planes = 2", "planes = 2\nplane_phase_deg = [0, 1, 2]"),
            "constellation.plane_phase_deg: found 3 values, allowed one per plane, 2",
        ),
        (
            SCENARIO.replace("planes = 2", "planes = 2\nplane_phase_deg = [0, 1]\nhalf_slot_shift = true"),
            "constellation.plane_phase_deg: found beside half_slot_shift",
        ),
        (SCENARIO + "[links.sgl.up_budget]\nmargin_db = -3\n", "links.sgl.up_budget.margin_db: found -3"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(str(path))
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
