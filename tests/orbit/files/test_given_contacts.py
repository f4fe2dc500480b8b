"""Contacts that were computed elsewhere, in a scenario: files of ION, HDTN, STK, GMAT and ours, for any links."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mission.orbits import constellation_of, contact_plan_of, epoch_of, stations_of
from mission.scenario import ScenarioError, load_scenario
from orbit.contact_plan import ContactPlan, LinkKind
from orbit.files.contact_plan_files import save
from orbit.files.contact_plan_header import ContactPlanFileError
from orbit.files.interval_tables import read_intervals
from orbit.search.ephemeris import ephemeris, ephemeris_step_s
from skysplit.cli import app

LIGHT_KM_S = 299792.458
SCENARIO = """
epoch = "2026-01-01T00:00:00Z"
horizon_h = 3.0
[constellation]
satellites = 12
planes = 2
altitude_km = 1200.0
[links.inter_orbit]
max_range_km = 9000.0
[[ground.stations]]
name = "Kiruna"
lat_deg = 67.86
lon_deg = 20.96
[[ground.stations]]
name = "Madrid"
lat_deg = 40.43
lon_deg = -4.25
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan of another run is met."""
    (tmp_path / "cache" / "astropy").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(SCENARIO)
    return path


def planned(file: Path, **overrides: Any) -> ContactPlan:
    scenario = load_scenario(str(file), overrides)
    return contact_plan_of(scenario, constellation_of(scenario))


def given_in(file: Path, text: str, name: str = "theirs.csv", **overrides: Any) -> ContactPlan:
    path = file.with_name(name)
    path.write_text(text)
    contacts = {f"contacts.{key}": value for key, value in overrides.items()}
    return planned(file, **{"contacts.path": str(path), **contacts})


def said(plan: ContactPlan) -> list[tuple[str, str, str, float, float, float]]:
    return [
        (
            plan.nodes[c["source"]].name, plan.nodes[c["target"]].name, LinkKind(c["kind"]).name,
            round(float(c["start_s"]), 6), round(float(c["end_s"]), 6), float(c["rate_bps"]),
        )
        for c in plan.contacts
    ]  # fmt: skip


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz"])
def test_our_own_plan_comes_in_as_it_went_out(file: Path, ending: str) -> None:
    plan = planned(file)
    path = file.with_name(f"plan{ending}")
    save(plan, path)
    again = planned(file, **{"contacts.path": str(path)})
    assert again.nodes == plan.nodes
    for field in ("source", "target", "kind", "start_s", "end_s", "rate_bps", "owlt_s"):
        np.testing.assert_array_equal(again.contacts[field], plan.contacts[field])


@pytest.mark.parametrize("ending", [".ion", ".json"])
def test_a_plan_of_dtn_software_comes_in_with_the_light_times_of_the_orbits(file: Path, ending: str) -> None:
    plan = planned(file)
    path = file.with_name(f"plan{ending}")
    save(plan, path)
    again = planned(file, **{"contacts.path": str(path)})
    assert len(plan.contacts) - 4 <= len(again.contacts) <= len(plan.contacts)
    for contact in again.contacts:
        whole = plan.between(contact["source"], contact["target"])
        whole = whole[(whole["start_s"] <= contact["start_s"]) & (whole["end_s"] >= contact["end_s"])]
        assert len(whole) == 1
        assert contact["rate_bps"] == whole["rate_bps"][0]
        assert contact["owlt_s"] == pytest.approx(whole["owlt_s"][0], rel=0.5)


def test_light_times_that_are_not_given_are_those_of_the_orbits(file: Path) -> None:
    text = "from,to,start,end\nsat-0-00,Kiruna,600,900\nsat-0-00,sat-1-03,1000,1400\n"
    plan = given_in(file, text)
    scenario = load_scenario(str(file))
    fleet = constellation_of(scenario)
    step_s = ephemeris_step_s(fleet, 10800.0, 0.1)
    motion = ephemeris(fleet, epoch_of(scenario), round(10800.0 / step_s), step_s=step_s)
    position = motion.positions(np.array([750.0, 1200.0]))
    expected_km = {
        LinkKind.DOWNLINK: np.linalg.norm(position[0, 0] - stations_of(scenario)[0].position_km),
        LinkKind.INTER_ISL: np.linalg.norm(position[0, 1] - position[9, 1]),
    }
    for kind, range_km in expected_km.items():
        (light_s, *_) = plan.of_kind(kind)["owlt_s"]
        assert light_s * LIGHT_KM_S == pytest.approx(range_km, rel=0.05)  # the mean, and the middle
    exact = given_in(
        file, "from,to,start,end\nsat-0-00,Kiruna,749.9,750.1\nsat-0-00,sat-1-03,1199.9,1200.1\n"
    )
    for kind, range_km in expected_km.items():
        assert exact.of_kind(kind)["owlt_s"] * LIGHT_KM_S == pytest.approx(range_km, abs=0.05)


def test_ranges_and_elevations_of_given_contacts_are_those_of_the_orbits(file: Path) -> None:
    plan = planned(file)
    save(plan, file.with_name("plan.csv"))
    again = planned(file, **{"contacts.path": str(file.with_name("plan.csv"))})
    for field, away in (("min_range_km", 30.0), ("max_elevation_deg", 2.0)):
        np.testing.assert_allclose(again.contacts[field], plan.contacts[field], atol=away)
    assert np.isnan(again.of_kind(LinkKind.INTRA_ISL)["max_elevation_deg"]).all()


STK = """"Satellite-sat-0-00-To-Facility-Kiruna: Access Summary Report"


