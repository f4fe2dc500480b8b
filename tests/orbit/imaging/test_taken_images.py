"""Images along the ground track: against closed forms of circular orbits."""

import numpy as np
import pytest
from astropy.time import Time

from orbit.constellation import walker
from orbit.imaging.taken_images import Camera, taken_images

EQUINOX = Time("2026-03-20T14:46:00", scale="utc")
ALWAYS = -90.0
ALTITUDE_KM = 550.0
# Two-body mean motion, and that of the Earth's rotation, rad/s.
MEAN_MOTION = np.sqrt(398600.4418 / (6378.137 + ALTITUDE_KM) ** 3)
EARTH = 7.2921159e-5


def shell(pattern, epoch=EQUINOX, **keys):
    return walker(pattern, epoch=epoch, altitude_km=ALTITUDE_KM, propagator="j2", **keys)


def test_a_constant_rate_by_day_and_night_fills_linearly() -> None:
    taken = taken_images(
        shell("0: 2/1/0"),
        Camera(0.25, duty_cycle=0.5, lowest_sun_deg=ALWAYS),
        epoch=EQUINOX,
        horizon_s=40_000.0,
    )
    for satellite in range(2):
        for time_s in (0.0, 1.0, 777.7, 40_000.0):
            assert taken.by(satellite, time_s) == pytest.approx(time_s / 8.0, abs=1e-9)
    assert taken.reached_s(0, np.array([1.0, 100.0, 5000.0, 5001.0])) == pytest.approx(
        [8.0, 800.0, 40_000.0, np.inf]
    )
    assert len(taken.time_s[0]) == 2  # nothing is kept that a straight line says


def test_an_orbit_through_the_subsolar_point_is_over_daylight_for_half_of_the_time() -> None:
    revolutions = 10 * 2 * np.pi / MEAN_MOTION
    taken = taken_images(shell("0: 3/1/0"), Camera(1.0), epoch=EQUINOX, horizon_s=float(revolutions))
    for satellite in range(3):
        assert taken.by(satellite, revolutions) / revolutions == pytest.approx(0.5, rel=0.01)


def test_it_is_day_where_the_sun_is_overhead_and_night_on_the_other_side() -> None:
    # The Sun's mean longitude at the March equinox is 0: satellites begin under it, and opposite.
    taken = taken_images(shell("0: 2/1/0"), Camera(1.0), epoch=EQUINOX, horizon_s=5000.0)
    quarter_s = np.pi / 2 / MEAN_MOTION
    under, opposite = (taken.by(satellite, quarter_s - 60.0) for satellite in range(2))
    assert under == pytest.approx(quarter_s - 60.0, abs=30.0)
    assert opposite == 0.0
    assert taken.by(0, 3 * quarter_s - 60.0) == pytest.approx(quarter_s, abs=60.0)


def test_a_higher_sun_is_there_for_less_time() -> None:
    lengths = []
    period_s = 2 * np.pi / MEAN_MOTION
    for sun_deg in (0.0, 30.0, 60.0):
        camera = Camera(1.0, lowest_sun_deg=sun_deg)
        taken = taken_images(shell("0: 1/1/0"), camera, epoch=EQUINOX, horizon_s=float(10 * period_s))
        lengths.append(taken.by(0, 10 * period_s) / (10 * period_s))
    # The J2 term adds 7° to ten revolutions, which end under the Sun again.
    assert lengths == pytest.approx([180 / 360, 120 / 360, 60 / 360], rel=0.02)


def test_a_swath_takes_the_ground_that_it_passes_over() -> None:
    camera = Camera(swath_km=20.0, image_km2=25.0, lowest_sun_deg=ALWAYS)
    taken = taken_images(shell("0: 1/1/0"), camera, epoch=EQUINOX, horizon_s=50_000.0)
    ground_km = (MEAN_MOTION - EARTH) * 6371.0088 * 50_000.0
    # The J2 term moves a satellite over the equator by 0.2 %.
    assert taken.by(0, 50_000.0) == pytest.approx(20.0 * ground_km / 25.0, rel=0.004)


def test_a_box_takes_its_part_of_the_equator() -> None:
    # 60° of longitude, across 180°; and the same ground as two boxes that overlap.
    horizon_s = 10 * 2 * np.pi / (MEAN_MOTION - EARTH)
    for areas in (((150.0, -10.0, -150.0, 10.0),), ((150.0, -1.0, 180.0, 1.0), (170.0, -5.0, -150.0, 5.0))):
        camera = Camera(1.0, lowest_sun_deg=ALWAYS, areas=areas)
        taken = taken_images(shell("0: 1/1/0"), camera, epoch=EQUINOX, horizon_s=float(horizon_s))
        assert taken.by(0, horizon_s) / horizon_s == pytest.approx(60 / 360, rel=0.01)
    north = Camera(1.0, lowest_sun_deg=ALWAYS, areas=((-180.0, 30.0, 180.0, 90.0),))
    assert taken_images(shell("0: 1/1/0"), north, epoch=EQUINOX, horizon_s=20_000.0).by(0, 20_000.0) == 0.0


def test_a_box_of_latitudes_is_crossed_for_the_time_that_the_sphere_says() -> None:
    # Over 53°: |geodetic latitude| below 30 for the part of an orbit in which |sin u| < sin(29.83°) / sin(53°).
    camera = Camera(1.0, lowest_sun_deg=ALWAYS, areas=((-180.0, -30.0, 180.0, 30.0),))
    horizon_s = 10 * 2 * np.pi / MEAN_MOTION
    taken = taken_images(shell("53: 1/1/0"), camera, epoch=EQUINOX, horizon_s=float(horizon_s))
    part = np.arcsin(np.sin(np.radians(29.833)) / np.sin(np.radians(53.0))) / (np.pi / 2)
    assert taken.by(0, horizon_s) / horizon_s == pytest.approx(part, rel=0.01)


def test_satellites_of_a_large_shell_are_counted_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shell("53: 6/3/1")
    camera = Camera(0.1, areas=((-20.0, -40.0, 60.0, 40.0),))
    monkeypatch.setattr("orbit.imaging.taken_images._MOST_SAMPLES", 2000)
    together = taken_images(whole, camera, epoch=EQUINOX, horizon_s=20_000.0)
    for satellite in (0, 5):
        alone = taken_images(
            whole.take(slice(satellite, satellite + 1)), camera, epoch=EQUINOX, horizon_s=20_000.0
        )
        assert together.by(satellite, 20_000.0) == pytest.approx(alone.by(0, 20_000.0), rel=1e-6)
        assert np.all(np.diff(together.images[satellite]) >= 0.0)
