"""Frames and ephemeris against astropy and against SGP4 itself."""

from __future__ import annotations

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import ITRS, TEME, CartesianRepresentation, EarthLocation
from astropy.time import Time, TimeDelta
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import SatrecArray

from orbit.constellation import from_elements, walker
from orbit.motion.frames import east_north_up, itrs_from_geodetic, itrs_from_teme, split_julian_date
from orbit.motion.kepler import eccentric_anomaly
from orbit.motion.propagation import PropagationError
from orbit.search.ephemeris import ephemeris, ephemeris_step_s, over_groups
from orbit.stations import GroundStation, StationError

EPOCH = Time("2026-03-01T06:00:00")


def test_teme_to_itrs_agrees_with_astropy() -> None:
    seconds = np.linspace(0, 7 * 86400, 15)
    times = EPOCH + TimeDelta(seconds, format="sec")
    rng = np.random.default_rng(1)
    r = rng.normal(size=(1, 15, 3)) * 4000
    teme = TEME(CartesianRepresentation(r[0].T * u.km), obstime=times)
    theirs = teme.transform_to(ITRS(obstime=times)).cartesian
    np.testing.assert_allclose(itrs_from_teme(EPOCH, seconds, r)[0], theirs.xyz.to_value(u.km).T, atol=1e-5)


@given(st.floats(-90, 90), st.floats(-180, 360), st.floats(-500, 9000))
def test_geodetic_positions_agree_with_astropy(lat: float, lon: float, height: float) -> None:
    theirs = EarthLocation.from_geodetic(lon, lat, height).itrs.cartesian.xyz.to_value(u.km)
    np.testing.assert_allclose(itrs_from_geodetic(lat, lon, height), theirs, atol=1e-6)
    np.testing.assert_allclose(east_north_up(lat, lon) @ east_north_up(lat, lon).T, np.eye(3), atol=1e-12)


def test_a_split_date_is_a_midnight_and_a_fraction() -> None:
    for text in ("2026-03-01T06:00:00", "2026-03-01T00:00:00", "2026-02-28T23:59:59.999999"):
        jd, fraction = split_julian_date(Time(text))
        assert jd % 1 == 0.5
        assert 0 <= fraction < 1
        assert abs((Time(jd, fraction, format="jd", scale="utc") - Time(text)).to_value("s")) < 1e-6


def test_the_ephemeris_of_passes_is_sgp4_to_a_centimetre_and_its_velocity_the_derivative() -> None:
    """To two decimetres where the orbit is as eccentric as Molniya's."""
    low = walker("53: 6/3/1", epoch=EPOCH, altitude_km=400)
    eccentric = walker("63.4: 1/1/0", epoch=EPOCH, mean_motion_rev_day=2.006, ecc=0.69, argp_deg=270)
    for shell, off_km in ((low, 1e-5), (eccentric, 2e-4)):
        (_, motion), *more = over_groups(shell, EPOCH, 86400.0, lambda _, motion: motion)
        assert not more
        seconds = np.random.default_rng(3).uniform(0, 86400, 400)
        position = motion.positions(seconds)
        jd, fraction = split_julian_date(EPOCH)
        _, r, _ = SatrecArray(shell.elements.satrecs()).sgp4(np.full(400, jd), fraction + seconds / 86400)
        exact = itrs_from_teme(EPOCH, seconds, r)
        assert np.linalg.norm(position - exact, axis=2).max() < off_km
        again, velocity = motion.at(np.zeros(400, int), seconds)
        np.testing.assert_allclose(again, position[0], atol=1e-9)
        ahead, _ = motion.at(np.zeros(400, int), seconds + 0.5)
        behind, _ = motion.at(np.zeros(400, int), seconds - 0.5)
        inner = (seconds > 1) & (seconds < 86399)
        np.testing.assert_allclose((ahead - behind)[inner], velocity[inner], atol=1e-4)


