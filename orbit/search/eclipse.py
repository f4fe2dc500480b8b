"""When satellites are in the shadow of the Earth.

The Earth's disc (a sphere of the equatorial radius) covers the Sun's, seen from the satellite: all of it in
the umbra, some of it in the penumbra (Montenbruck & Gill, Satellite Orbits, § 3.4.2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from astropy.coordinates import ITRS, get_sun
from astropy.time import Time, TimeDelta

from orbit.constellation import Constellation
from orbit.motion.earth_orientation import orientation_table
from orbit.motion.frames import EQUATORIAL_RADIUS_KM
from orbit.search.contacts import check_horizon
from orbit.search.ephemeris import Ephemeris, over_groups
from orbit.search.intervals import not_negative
from orbit.search.pass_search import dot

SUN_RADIUS_KM = 695_700.0  # IAU 2015 nominal
SLOPE_STEP_S = 1.0

ECLIPSE = np.dtype(
    [
        ("satellite", "<i4"),
        ("start_s", "<f8"),
        ("end_s", "<f8"),
        ("open_start", "?"),  # True where the horizon, not the shadow, cuts the interval
        ("open_end", "?"),
    ]
)


def find_eclipses(
    constellation: Constellation,
    *,
    epoch: Time,
    horizon_s: float,
    shadow: Literal["umbra", "penumbra"] = "umbra",
) -> np.ndarray:
    """The eclipses in ``[0, horizon_s]`` after ``epoch``, an array of ``ECLIPSE`` by satellite and time.

    With ``shadow="penumbra"`` an interval begins and ends with the first and the last touch of the discs.
    """
    check_horizon(horizon_s)
    if shadow not in ("umbra", "penumbra"):
        raise ValueError(f"shadow: found {shadow!r}, allowed are umbra and penumbra")

    def of_group(first: int, motion: Ephemeris) -> np.ndarray:
        eclipses = _eclipses_of(motion, sun_itrs_km(epoch, motion.nodes_s), shadow == "umbra")
        eclipses["satellite"] += first
        return eclipses

    eclipses_of = [eclipses for _, eclipses in over_groups(constellation, epoch, horizon_s, of_group)]
    return np.concatenate([np.empty(0, ECLIPSE), *eclipses_of])


def sun_itrs_km(epoch: Time, seconds: np.ndarray) -> np.ndarray:
    """The Sun's position in ITRS [km] at ``seconds`` (M,) after ``epoch``, shape (M, 3)."""
    times = epoch.utc + TimeDelta(seconds, format="sec")
    orientation_table()  # astropy looks into it
    return get_sun(times).transform_to(ITRS(obstime=times)).cartesian.xyz.to_value("km").T


def _eclipses_of(motion: Ephemeris, sun_km: np.ndarray, umbra: bool) -> np.ndarray:
    nodes_s = motion.nodes_s

    def covered(position: np.ndarray, sun: np.ndarray) -> np.ndarray:
        """Return the angle [rad] by which the Sun's disc is inside the Earth's (umbra), or inside reach of its rim
        (penumbra)."""
        to_sun = sun - position
        distance, radius = np.sqrt(dot(to_sun, to_sun)), np.sqrt(dot(position, position))
        earth = np.arcsin(np.minimum(EQUATORIAL_RADIUS_KM / radius, 1.0))
        disc = np.arcsin(SUN_RADIUS_KM / distance)
        apart = np.arccos(np.clip(-dot(position, to_sun) / (radius * distance), -1, 1))
        return earth - apart + (-disc if umbra else disc)

    def at(satellite: np.ndarray, time: np.ndarray) -> np.ndarray:
        sun = np.stack([np.interp(time, nodes_s, sun_km[:, axis]) for axis in range(3)], axis=1)
        return covered(motion.at(satellite, time)[0], sun)

    def with_slope(satellite: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        early = np.clip(time - SLOPE_STEP_S, nodes_s[0], nodes_s[-1] - 2 * SLOPE_STEP_S)
        slope = (at(satellite, early + 2 * SLOPE_STEP_S) - at(satellite, early)) / (2 * SLOPE_STEP_S)
        return at(satellite, time), slope

    satellites, nodes = motion.state.shape[:2]
    member, when = np.repeat(np.arange(satellites), nodes), np.tile(nodes_s, satellites)
    value, slope = (column.reshape(satellites, nodes) for column in with_slope(member, when))
    windows = not_negative(nodes_s, value, slope, with_slope)
    eclipses = np.empty(len(windows.row), ECLIPSE)
    eclipses["satellite"], eclipses["start_s"], eclipses["end_s"] = windows
    eclipses["open_start"], eclipses["open_end"] = (
        windows.start_s == nodes_s[0],
        windows.end_s == nodes_s[-1],
    )
    return eclipses
