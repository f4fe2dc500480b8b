"""The orientation of the Earth: without a network, for any date, leap seconds among them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import ITRS, TEME, CartesianRepresentation
from astropy.time import Time, TimeDelta
from astropy.utils import iers
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import Satrec

from orbit.constellation import from_elements, walker
from orbit.contact_plan_builder import Links, SpaceGroundLink, build_contact_plan
from orbit.motion.earth_orientation import EarthOrientationWarning, orientation_table, warn_of_old_orientation
from orbit.motion.elements import read_tle
from orbit.motion.frames import (
    earth_orientation,
    itrs_from_teme,
    joined_julian_date,
    leap_seconds_between,
    split_julian_date,
)
from orbit.motion.orientation_files import installed_values
from orbit.motion.propagation import PROPAGATORS
from orbit.search.contacts import find_passes
from orbit.search.eclipse import find_eclipses, sun_itrs_km
from orbit.stations import GroundStation

STATIONS = (
    GroundStation("Svalbard", 78.23, lon_deg=15.39, height_m=450),
    GroundStation("Hawaii", 19.01, lon_deg=-155.66, height_m=370),
)
LEAP_DAY = Time("2016-12-31T00:00:00")  # 86,401 s long

# Runs the command that follows, and ends with status 3 at the first attempt to reach a network.
OFFLINE = """
import os, socket, sys
def refuse(*_, **__):
    print("reached for the network", file=sys.stderr, flush=True)
    os._exit(3)
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from skysplit.cli import app
app(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@settings(max_examples=40, deadline=None)
@given(st.floats(1990.0, 2050.0), st.floats(0.0, 40.0))
def test_any_date_from_1990_to_2050_turns_the_earth_as_astropy_does(year: float, days: float) -> None:
    epoch, seconds = Time(year, format="jyear", scale="utc"), np.array([0.0, days * 86400.0])
    ut1_utc_s, pole_x, pole_y = earth_orientation(epoch, seconds)
    times = epoch + TimeDelta(seconds, format="sec")
    jd, fraction = split_julian_date(epoch)
    ut1 = Time(jd, (fraction * 86400.0 + seconds + ut1_utc_s) / 86400.0, format="jd", scale="ut1")
    np.testing.assert_allclose((ut1 - times.ut1).to_value("s"), 0.0, atol=2e-6)
    theirs = iers.earth_orientation_table.get().pm_xy(times)
    np.testing.assert_allclose([pole_x, pole_y], [axis.to_value("rad") for axis in theirs], atol=1e-12)


def test_what_is_read_is_the_table_that_is_installed_with_astropy() -> None:
    table = orientation_table()
    theirs = iers.IERS_Auto.read(file=iers.IERS_A_FILE)
    values = installed_values()
    for ours, name in (
        (values.mjd, "MJD"),
        (values.ut1_utc_s, "UT1_UTC"),
        (values.pole_x_arcsec, "PM_x"),
        (values.pole_y_arcsec, "PM_y"),
    ):
        np.testing.assert_array_equal(ours, theirs[name].value)
    assert values.predicted_from_mjd == theirs.meta["predictive_mjd"]
    days = theirs["MJD"].value[::500]
    with iers.earth_orientation_table.set(theirs):
        expected = Time(days + 0.3, format="mjd", scale="utc").ut1
    here = Time(days + 0.3, format="mjd", scale="utc").ut1
    np.testing.assert_allclose((here - expected).to_value("s"), 0.0, atol=1e-9)
    assert table.days_mjd[0] < Time("1974-01-01").mjd
    assert table.days_mjd[-1] > table.measured_to_mjd > Time("2024-01-01").mjd


@pytest.mark.parametrize("clock", ["00:00:00", "12:00:00", "23:59:59.5"])
def test_a_date_on_a_day_with_a_leap_second_is_split_by_the_clock(clock: str) -> None:
    time = Time(f"2016-12-31T{clock}")
    jd, fraction = split_julian_date(time)
    hours, minutes, seconds = (float(part) for part in clock.split(":"))
    assert jd == 2457753.5
    assert fraction * 86400.0 == pytest.approx(hours * 3600 + minutes * 60 + seconds, abs=1e-6)
    assert abs((joined_julian_date(np.array([jd]), np.array([fraction]))[0] - time).to_value("s")) < 1e-6
    assert leap_seconds_between(np.array([2457753.5, 2457754.5, 2457023.5]), 2457754.5).tolist() == [1, 0, 2]


@pytest.mark.parametrize("epoch", [LEAP_DAY, Time("2016-12-31T18:00:00"), Time("2015-06-30T12:00:00")])
def test_teme_to_itrs_agrees_with_astropy_through_a_leap_second(epoch: Time) -> None:
    seconds = np.arange(0.0, 2 * 86400.0, 3571.0)
    times = epoch + TimeDelta(seconds, format="sec")
    r = np.random.default_rng(1).normal(size=(1, len(seconds), 3)) * 4000
    teme = TEME(CartesianRepresentation(r[0].T * u.km), obstime=times)
    theirs = teme.transform_to(ITRS(obstime=times)).cartesian.xyz.to_value(u.km).T
    np.testing.assert_allclose(itrs_from_teme(epoch, seconds, r)[0], theirs, atol=1e-5)


TLE_OF_2016 = (
    "1 25544U 98067A   16366.25000000  .00002182  00000-0  11606-4 0  2926\n"
    "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.54125391563537"
)


def test_sgp4_flies_through_a_leap_second_by_elapsed_time() -> None:
    _, elements = read_tle(TLE_OF_2016)
    model = Satrec.twoline2rv(*TLE_OF_2016.split("\n"))
    epoch = Time("2016-12-31T06:00:00")
    for start in (epoch, Time("2017-01-01T00:00:00")):
        elapsed_s = (start - epoch).to_value("s")
        assert elapsed_s == pytest.approx(0.0 if start is epoch else 18 * 3600 + 1.0)
        seconds = np.array([0.0, 40000.0, 70000.0])
        flown = PROPAGATORS["sgp4"](elements, start, seconds)[0]
        expected = [model.sgp4_tsince((elapsed_s + one) / 60.0)[1] for one in seconds]
        np.testing.assert_allclose(flown, expected, atol=1e-4)


@pytest.mark.parametrize("day", ["2016-12-31", "2015-06-30", "2016-12-30"])
def test_passes_on_a_day_with_a_leap_second_are_skyfields(day: str) -> None:
    skyfield = pytest.importorskip("skyfield.api", reason="skyfield, the reference, is not installed")
    epoch = Time(f"{day}T00:00:00")
    shell = walker("70: 4/2/1", epoch=epoch, altitude_km=600)
    passes = find_passes(shell, STATIONS, epoch=epoch, horizon_s=86400.0)
    scale = skyfield.load.timescale(builtin=True)
    begin, checked = scale.from_astropy(epoch), 0
    for number, model in enumerate(shell.elements.satrecs()):
        satellite = skyfield.EarthSatellite.from_satrec(model, scale)
        for place, station in enumerate(STATIONS):
            there = skyfield.wgs84.latlon(station.lat_deg, station.lon_deg, station.height_m)
            ours = passes[(passes["satellite"] == number) & (passes["station"] == place)]
            starts = ours["start_s"][~ours["open_start"]]
            times = scale.from_astropy(epoch + TimeDelta(starts, format="sec"))
            elevation_deg = (satellite - there).at(times).altaz()[0].degrees
            # Skyfield's frames differ by 0.0002 degrees; half a second is 0.02 degrees and more.
            np.testing.assert_allclose(elevation_deg, 10.0, atol=5e-4)
            checked += len(starts)
        assert begin.tai == pytest.approx(epoch.tai.jd, abs=1e-9)
    assert checked > 30


def test_the_sun_and_shadows_of_2045_need_no_newer_table() -> None:
    epoch = Time("2045-03-21T06:00:00")
    shell = walker("53: 2/1/0", epoch=epoch, altitude_km=550, frame="GCRS")
    eclipses = find_eclipses(shell, epoch=epoch, horizon_s=20000.0)
    assert len(eclipses) >= 6
    distance_km = np.linalg.norm(sun_itrs_km(epoch, np.array([0.0, 20000.0])), axis=1)
    assert (np.abs(distance_km / 149.6e6 - 1) < 0.017).all()


def test_how_old_the_table_is_and_what_it_costs_is_said_in_one_sentence() -> None:
    measured_to = Time(orientation_table().measured_to_mjd, format="mjd", scale="utc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_old_orientation(measured_to - TimeDelta(2, format="jd"), 86400.0)
    with pytest.warns(EarthOrientationWarning) as predicted:
        warn_of_old_orientation(measured_to + TimeDelta(100, format="jd"), 86400.0)
    with pytest.warns(EarthOrientationWarning) as held:
        warn_of_old_orientation(Time("2045-03-21T06:00:00"), 86400.0)
    day = measured_to.to_value("iso", subfmt="date")
    for warned, metres in ((predicted, "may be 5 m off"), (held, "may be 421 m off")):
        [text] = {str(one.message) for one in warned if one.category is EarthOrientationWarning}
        assert f"measured to {day}" in text
        assert metres in text


def test_a_plan_is_another_plan_under_another_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from orbit.motion import frames

    epoch, links = Time("2026-03-01T06:00:00"), Links(SpaceGroundLink(downlink=1e8))
    shell = walker("70: 2/1/0", epoch=epoch, altitude_km=900)

    def plan() -> int:
        built = build_contact_plan(
            shell, STATIONS, links, epoch=epoch, horizon_s=3 * 86400.0, cache_dir=tmp_path
        )
        assert len(built.contacts)
        return len(list(tmp_path.glob("*.npz")))

    assert plan() == plan() == 1
    table = orientation_table()
    ut1_tai_s = table.ut1_tai_s.copy()
    ut1_tai_s[table.days_mjd == Time("2026-03-03").mjd] += 0.01  # neither the first nor the last day
    monkeypatch.setattr(frames, "orientation_table", lambda: replace(table, ut1_tai_s=ut1_tai_s))
    assert plan() == 2


SCENARIO = """
epoch = "2040-03-01T06:00:00Z"
horizon_h = 3.0
constellation = { altitude_km = 1200.0 }
ground.stations = [{ name = "Matera", lat_deg = 40.65, lon_deg = 16.70 }]
"""


@pytest.mark.parametrize(
    "words",
    [
        *(
            pytest.param(["constellation", "far.toml", "--format", "json", *frame], marks=pytest.mark.slow)
            for frame in ([], ["--set", "constellation.frame=GCRS"])
        ),
        ["contacts", "far.toml", "--format", "json", "--set", "power.downlink=sunlight"],
    ],
)
def test_commands_for_2040_reach_for_no_network_and_say_once_what_that_costs(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "far.toml").write_text(SCENARIO)
    # A table that lies about in the working directory is not the one that is installed.
    (tmp_path / "finals2000A.all").write_text("not a table\n")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "astropy").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("warning: Earth orientation: the installed table is measured to ")
    assert "421 m" in line


def test_elements_of_a_day_with_a_leap_second_keep_their_clock() -> None:
    satellites = from_elements(["ISS"], read_tle(TLE_OF_2016)[1])
    assert satellites.element_epoch[0].isot == "2016-12-31T06:00:00.000"
    assert satellites.age_days(Time("2017-01-01T06:00:00"))[0] == pytest.approx(86401 / 86400, abs=1e-9)
