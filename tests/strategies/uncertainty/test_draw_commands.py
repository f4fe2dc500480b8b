"""``skysplit plan --draws`` and ``compare --draws``, and what stations say for themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from orbit.contact_plan import LinkKind
from skysplit.cli import app

SMALL = {
    "constellation.satellites": "6",
    "constellation.planes": "1",
    "constellation.phasing": "0",
    "constellation.altitude_km": "1150",
    "horizon_h": "12",
    "planning.profile": "DOFA-base",
    "planning.samples": "4",
    "training.rounds": "1",
}
FAILS = {"uncertainty.station_outage": "0.01", "uncertainty.station_outage_h": "0.2"}
KIRUNA = 'name = "Kiruna", lat_deg = 67.9, lon_deg = 21.0'
PUNTA = 'name = "Punta Arenas", lat_deg = -53.2, lon_deg = -70.9'


def words(settings: dict[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    return done.stderr.replace("\n", " ")


def test_a_plan_says_what_its_round_takes_over_draws_and_what_its_antennas_cost() -> None:
    stations = f"[{{{KIRUNA}, cost_per_min = 3.0}}]"
    settings = words({**SMALL, **FAILS, "ground.stations": stations})
    command = ["plan", "demo", "--draws", "1", "--format", "json", *settings]
    found = json.loads(CliRunner().invoke(app, command).stdout)
    assert found["draws"]["draws"] == 1
    assert found["draws"]["clear_s"] == pytest.approx(found["makespan_s"])
    held_s = sum(row["end_s"] - row["start_s"] for row in found["activities"] if row["kind"] == "session")
    assert found["antenna_cost"] == pytest.approx(3.0 * held_s / 60.0, rel=1e-5)


def test_draws_without_outages_or_of_a_rest_are_refused() -> None:
    assert "found no outages in demo" in refused("plan", "demo", "--draws", "2")
    assert "found no outages in demo" in refused("compare", "demo", "--draws", "2")
    assert "beside --after" in refused("plan", "demo", "--draws", "2", "--after", "5", *words(FAILS))


def test_a_round_that_trains_on_board_has_no_draws() -> None:
    on_board = {**SMALL, **FAILS, "training.mode": "onboard-lora"}
    assert "training.mode: found onboard-lora with --draws" in refused(
        "plan", "demo", "--draws", "1", *words(on_board)
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("blocked = 1.0", "blocked"),
        ("blocked_by_month = [0.1, 0.2]", "allowed: 12, one per month"),
        ("blocked = 0.1, blocked_by_month = [" + "0.1, " * 12 + "]", "found beside blocked_by_month"),
        ("receive_only = true, up_mbps = 1.0", "found 1 with receive_only = true"),
    ],
)
def test_a_station_that_contradicts_itself_is_refused(keys, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario("demo", {"ground.stations": f"[{{{KIRUNA}, {keys}}}]"})


def test_stations_have_their_own_rates_or_only_receive() -> None:
    stations = f"[{{{KIRUNA}, down_mbps = 400.0, up_mbps = 2.0}}, {{{PUNTA}, receive_only = true}}]"
    scenario = load_scenario("demo", {**SMALL, "ground.stations": stations})
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    own, deaf = contacts.index("Kiruna"), contacts.index("Punta Arenas")
    down, up = contacts.of_kind(LinkKind.DOWNLINK), contacts.of_kind(LinkKind.UPLINK)
    assert set(down["rate_bps"][down["target"] == own]) == {400e6}
    assert set(down["rate_bps"][down["target"] == deaf]) == {scenario.links.sgl.down_mbps * 1e6}
    assert set(up["rate_bps"][up["source"] == own]) == {2e6}
    assert deaf not in up["source"]


def test_the_backhaul_of_a_station_delays_what_crosses_there_and_nothing_else() -> None:
    near, far = (
        load_scenario("demo", {**SMALL, "ground.stations": f"[{{{KIRUNA}{own}}}, {{{PUNTA}}}]"})
        for own in ("", ", backhaul_ms = 250.0")
    )
    before, after = (contact_plan_of(scenario, constellation_of(scenario)) for scenario in (near, far))
    at_kiruna = (before.contacts["source"] == before.index("Kiruna")) | (
        before.contacts["target"] == before.index("Kiruna")
    )
    assert 0 < at_kiruna.sum() < len(at_kiruna)
    delay_s = after.contacts["owlt_s"] - before.contacts["owlt_s"]
    assert delay_s == pytest.approx(np.where(at_kiruna, 0.25, 0.0))


def test_a_round_over_a_slow_backhaul_pays_for_it_in_every_step() -> None:
    lengths_s, bounds_s = {}, {}
    for delay_ms in (0.0, 400.0):
        stations = f"[{{{KIRUNA}, backhaul_ms = {delay_ms}}}]"
        settings = words({**SMALL, "training.mode": "lora", "ground.stations": stations})
        found = json.loads(CliRunner().invoke(app, ["plan", "demo", "--format", "json", *settings]).stdout)
        lengths_s[delay_ms], bounds_s[delay_ms] = found["makespan_s"], found["lower_bound_s"]
    # Features down, one round trip of a step at least, all at 0.4 s more a way.
    assert lengths_s[400.0] - lengths_s[0.0] >= 3 * 0.4 - 0.01
    assert all(bounds_s[delay_ms] <= length_s for delay_ms, length_s in lengths_s.items())


def test_given_contacts_and_a_station_of_its_own_rate_are_refused_together(tmp_path) -> None:
    keys = {"ground.stations": f"[{{{KIRUNA}, down_mbps = 400.0}}]", "contacts.path": str(tmp_path / "a.csv")}
    with pytest.raises(ScenarioError, match=r"stations\.0\.down_mbps: found 400\.0 with contacts\.path"):
        load_scenario("demo", keys)