"Access","Start Time (UTCG)","Stop Time (UTCG)","Duration (sec)"
1,"1 Jan 2026 00:10:00.000","1 Jan 2026 00:20:00.500",600.500
2,"1 Jan 2026 02:00:00.000","1 Jan 2026 02:10:00.000",600.000

"Global Statistics"
"Min Duration",2,"1 Jan 2026 02:00:00.000","1 Jan 2026 02:10:00.000",600.000
"Total Duration",,,,1200.500


"Satellite-sat-1-02-To-Facility-Madrid: Access Summary Report"

"Access","Start Time (UTCG)","Stop Time (UTCG)","Duration (sec)"
1,"31 Dec 2025 23:59:00.000","1 Jan 2026 00:01:00.000",120.000
"""
GMAT = """Target,Observer,Start Time (UTC),Stop Time (UTC),Duration (s)
sat-0-00,Kiruna,01 Jan 2026 00:10:00.000,01 Jan 2026 00:20:00.500,600.5
sat-0-00,Kiruna,01 Jan 2026 02:00:00.000,01 Jan 2026 02:10:00.000,600
sat-1-02,Madrid,31 Dec 2025 23:59:00.000,01 Jan 2026 00:01:00.000,120
"""
SECONDS = """station;ignored,Satellite,Facility,start_s,stop_s
x,sat-0-00,Kiruna,600,1200.5
x,sat-0-00,Kiruna,7200,7800
x,sat-1-02,Madrid,-60,60
"""
ISO = """# ,source,target,start_utc,end_utc
,Kiruna,sat-0-00,2026-01-01T00:10:00Z,2026-01-01T00:20:00.500000000Z
,Kiruna,sat-0-00,2026-01-01T03:00:00+01:00,2026-01-01T02:10:00
,Madrid,sat-1-02,2025-12-31T23:59:00Z,2026-01-01T00:01:00Z
"""
STK_TEXT = """                                                        1 Jul 2026 08:50:41
Place-Kiruna-To-Satellite-sat-0-00
----------------------------------
                  Access        Start Time (UTCG)           Stop Time (UTCG)        Duration (sec)
                  ------    ------------------------    ------------------------    --------------
                       1     1 Jan 2026 00:10:00.000     1 Jan 2026 00:20:00.500           600.500
                       2     1 Jan 2026 02:00:00.000     1 Jan 2026 02:10:00.000           600.000

Global Statistics
-----------------
Min Duration           2     1 Jan 2026 02:00:00.000     1 Jan 2026 02:10:00.000           600.000

Place-Madrid-To-Satellite-sat-1-02

                  Access        Start Time (UTCG)           Stop Time (UTCG)        Duration (sec)
                       1    31 Dec 2025 23:59:00.000     1 Jan 2026 00:01:00.000           120.000
"""
GMAT_TEXT = """Target: sat-0-00

Observer: Kiruna
Start Time (UTC)            Stop Time (UTC)               Duration (s)
01 Jan 2026 00:10:00.000    01 Jan 2026 00:20:00.500      600.50000000
01 Jan 2026 02:00:00.000    01 Jan 2026 02:10:00.000      600.00000000


