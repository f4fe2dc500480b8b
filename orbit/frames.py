"""Frames: TEME → ITRS, geodetic WGS-84 → ITRS, and the constants of the Earth.

SGP4 states are in TEME, the true equator and mean equinox of date.  GMST of 1982 on UT1 turns TEME into the
pseudo-Earth-fixed frame, polar motion turns that into ITRS (Vallado, Fundamentals of Astrodynamics, 4th
ed., § 3.7). Times are seconds after an epoch, never absolute: a float64 Julian date resolves 40 µs, or 0.3
m of orbit.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from astropy.time import Time
from astropy.utils import iers

EQUATORIAL_RADIUS_KM = 6378.137  # WGS-84
FLATTENING = 1 / 298.257223563  # WGS-84
LIGHT_KM_S = 299792.458
DAY_S = 86400.0


def split_julian_date(epoch: Time) -> tuple[float, float]:
    """UTC Julian date of ``epoch`` as (date at the midnight before, fraction of the day), exact to
    nanoseconds."""
    utc = epoch.utc
    whole = np.floor(utc.jd1 - 0.5) + 0.5
    day, fraction = np.divmod((utc.jd1 - whole) + utc.jd2, 1.0)
    return float(whole + day), float(fraction)


@cache
def _earth_orientation() -> iers.IERS_Auto:
    """The IERS table that is installed with astropy: nothing is downloaded, so runs repeat."""
    with iers.conf.set_temp("auto_download", False):
        return iers.IERS_Auto.open()


def earth_orientation(epoch: Time, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UT1 − UTC [s] and pole coordinates x, y [rad] at ``seconds`` after ``epoch``, each of the shape of
    ``seconds``.

    Outside the span of the table (1973 to about a year ahead of its release) its first or last value is held.
    """
    jd, fraction = split_julian_date(epoch)
    mjd = np.clip(jd - 2400000.5 + fraction + seconds / DAY_S, *_earth_orientation()["MJD"][[0, -1]].value)
    days, *daily = _daily_orientation(int(mjd.min()), int(mjd.max()) + 2)
    ut1_utc_s, pole_x, pole_y = (np.interp(mjd, days, values) for values in daily)
    return ut1_utc_s, pole_x, pole_y


@lru_cache(
    maxsize=16
)  # a table of astropy takes milliseconds to look into, as long as some satellites do to fly
def _daily_orientation(first_mjd: int, end_mjd: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The days ``first_mjd`` to before ``end_mjd``, and UT1 − UTC [s], x, y [rad] at their midnights."""
    table, days = _earth_orientation(), np.arange(float(first_mjd), float(end_mjd))
    ut1_utc = table.ut1_utc(2400000.5, days, return_status=True)[0]
    pole_x, pole_y, _ = table.pm_xy(2400000.5, days, return_status=True)
    return days, ut1_utc.to_value("s"), pole_x.to_value("rad"), pole_y.to_value("rad")


def greenwich_angle(epoch: Time, seconds: np.ndarray, ut1_utc_s: np.ndarray) -> np.ndarray:
    """Greenwich mean sidereal time of 1982 [rad] at ``seconds`` (M,) after ``epoch``, not reduced to one
    turn."""
    jd, fraction = split_julian_date(epoch)
    days = (seconds + ut1_utc_s) / DAY_S + fraction  # UT1 days after the midnight before the epoch
    century = (jd - 2451545.0 + days) / 36525.0
    gmst_s = 67310.54841 + century * (8640184.812866 + century * (0.093104 - 6.2e-6 * century))
    return 2 * np.pi * ((jd - 2451545.0) % 1.0 + days + gmst_s / DAY_S)


def itrs_from_teme(epoch: Time, seconds: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Turn TEME positions [km] (N, M, 3) at ``seconds`` (M,) after ``epoch`` into ITRS."""
    ut1_utc_s, pole_x, pole_y = earth_orientation(epoch, seconds)
    turn = np.exp(-1j * greenwich_angle(epoch, seconds, ut1_utc_s))
    xy, z = (
        (position[..., 0] + 1j * position[..., 1]) * turn,
        position[..., 2],
    )  # the spin is one complex product
    turned = np.empty_like(position)
    turned[..., 0] = xy.real + pole_x * z  # polar motion, by less than a microradian, to first order
    turned[..., 1] = xy.imag - pole_y * z
    turned[..., 2] = z - pole_x * xy.real + pole_y * xy.imag
    return turned


def itrs_from_geodetic(lat_deg: float, lon_deg: float, height_m: float) -> np.ndarray:
    """ITRS position [km] of a geodetic WGS-84 position; shape (3,)."""
    lat, lon = np.radians(lat_deg), np.radians(lon_deg)
    eccentricity2 = FLATTENING * (2 - FLATTENING)
    curvature_km = EQUATORIAL_RADIUS_KM / np.sqrt(1 - eccentricity2 * np.sin(lat) ** 2)
    height_km = height_m / 1000.0
    across = (curvature_km + height_km) * np.cos(lat)
    along = (curvature_km * (1 - eccentricity2) + height_km) * np.sin(lat)
    return np.array([across * np.cos(lon), across * np.sin(lon), along])


def east_north_up(lat_deg: float, lon_deg: float) -> np.ndarray:
    """The unit vectors east, north and up (rows, in ITRS) of the geodetic horizon; shape (3, 3)."""
    lat, lon = np.radians(lat_deg), np.radians(lon_deg)
    return np.array(
        [
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
        ]
    )
