"""Frames: TEME → ITRS, geodetic WGS-84 → ITRS, and the constants of the Earth.

SGP4 states are in TEME, the true equator and mean equinox of date.  GMST of 1982 on UT1 turns TEME into the
pseudo-Earth-fixed frame, polar motion turns that into ITRS (Vallado, Fundamentals of Astrodynamics, 4th
ed., § 3.7). Times are seconds after an epoch, never absolute: a float64 Julian date resolves 40 µs, or 0.3
m of orbit.
"""

from __future__ import annotations

import numpy as np
from astropy.time import Time, TimeDelta

from orbit.motion.earth_orientation import DAY_S, MJD_ZERO, day_length_s, orientation_table, tai_utc_s

EQUATORIAL_RADIUS_KM = 6378.137  # WGS-84
FLATTENING = 1 / 298.257223563  # WGS-84
LIGHT_KM_S = 299792.458


def split_julian_date(epoch: Time) -> tuple[float, float]:
    """UTC Julian date of ``epoch`` as (date at the midnight before, fraction of 86,400 s), exact to nanoseconds.

    The fraction is that of a clock, as in element sets; astropy's runs slower on a day with a leap second.
    """
    utc = epoch.utc
    whole = np.floor(utc.jd1 - 0.5) + 0.5
    day, fraction = np.divmod((utc.jd1 - whole) + utc.jd2, 1.0)
    midnight = float(whole + day)
    return midnight, float(fraction) * (day_length_s(midnight) / DAY_S)


def joined_julian_date(midnight: np.ndarray, fraction: np.ndarray) -> Time:
    """The UTC times at ``fraction`` of 86,400 s after the Julian dates ``midnight``: undoes ``split_julian_date``."""
    return Time(midnight, format="jd", scale="utc") + TimeDelta(fraction * DAY_S, format="sec")


def leap_seconds_between(jd: np.ndarray, later_jd: float) -> np.ndarray:
    """Leap seconds from the midnights ``jd`` (N,) to the midnight ``later_jd``, shape (N,)."""
    days, inverse = np.unique(jd, return_inverse=True)
    return (tai_utc_s(np.array(later_jd)) - tai_utc_s(days))[inverse]


def earth_orientation(epoch: Time, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UT1 − UTC [s] and pole coordinates x, y [rad] at ``seconds`` after ``epoch``, each of the shape of
    ``seconds``.

    This UTC is that of ``epoch``, and goes on without the leap seconds to come, as ``seconds`` do.  Outside the
    span of the table (1973 to about a year ahead of its release) its first or last values are held.
    """
    table, (jd, fraction) = orientation_table(), split_julian_date(epoch)
    mjd = jd - MJD_ZERO + fraction + seconds / DAY_S
    columns = (table.ut1_tai_s, table.pole_x_rad, table.pole_y_rad)
    ut1_tai_s, pole_x, pole_y = (np.interp(mjd, table.days_mjd, column) for column in columns)
    return ut1_tai_s + tai_utc_s(np.array(jd)), pole_x, pole_y


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
