"""Passes, gaps and volume a day, against plain counting and against skyfield."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load, wgs84
from typer.testing import CliRunner

from orbit.access_summary import (
    access_of_all,
    access_of_pairs,
    access_of_satellites,
    access_of_stations,
    gaps,
)
from orbit.constellation import walker
from orbit.contact_plan import ContactPlan
from orbit.contact_plan_builder import Links, SpaceGroundLink, build_contact_plan
from orbit.files.omm_export import omm_records
from orbit.stations import GroundStation
from skysplit.cli import app

EPOCH = Time("2026-03-01T06:00:00")
HORIZON_S = 86400.0 * 2
SHELL = walker("53: 6/2/1", epoch=EPOCH, altitude_km=550)
STATIONS = (
    GroundStation("Matera", 40.65, lon_deg=16.70, height_m=540),
    GroundStation("Pole", 89.0, lon_deg=0.0, mask_deg=30),
)


@pytest.fixture(scope="module")
def plan() -> ContactPlan:
    links = Links(SpaceGroundLink(2e8, 5e7))
    return build_contact_plan(SHELL, STATIONS, links, epoch=EPOCH, horizon_s=HORIZON_S)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 300)), max_size=8))
def test_gaps_are_what_sampling_finds_uncovered(parts: list[tuple[float, float]]) -> None:
    ordered = sorted((start, min(start + length, 1000.0)) for start, length in parts)
    start_s, end_s = (np.array([part[k] for part in ordered]) for k in (0, 1))
    seconds = np.arange(0, 1000, 0.5) + 0.25
    covered = ((seconds >= start_s[:, None]) & (seconds <= end_s[:, None])).any(axis=0)
    found = gaps(start_s, end_s, 1000.0)
    assert found.sum() == pytest.approx((~covered).sum() * 0.5, abs=0.5 * (2 * len(parts) + 2))
    assert found.max(initial=0) <= 1000


def test_all_together_pass_as_often_as_each_and_wait_no_longer_than_any(plan: ContactPlan) -> None:
    together, each = access_of_all(plan), access_of_stations(plan)
    assert together.passes == sum(access.passes for access in each)
    assert together.down_gb_per_day == pytest.approx(sum(access.down_gb_per_day for access in each))
    assert 0 < together.longest_gap_s <= min(access.longest_gap_s for access in each)


def test_contacts_end_with_how_well_the_constellation_is_served() -> None:
    done = CliRunner().invoke(app, ["contacts", "walker-12", "--hours", "3"])
    last = done.stdout.strip().splitlines()[-1]
    assert done.exit_code == 0
    assert "passes a day" in last
    assert "in view of a station" in last


def test_passes_and_gaps_of_a_satellite_are_those_of_skyfield(plan: ContactPlan) -> None:
    timescale = load.timescale(builtin=True)
    start = timescale.from_astropy(EPOCH)
    end = timescale.from_astropy(EPOCH + HORIZON_S * u.s)
    place = wgs84.latlon(40.65, 16.70, 540)
    by_pair = {(access.satellite, access.station): access for access in access_of_pairs(plan)}
    for record in omm_records(SHELL)[:3]:
        satellite = EarthSatellite.from_omm(timescale, {key: str(value) for key, value in record.items()})
        times, events = satellite.find_events(place, start, end, altitude_degrees=10.0)
        seconds = np.array([(time - start) * 86400 for time in times])
        rises, sets = seconds[events == 0], seconds[events == 2]
        assert len(rises) == len(sets)
        access = by_pair[record["OBJECT_NAME"], "Matera"]
        assert access.passes == len(rises)
        assert access.passes_per_day == len(rises) / 2
        assert access.mean_pass_s == pytest.approx((sets - rises).mean(), abs=1.0)
        all_gaps = np.diff(np.concatenate([[0.0], np.stack([rises, sets], axis=1).ravel(), [HORIZON_S]]))[::2]
        assert access.longest_gap_s == pytest.approx(all_gaps.max(), abs=2.0)
        assert access.mean_gap_s == pytest.approx(all_gaps.mean(), abs=2.0)
        assert access.down_gb_per_day == pytest.approx((sets - rises).sum() * 2e8 / 8e9 / 2, rel=0.01)
        assert access.up_gb_per_day == pytest.approx(access.down_gb_per_day / 4)


def test_volume_by_station_by_satellite_and_by_pair_is_the_same_in_all(plan: ContactPlan) -> None:
    parts = access_of_stations(plan), access_of_satellites(plan), access_of_pairs(plan)
    totals = [sum(access.down_gb_per_day for access in part) for part in parts]
    passes = [sum(access.passes for access in part) for part in parts]
    assert totals == pytest.approx([totals[0]] * 3)
    assert passes == [passes[0]] * 3
    assert len(parts[0]) == 2
    assert len(parts[1]) == 6


def test_a_station_that_sees_nobody_has_one_gap_as_long_as_the_horizon(plan: ContactPlan) -> None:
    pole = access_of_stations(plan)[1]
    assert (pole.passes, pole.longest_gap_s, pole.mean_gap_s) == (0, HORIZON_S, HORIZON_S)
    assert (pole.down_gb_per_day, pole.mean_pass_s) == (0.0, 0.0)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "astropy").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return ["contacts", "walker-12", "--hours", "3"]


def test_the_summary_is_a_table_json_and_csv(words: list[str]) -> None:
    runner = CliRunner()
    table = runner.invoke(app, [*words, "--summary"])
    assert table.exit_code == 0
    for word in ("Madrid", "sat-1-05", "passes/day", "longest min", "down GB/day"):
        assert word in table.stdout
    said = json.loads(runner.invoke(app, [*words, "--summary", "--format", "json"]).stdout)
    assert [one["station"] for one in said["stations"]] == ["Madrid", "Santiago", "Canberra", "Wallops"]
    assert len(said["satellites"]) == 12
    assert all(one["satellite"] and one["station"] for one in said["pairs"])
    rows = list(
        csv.DictReader(io.StringIO(runner.invoke(app, [*words, "--summary", "--format", "csv"]).stdout))
    )
    assert len(rows) == 4 + 12 + len(said["pairs"])
    assert float(rows[0]["longest_gap_s"]) == said["stations"][0]["longest_gap_s"]


def test_the_page_of_contacts_shows_who_sees_whom_and_needs_nothing_from_outside(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--format", "html"])
    assert done.stdout.strip() == "walker-12-contacts.html"
    page = Path("walker-12-contacts.html").read_text()
    assert "GB a day" in page
    assert "Wallops" in page
    assert "<script src" not in page


def test_what_cannot_be_printed_so_is_one_error(words: list[str]) -> None:
    for options, says in (
        (["--summary", "--format", "ion"], "--summary: found --format ion, allowed: table, json, csv"),
        (["--out", "x.txt"], "--out: found --format table, allowed: json, csv, ion, hdtn, html"),
    ):
        done = CliRunner().invoke(app, [*words, *options])
        assert done.exit_code == 1
        assert says in done.stderr.replace("\n", " ")
