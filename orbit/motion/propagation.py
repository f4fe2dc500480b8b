"""Propagation: TEME positions from mean elements, on a grid of seconds after an epoch.

``sgp4`` is the default.  ``j2`` moves a Kepler ellipse by the secular rates of J2 alone: faster, and some
ten kilometres off SGP4, which also knows the short-period terms.  ``cowell-j2`` integrates numerically
through boinor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.time import Time
from sgp4.api import SGP4_ERRORS, SatrecArray

from orbit.motion.elements import ElementsError, MeanElements
from orbit.motion.frames import DAY_S, leap_seconds_between, split_julian_date
from orbit.motion.kepler import MU_KM3_S2, RADIUS_KM, brouwer_mean_motion, eccentric_anomaly, secular_rates

LOWEST_KM = 80.0  # nothing orbits below
HIGHEST_APOGEE = 1.1  # of the apogee of the elements; drag lowers it, the Moon and the Sun raise it by less
HEIGHT_LOOKS = 24  # times at which heights are looked at, of however many

Propagator = Callable[[MeanElements, Time, np.ndarray], np.ndarray]  # -> TEME positions [km], (N, M, 3)


class PropagationError(ElementsError):
    """Satellite number ``satellite`` cannot be propagated to ``after_s`` seconds after the epoch: it decays, or never
    could fly."""

    def __init__(self, message: str, satellite: int, *, after_s: float) -> None:
        super().__init__(message)
        self.satellite = satellite
        self.after_s = after_s


def _sgp4(elements: MeanElements, epoch: Time, seconds: np.ndarray) -> np.ndarray:
    errors, position = sgp4_positions(elements, epoch, seconds)
    looked_at = np.unique(
        np.linspace(0, len(seconds) - 1, HEIGHT_LOOKS).astype(np.int64)
    )  # costs next to nothing
    failed = errors != 0
    failed[:, looked_at] |= absurd_heights(elements, position[:, looked_at])
    if failed.any():
        satellite, node = np.argwhere(failed)[0]
        reason = reason_of_failure(elements, satellite, errors[satellite, node], position[satellite, node])
        message = f"SGP4 fails {seconds[node]:.0f} s after the epoch: {reason}"
        raise PropagationError(message, int(satellite), after_s=float(seconds[node]))
    return position


def absurd_heights(elements: MeanElements, position: np.ndarray) -> np.ndarray:
    """Mark (N, M) the TEME positions [km] (N, M, 3) that are below 80 km or far above the apogee.

    SGP4's series of the drag diverge if the elements are too old, often without an error.
    """
    radius_km = np.sqrt(np.einsum("nmx,nmx->nm", position, position))
    lowest_km, highest_km = _radii_km(elements)
    return ~((radius_km >= lowest_km) & (radius_km <= highest_km[:, None]))


def reason_of_failure(elements: MeanElements, satellite: int, error: int, position: np.ndarray) -> str:
    """Return why a satellite cannot be flown to a position (3,) [km]: SGP4's own message, or its absurd height."""
    if error:
        return SGP4_ERRORS[int(error)]
    lowest_km, highest_km = _radii_km(elements)
    heights_km = np.array([np.linalg.norm(position), lowest_km, highest_km[satellite]]) - RADIUS_KM
    return "it would be {:.0f} km high, its elements allow {:.0f} to {:.0f} km".format(*heights_km)


def _radii_km(elements: MeanElements) -> tuple[float, np.ndarray]:
    semi_major_km = (MU_KM3_S2 / brouwer_mean_motion(elements) ** 2) ** (1 / 3)
    return RADIUS_KM + LOWEST_KM, semi_major_km * (1 + elements.ecc) * HIGHEST_APOGEE


def sgp4_positions(elements: MeanElements, epoch: Time, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SGP4's error codes (N, M), 0 where there is none, and TEME positions [km] (N, M, 3)."""
    jd, fraction = split_julian_date(epoch)
    # SGP4 takes two dates for so many days apart: a leap second between them has to be added.
    leap_s = leap_seconds_between(elements.epoch_jd, jd)

    def with_leap_seconds(some: MeanElements, added_s: float) -> tuple[np.ndarray, np.ndarray]:
        days = fraction + (seconds + added_s) / DAY_S
        return SatrecArray(some.satrecs()).sgp4(np.full(seconds.shape, jd), days)[:2]

    steps_s = np.unique(leap_s)
    if len(steps_s) == 1:
        return with_leap_seconds(elements, steps_s[0])
    errors = np.empty((len(elements), len(seconds)), np.uint8)
    position = np.empty((len(elements), len(seconds), 3))
    for added_s in steps_s:
        some = np.flatnonzero(leap_s == added_s)
        errors[some], position[some] = with_leap_seconds(elements.take(some), added_s)
    return errors, position


def _j2(elements: MeanElements, epoch: Time, seconds: np.ndarray) -> np.ndarray:
    raan_rate, argp_rate, anomaly_rate = (rate[:, None] for rate in secular_rates(elements))
    ecc, cos_inc, sin_inc = (
        column[:, None] for column in (elements.ecc, np.cos(elements.inc_rad), np.sin(elements.inc_rad))
    )
    semi_major = ((MU_KM3_S2 / brouwer_mean_motion(elements) ** 2) ** (1 / 3))[:, None]
    elapsed = elements.seconds_before(*split_julian_date(epoch))[:, None] + seconds
    anomaly = eccentric_anomaly(elements.mean_anomaly_rad[:, None] + anomaly_rate * elapsed, ecc)
    perigee = _turn(elements.argp_rad[:, None] + argp_rate * elapsed)
    node = _turn(elements.raan_rad[:, None] + raan_rate * elapsed)

    # Planar vectors as complex numbers: first the ellipse, then turned by the perigee, then by the node.
    flat = semi_major * (np.cos(anomaly) - ecc + 1j * np.sqrt(1 - ecc**2) * np.sin(anomaly)) * perigee
    level = (flat.real + 1j * cos_inc * flat.imag) * node
    return np.stack([level.real, level.imag, sin_inc * flat.imag], axis=-1)


def _turn(angle: np.ndarray) -> np.ndarray:
    """exp(i angle), in a third of the time that numpy's complex exponential takes."""
    turn = np.empty(angle.shape, complex)
    np.cos(angle, out=turn.real)
    np.sin(angle, out=turn.imag)
    return turn


def _cowell_j2(elements: MeanElements, epoch: Time, seconds: np.ndarray) -> np.ndarray:
    from orbit.motion.cowell import cowell_j2  # boinor takes seconds to import and is an extra

    return cowell_j2(elements, epoch, seconds)


PROPAGATORS: dict[str, Propagator] = {"sgp4": _sgp4, "j2": _j2, "cowell-j2": _cowell_j2}