Number of events : 2

Target: sat-1-02

Observer: Madrid
Start Time (UTC)            Stop Time (UTC)               Duration (s)
31 Dec 2025 23:59:00.000    01 Jan 2026 00:01:00.000      120.00000000


Number of events : 1

Total number of events : 3
"""
INTERVALS = [  # both ways, at the scenario's rates
    ("sat-1-02", "Madrid", "DOWNLINK", 0.0, 60.0, 2e8),
    ("Madrid", "sat-1-02", "UPLINK", 0.0, 60.0, 5e7),
    ("sat-0-00", "Kiruna", "DOWNLINK", 600.0, 1200.5, 2e8),
    ("Kiruna", "sat-0-00", "UPLINK", 600.0, 1200.5, 5e7),
    ("sat-0-00", "Kiruna", "DOWNLINK", 7200.0, 7800.0, 2e8),
    ("Kiruna", "sat-0-00", "UPLINK", 7200.0, 7800.0, 5e7),
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stk.csv", STK),
        ("gmat.csv", GMAT),
        ("seconds.csv", SECONDS),
        ("iso.csv", ISO),
        ("with-empty-lines.csv", GMAT.replace("\n", "\n\n")),
        ("stk.txt", STK_TEXT),
        ("gmat.txt", GMAT_TEXT),
    ],
)
def test_intervals_of_other_tools_are_contacts_both_ways(file: Path, name: str, text: str) -> None:
    plan = given_in(file, text, name)
    assert sorted(said(plan)) == sorted(INTERVALS)
    assert plan.contacts["open_start"].tolist() == [True, True, False, False, False, False]
    assert not plan.contacts["open_end"].any()


LEAP_DAY = {
    "epoch": "2016-12-31T23:00:00Z"
}  # TAI - UTC was 36 s that day, 37 s the next (IERS Bulletin C 52)
TIMES_OF_LEAP_DAY = [
    ("31 Dec 2016 23:59:50.000", "1 Jan 2017 00:00:10.000", 3590.0, 3611.0),
    ("2016-12-31T23:59:60.5Z", "2017-01-01T01:01:00+01:00", 3600.5, 3661.0),
    ("2016/12/31-23:59:60", "2017/01/01-00:00:00", 3600.0, 3601.0),
]


@pytest.mark.parametrize(("start", "end", "start_s", "end_s"), TIMES_OF_LEAP_DAY)
def test_a_leap_second_is_a_time_and_counts(
    file: Path, start: str, end: str, start_s: float, end_s: float
) -> None:
    text = f"from,to,start,end\nsat-0-00,Kiruna,{start},{end}\n"
    file.write_text(SCENARIO.replace("2026-01-01T00:00:00Z", LEAP_DAY["epoch"]))
    (contact,) = given_in(file, text).of_kind(LinkKind.DOWNLINK)
    assert (contact["start_s"], contact["end_s"]) == (start_s, end_s)


@pytest.mark.parametrize("ending", [".csv", ".ion", ".json"])
def test_a_plan_across_a_leap_second_comes_back_at_the_same_times(file: Path, ending: str) -> None:
    plan = planned(file, **LEAP_DAY)
    path = file.with_name(f"plan{ending}")
    save(plan, path)
    again = planned(file, **LEAP_DAY, **{"contacts.path": str(path)})
    tolerance_s = 0.0 if ending == ".csv" else 1.0
    assert any(plan.contacts["start_s"] > 3601.0)
    for contact in again.contacts:
        between = plan.between(contact["source"], contact["target"])
        off_s = np.maximum(
            np.abs(between["start_s"] - contact["start_s"]), np.abs(between["end_s"] - contact["end_s"])
        )
        assert off_s.min() <= tolerance_s


@pytest.mark.parametrize("time", ["30 Dec 2016 23:59:60.500", "2016-12-31T12:34:60Z"])
def test_a_leap_second_that_never_was_is_refused(file: Path, time: str) -> None:
    with pytest.raises(ScenarioError, match="line 2: start: found"):
        given_in(file, f"from,to,start,end\nsat-0-00,Kiruna,{time},2 Jan 2017 00:00:00.0\n")


def test_links_that_the_file_does_not_give_are_computed(file: Path) -> None:
    computed = planned(file)
    plan = given_in(file, GMAT, links='["sgl"]')
    ground = plan.of_kind(LinkKind.DOWNLINK, LinkKind.UPLINK)
    assert len(ground) == len(INTERVALS)
    for kind in (LinkKind.INTRA_ISL, LinkKind.INTER_ISL):
        np.testing.assert_array_equal(
            plan.of_kind(kind)[["source", "target", "start_s", "end_s"]],
            computed.of_kind(kind)[["source", "target", "start_s", "end_s"]],
        )
        assert len(plan.of_kind(kind)) > 0
    lasers = "from,to,start,end,rate (Mbit/s)\nsat-0-00,sat-1-00,0,9000,40\nsat-0-00,Kiruna,0,500,40\n"
    plan = given_in(file, lasers, links='["inter_orbit"]')
    assert [row for row in said(plan) if row[2] == "INTER_ISL"] == [
        ("sat-0-00", "sat-1-00", "INTER_ISL", 0.0, 9000.0, 4e7)
    ]
    np.testing.assert_array_equal(
        plan.of_kind(LinkKind.DOWNLINK)["start_s"], computed.of_kind(LinkKind.DOWNLINK)["start_s"]
    )


def test_columns_and_nodes_are_mapped_by_name(file: Path) -> None:
    text = "craft,antenna,on,off,speed\nA 1,KIR,600,1200.5,8e6\nA 1,KIR,7200,7800,8e6\nB,Madrid,0,60,8e6\n"
    columns = {"source": "craft", "target": "antenna", "start": "on", "end": "off", "rate": "speed"}
    plan = given_in(
        file,
        text,
        nodes=["A 1 = sat-0-00", "KIR = Kiruna", "B=sat-1-02"],
        **{f"columns.{kind}": name for kind, name in columns.items()},
    )
    one_way = [(*row[:5], 8e6) for row in INTERVALS if row[2] == "DOWNLINK"]
    assert sorted(said(plan)) == sorted(one_way)


def test_numbers_of_dtn_nodes_count_satellites_then_stations_or_are_mapped(file: Path) -> None:
    ion = (
        "@ 2025/12/31-23:59:00\na contact +60 +120 9 14 1000\na contact +600 +700 14 9 500\n"
        "a range +60 +120 9 14 2\n"
    )
    plan = given_in(file, ion, "theirs.ionrc")
    assert said(plan) == [
        ("sat-1-02", "Madrid", "DOWNLINK", 0.0, 60.0, 8000.0),
        ("Madrid", "sat-1-02", "UPLINK", 540.0, 640.0, 4000.0),
    ]
    assert plan.contacts["owlt_s"][0] == 2.0
    hdtn = {"contacts": [{"contact": 0, "source": 101, "dest": 7, "startTime": 5, "endTime": 65,
                          "rateBitsPerSec": 9000, "owlt": 0}]}  # fmt: skip
    plan = given_in(file, json.dumps(hdtn), "theirs.json", nodes='["101 = sat-0-00", "7 = Kiruna"]')
    assert said(plan) == [("sat-0-00", "Kiruna", "DOWNLINK", 5.0, 65.0, 9000.0)]


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        (GMAT.replace("sat-1-02", "sat-9-02"), {}, "theirs.csv: line 4: found 'sat-9-02', which is no satellite"),
        (GMAT.replace(",Madrid", ",sat-1-02"), {}, "line 4: 'sat-1-02' and 'sat-1-02' are one node"),
        (GMAT.replace("sat-1-02", "Kiruna"), {}, "line 4: 'Kiruna' and 'Madrid' are both stations"),
        (GMAT.replace("00:01:00", "00:61:00"), {}, "line 4: end: found '01 Jan 2026 00:61:00.000'"),
        (GMAT.replace("(UTC)", "(TDB)"), {}, "line 2: start: found unit 'tdb', allowed are UTC and seconds"),
        (GMAT.replace("00:01:00", "23:58:00").replace("01 Jan 2026 23", "31 Dec 2025 23"), {},
         "line 4: the end is not after the start"),
        (GMAT.replace("Target,Observer", "A,B"), {}, "line 1: found no column for source and target"),
        (GMAT.replace("Start Time", "T0"), {}, "found no line of column names for start and end"),
        (GMAT, {"columns.rate": "Speed"}, "found no column 'Speed' for rate among Target, Observer"),
        (GMAT.replace("Duration (s)", "rate (baud)"), {}, "line 2: rate: found unit 'baud'"),
        (GMAT.replace("600.5", "-3").replace("Duration (s)", "rate"), {}, "line 2: rate: found '-3'"),
        ("from,to,start,end\nsat-0-00,Kiruna,0,100\nsat-0-00,Kiruna,50,200\n", {}, "line 3: begins before"),
        ("from,to,start,end\nsat-0-00,Kiruna,90000,90001\n", {}, "which gives no downlink within 3.0 h"),
        ("from,to,start,end\nsat-0-00,Kiruna,0\n", {}, "line 2: there is no end"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_error_with_its_line(
    file: Path, text: str, overrides: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(ScenarioError) as refusal:
        given_in(file, text, **overrides)
    assert says in str(refusal.value)
    assert str(refusal.value).startswith("contacts.path: ")
    assert "theirs.csv" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"contacts.path": "nowhere.csv"}, "contacts.path: found 'nowhere.csv', but there is no such file"),
        ({"contacts.path": "."}, "found ending ''"),
        (
            {"contacts.nodes": '["a"]', "contacts.path": "x"},
            "contacts.nodes: found 'a', allowed: \"theirs = ours\"",
        ),
        ({"contacts.nodes": '["a=b"]'}, 'contacts.path: needed for nodes and columns, found ""'),
        ({"contacts.links": '["lasers"]'}, "contacts.links.0: found 'lasers', allowed: 'sgl'"),
    ],
)
def test_a_wrong_key_of_given_contacts_is_one_error(file: Path, overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        planned(file, **overrides)
    assert says in str(refusal.value)


def test_a_budget_asks_for_rates_in_the_file(file: Path) -> None:
    file.with_name("theirs.csv").write_text(GMAT)
    with pytest.raises(ScenarioError, match="line 2: a downlink without a rate"):
        planned(
            file,
            **{"contacts.path": str(file.with_name("theirs.csv")), "links.sgl.down_budget.enabled": True},
        )


def test_a_plan_made_elsewhere_can_be_planned_and_compared_on(file: Path, headline_cases: None) -> None:
    rows = ["from,to,start,end"]
    for plane in range(2):
        for slot in range(6):
            after = (slot + 1) % 6
            rows.append(f"sat-{plane}-{slot:02d},sat-{plane}-{after:02d},0,10800")
            begin = 300 + 120 * slot + 1500 * plane
            for start_s in (begin, begin + 4000):  # the second pass brings the average back
                rows.append(f"sat-{plane}-{slot:02d},Kiruna,{start_s},{start_s + 400}")
    path = file.with_name("theirs.csv")
    path.write_text("\n".join(rows) + "\n")
    words = [
        "--set",
        f"contacts.path={path}",
        "--set",
        "planning.profile=DOFA-base",
        "--set",
        "planning.samples=8",
        "--set",
        "training.rounds=1",
    ]
    runner = CliRunner()
    done = runner.invoke(app, ["plan", str(file), *words, "--format", "json"])
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    used = {
        (activity["node"], activity["peer"], activity["start_s"], activity["end_s"])
        for activity in plan["activities"]
        if activity.get("link") in ("downlink", "uplink")
    }
    assert used
    for node, peer, start_s, end_s in used:
        satellite = node if node.startswith("sat") else peer
        plane, slot = (int(part) for part in satellite.split("-")[1:])
        begin = 300 + 120 * slot + 1500 * plane
        passes = ((begin, begin + 400), (begin + 4000, begin + 4400))
        assert any(first <= start_s < end_s <= last for first, last in passes)
    done = runner.invoke(app, ["compare", str(file), *words, "--starts", "1", "--format", "json"])
    assert done.exit_code == 0, done.stderr


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["start", "end", "from", "to", ",", "\n", "1", "x", '"', "\r"])).map("".join)
)
@settings(max_examples=200)
def test_any_text_is_a_table_of_intervals_or_refused(text: str) -> None:
    try:
        found = list(read_intervals(text, Time("2026-01-01"), {}))
    except ContactPlanFileError as error:
        assert str(error).startswith(("line ", "found no line of column names", "found several columns for "))
    else:
        assert len(found) < len(text.splitlines())  # the first line names the columns
        assert all(one.source and one.target and np.isfinite([one.start_s, one.end_s]).all() for one in found)
