"""The orientation of the Earth and the leap seconds: one table for our own look-ups and for all of astropy's.

Astropy downloads a new table when its own is a month old, and fails where it cannot.  Here the table that is
installed with it (package ``astropy-iers-data``) is the only one: nothing is downloaded, equal input gives equal
results, and every date can be asked for.  The first and the last values hold before and after the table;
``warn_of_old_orientation`` says what that costs.
"""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from functools import cache

import astropy.units as u
import erfa
import numpy as np
from astropy.time import Time
from astropy.utils import iers

from orbit.motion.orientation_files import installed_values
from orbit.orbit_warning import OrbitWarning

DAY_S = 86400.0
MJD_ZERO = 2400000.5
EVER_MJD = (-1e6, 1e6)  # astropy's own look-ups find the held values however far they are
FIRST_LEAP_SECOND_JD = 2441317.5  # 1972-01-01; before, UTC drifted against TAI instead

PREDICTED_DAYS = (
    30.0  # a mission that needs no value predicted farther ahead is off by a decimetre a day at most
)
TURN_M_S = 465.1  # how fast a place on the equator moves
POLE_M_ARCSEC = 30.9
GROUND_SPEED_M_S = 7000.0  # of a low orbit, by which metres become the time of a pass
DRIFT_S_DAY = 0.0012  # UT1 against TAI, mean of the years 1990 to 2017: 12 leap seconds
LARGEST_UT1_UTC_S = 0.9  # leap seconds are there to keep it below that

# For every astropy look-up of this process.  Past the last announced leap second, ERFA calls each year dubious:
# `warn_of_old_orientation` says it once.
iers.conf.auto_download = False
iers.conf.auto_max_age = None
warnings.filterwarnings("ignore", "ERFA function .*dubious year", erfa.ErfaWarning)


class EarthOrientationWarning(OrbitWarning):
    """A mission lies where the orientation of the Earth is predicted or unknown."""


@dataclass(frozen=True, eq=False)
class OrientationTable:
    """Daily values at 0h UTC: UT1 − TAI [s] and the pole's coordinates x, y [rad], each of the shape of
    ``days_mjd``.

    Values are measured before ``measured_to_mjd`` and predicted from there on.
    """

    days_mjd: np.ndarray
    ut1_tai_s: np.ndarray
    _: KW_ONLY
    pole_x_rad: np.ndarray
    pole_y_rad: np.ndarray
    measured_to_mjd: float


@cache
def orientation_table() -> OrientationTable:
    """Read the table that is installed with astropy, and make it the one that astropy looks into."""
    values = installed_values()
    days, ut1_utc_s = values.mjd, values.ut1_utc_s
    pole_x, pole_y = values.pole_x_arcsec * u.arcsec, values.pole_y_arcsec * u.arcsec

    def held(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:1], values, values[-1:]])

    ever = {"MJD": u.Quantity([EVER_MJD[0], *days, EVER_MJD[1]], "d"), "UT1_UTC": held(ut1_utc_s) * u.s}
    ever |= {"PM_x": held(pole_x.value) * pole_x.unit, "PM_y": held(pole_y.value) * pole_y.unit}
    ever |= {name: np.zeros(len(days) + 2) * u.marcsec for name in ("dX_2000A", "dY_2000A")}
    iers.earth_orientation_table.set(iers.IERS(ever))

    ut1_tai_s = ut1_utc_s - tai_utc_s(days + MJD_ZERO)
    return OrientationTable(
        days,
        ut1_tai_s,
        pole_x_rad=pole_x.to_value("rad"),
        pole_y_rad=pole_y.to_value("rad"),
        measured_to_mjd=values.predicted_from_mjd,
    )


def tai_utc_s(jd: np.ndarray) -> np.ndarray:
    """TAI − UTC [s] at the midnights ``jd`` (UTC Julian dates, any shape); 0 before 1960."""
    years, months, days, _ = erfa.jd2cal(jd, 0.0)
    return np.asarray(erfa.dat(years, months, days, 0.0), float)


@cache
def day_length_s(midnight_jd: float) -> float:
    """Seconds of the UTC day that begins at ``midnight_jd``: a leap second makes it 86,401."""
    if midnight_jd < FIRST_LEAP_SECOND_JD:
        return DAY_S
    today, tomorrow = tai_utc_s(np.array([midnight_jd, midnight_jd + 1.0]))
    return DAY_S + float(tomorrow - today)


def warn_of_old_orientation(epoch: Time, horizon_s: float) -> None:
    """Warn when a mission lasts more than 30 days beyond the measured part of the table: how old that is, and how
    far places and passes may be off.

    For predicted values the estimate is the one that the IERS prints in each Bulletin A, 0.00025 d^0.75 s and
    0.00068 d^0.80 arcseconds after d days.  For held ones the drift of UT1 is added, up to what leap seconds allow.
    """
    table = orientation_table()
    end_mjd = float(epoch.utc.mjd) + horizon_s / DAY_S
    ahead_days, held_days = (max(0.0, end_mjd - mjd) for mjd in (table.measured_to_mjd, table.days_mjd[-1]))
    if ahead_days <= PREDICTED_DAYS:
        return
    predicted_days = ahead_days - held_days
    ut1_s = 0.00025 * predicted_days**0.75 + DRIFT_S_DAY * held_days
    pole_arcsec = 0.00068 * predicted_days**0.80
    off_m = TURN_M_S * min(ut1_s, LARGEST_UT1_UTC_S) + POLE_M_ARCSEC * pole_arcsec
    end, measured_to, predicted_to = (
        Time(mjd, format="mjd", scale="utc").to_value("iso", subfmt="date")
        for mjd in (end_mjd, table.measured_to_mjd, table.days_mjd[-1])
    )
    known = f"is predicted from there to {predicted_to}" + (" and held afterwards" if held_days else "")
    warnings.warn(
        f"Earth orientation: the installed table is measured to {measured_to}, the mission lasts to {end}; the table "
        f"{known}, so places on the ground may be {off_m:.0f} m off and the times of passes "
        f"{1000 * off_m / GROUND_SPEED_M_S:.0f} ms (a newer astropy-iers-data has a newer table)",
        EarthOrientationWarning,
        stacklevel=3,
    )