def test_the_ephemeris_of_links_is_within_a_metre_of_that_of_passes() -> None:
    shell = walker("97: 6/3/1", epoch=EPOCH, altitude_km=550, ecc=0.01)
    seconds = np.random.default_rng(4).uniform(0, 86400, 400)
    step_s = ephemeris_step_s(shell, 86400.0)
    wide = ephemeris(shell, EPOCH, round(86400.0 / step_s), step_s=step_s)
    (_, fine), *_ = over_groups(shell, EPOCH, 86400.0, lambda _, motion: motion)
    assert wide.step_s > 2 * fine.step_s
    apart_km = np.linalg.norm(wide.positions(seconds) - fine.positions(seconds), axis=2)
    assert apart_km.max() < 1e-3


def test_j2_keeps_the_secular_motion_of_sgp4() -> None:
    shell = walker("70: 6/3/1", epoch=EPOCH, altitude_km=700)
    apart = []
    for propagator in ("sgp4", "j2"):
        motion = ephemeris(shell.propagated_by(propagator), EPOCH, 1, step_s=1.0, start_s=10 * 86400.0)
        apart.append(motion.state[:, 0, :3])
    # Short-period terms are some ten kilometres; a wrong rate of node or anomaly would be hundreds after
    # ten days.
    assert np.linalg.norm(apart[0] - apart[1], axis=1).max() < 40


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 0.98)), min_size=1, max_size=20))
def test_keplers_equation_is_solved_for_every_ellipse(cases) -> None:
    mean, ecc = np.array(cases).T
    anomaly = eccentric_anomaly(mean, ecc)
    np.testing.assert_allclose(anomaly - ecc * np.sin(anomaly), mean, atol=1e-9)


def test_a_satellite_that_decays_is_named_with_the_time() -> None:
    shell = walker("53: 3/1/0", epoch=EPOCH, altitude_km=250)
    falling = dataclasses.replace(shell.elements, bstar=np.array([0, 0.05, 0]))
    decaying = from_elements(["a", "b", "c"], falling)
    with pytest.raises(PropagationError, match=r"satellite 'b': SGP4 fails \d+ s after the epoch"):
        list(over_groups(decaying, EPOCH, 5 * 86400.0, lambda _, motion: motion))


def test_the_step_divides_the_horizon() -> None:
    shell = walker("53: 3/1/0", epoch=EPOCH, altitude_km=550)
    for horizon_s in (0.5, 10.0, 12345.6, 86400.0):
        steps = horizon_s / ephemeris_step_s(shell, horizon_s)
        assert steps == pytest.approx(round(steps), abs=1e-9)
        assert steps >= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lat_deg": 123}, "station 'Kiruna': lat_deg: found 123, allowed is -90 to 90"),
        ({"lon_deg": float("nan")}, "lon_deg: found nan"),
        ({"mask_deg": 95}, "mask_deg: found 95, allowed is -5 to 90"),
        ({"mask_deg": ((0, 5), (0, 6))}, "mask_deg: one azimuth appears twice"),
        ({"mask_deg": ()}, "mask_deg: found an empty profile"),
        ({"mask_deg": ((400, 5),)}, "mask_deg azimuth: found 400"),
        ({"max_range_km": 0}, "max_range_km: found 0"),
        ({"height_m": 4e5}, "height_m: found 400000.0"),
        ({"name": ""}, "station name: found an empty text"),
    ],
)
def test_an_impossible_station_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(StationError) as refusal:
        GroundStation(**{"name": "Kiruna", "lat_deg": 67.9, "lon_deg": 21.0, **changes})
    assert message in str(refusal.value)


def test_a_horizon_profile_is_linear_and_closes_round_the_north() -> None:
    station = GroundStation("a", 0, lon_deg=0, mask_deg=((90, 20), (10, 0), (350, 10)))
    np.testing.assert_allclose(station.mask_at(np.array([0.0, 10, 50, 90, 350, 220])), [5, 0, 10, 20, 10, 15])
    assert station.lowest_mask_deg == 0
