"""Between osculating states and the mean elements of SGP4, and between GCRS and TEME.

Mean elements fed to an osculating propagator (or the reverse) shift a LEO pass by half a minute a day; an
unnamed frame costs seven seconds.  Hence both are named wherever elements enter.
"""

from __future__ import annotations

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.coordinates import GCRS, TEME, CartesianRepresentation
from astropy.time import Time

from orbit.motion.earth_orientation import orientation_table
from orbit.motion.elements import ElementsError, MeanElements
from orbit.motion.kepler import MU_KM3_S2, eccentric_anomaly


def kepler_state(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """Position [km] and velocity [km/s] of the ellipse that the elements describe at their epoch, both (N,
    3)."""
    ecc = elements.ecc
    semi_major = (MU_KM3_S2 / (elements.mean_motion_rad_min / 60.0) ** 2) ** (1 / 3)
    anomaly = eccentric_anomaly(elements.mean_anomaly_rad, ecc)
    root = np.sqrt(1 - ecc**2)
    speed = np.sqrt(MU_KM3_S2 / semi_major) / (1 - ecc * np.cos(anomaly))
    toward, across = _perifocal_axes(elements)
    position = (semi_major * (np.cos(anomaly) - ecc))[:, None] * toward
    position += (semi_major * root * np.sin(anomaly))[:, None] * across
    velocity = (-speed * np.sin(anomaly))[:, None] * toward + (speed * root * np.cos(anomaly))[
        :, None
    ] * across
    return position, velocity


def _perifocal_axes(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors towards the perigee and 90° ahead of it, both (N, 3)."""
    cos_raan, sin_raan = np.cos(elements.raan_rad), np.sin(elements.raan_rad)
    cos_inc, sin_inc = np.cos(elements.inc_rad), np.sin(elements.inc_rad)
    node = np.stack([cos_raan, sin_raan, np.zeros_like(cos_raan)], axis=1)
    north = np.stack([-sin_raan * cos_inc, cos_raan * cos_inc, sin_inc], axis=1)
    cos_argp, sin_argp = np.cos(elements.argp_rad)[:, None], np.sin(elements.argp_rad)[:, None]
    return cos_argp * node + sin_argp * north, cos_argp * north - sin_argp * node


def elements_from_state(like: MeanElements, position: np.ndarray, velocity: np.ndarray) -> MeanElements:
    """The elements of the ellipses through ``position`` [km] and ``velocity`` [km/s] (N, 3), epochs those
    of ``like``.

    A circular orbit has its perigee, an equatorial one its node put where ``atan2(0, 0)`` puts them.
    """
    r = np.linalg.norm(position, axis=1)
    momentum = np.cross(position, velocity)
    energy = 0.5 * np.sum(velocity**2, axis=1) - MU_KM3_S2 / r
    if (energy >= 0).any():
        raise ElementsError(
            f"satellite {int(np.argmax(energy >= 0))}: found an open orbit, allowed is an ellipse"
        )
    semi_major = -0.5 * MU_KM3_S2 / energy
    normal = momentum / np.linalg.norm(momentum, axis=1)[:, None]
    inc = np.arctan2(np.hypot(normal[:, 0], normal[:, 1]), normal[:, 2])
    raan = np.arctan2(normal[:, 0], -normal[:, 1])
    node = np.stack([np.cos(raan), np.sin(raan), np.zeros_like(raan)], axis=1)
    ahead = np.cross(normal, node)

    e_vector = np.cross(velocity, momentum) / MU_KM3_S2 - position / r[:, None]
    ecc = np.linalg.norm(e_vector, axis=1)
    argp = np.arctan2(np.sum(e_vector * ahead, axis=1), np.sum(e_vector * node, axis=1))
    argp = np.where(ecc < 1e-11, 0.0, argp)
    latitude = np.arctan2(np.sum(position * ahead, axis=1), np.sum(position * node, axis=1))
    nu = latitude - argp
    anomaly = np.arctan2(np.sqrt(1 - ecc**2) * np.sin(nu), ecc + np.cos(nu))
    turn = 2 * np.pi
    return replace(
        like,
        ecc=ecc,
        inc_rad=inc,
        raan_rad=raan % turn,
        argp_rad=argp % turn,
        mean_anomaly_rad=(anomaly - ecc * np.sin(anomaly)) % turn,
        mean_motion_rad_min=np.sqrt(MU_KM3_S2 / semi_major**3) * 60.0,
    )


def osculating_state(elements: MeanElements) -> tuple[np.ndarray, np.ndarray]:
    """TEME position [km] and velocity [km/s] of SGP4 at the epoch of each satellite's elements, both (N,
    3)."""

    states = np.array([model.sgp4_tsince(0.0)[1:] for model in elements.satrecs()])
    return states[:, 0], states[:, 1]


def mean_from_osculating(osculating: MeanElements) -> MeanElements:
    """The SGP4 mean elements whose motion at the epoch is the ellipse of ``osculating``; drag is kept.

    Fixed-point iteration on the Cartesian state: the difference between the wanted and the reached state is
    added to the state of the mean ellipse.  Raises ``ElementsError`` where that does not come within a
    centimetre.
    """
    wanted_r, wanted_v = kepler_state(osculating)
    r, v = wanted_r.copy(), wanted_v.copy()
    for _ in range(60):
        mean = elements_from_state(osculating, r, v)
        reached_r, reached_v = osculating_state(mean)
        miss_r, miss_v = wanted_r - reached_r, wanted_v - reached_v
        if np.abs(miss_r).max() < 1e-7 and np.abs(miss_v).max() < 1e-10:
            break
        r += miss_r
        v += miss_v
    miss_km = np.linalg.norm(miss_r, axis=1)
    if not (miss_km < 1e-5).all():
        worst = int(np.argmax(~(miss_km < 1e-5)))
        raise ElementsError(
            f"satellite {worst}: no SGP4 mean elements fly its osculating ones ({miss_km[worst]:.3g} km)"
        )
    return mean


def state_from_gcrs(elements: MeanElements, epoch: Time) -> tuple[np.ndarray, np.ndarray]:
    """TEME state of elements that are given in GCRS."""
    return teme_from_gcrs(*kepler_state(elements), epoch)


def teme_from_gcrs(position: np.ndarray, velocity: np.ndarray, epoch: Time) -> tuple[np.ndarray, np.ndarray]:
    """GCRS positions [km] and velocities [km/s] (N, 3) turned into TEME of ``epoch``."""
    return _between(position, velocity, GCRS(obstime=epoch), TEME(obstime=epoch))


def gcrs_from_teme(position: np.ndarray, velocity: np.ndarray, epoch: Time) -> tuple[np.ndarray, np.ndarray]:
    """TEME positions [km] and velocities [km/s] (N, 3) turned into GCRS."""
    return _between(position, velocity, TEME(obstime=epoch), GCRS(obstime=epoch))


def _between(
    position: np.ndarray, velocity: np.ndarray, source: TEME | GCRS, target: TEME | GCRS
) -> tuple[np.ndarray, np.ndarray]:
    # The two frames do not turn against each other, so a velocity is turned like a position.
    orientation_table()  # astropy looks into it
    turned = []
    for vectors in (position, velocity):
        transformed = source.realize_frame(CartesianRepresentation((vectors * u.km).T)).transform_to(target)
        turned.append(transformed.cartesian.xyz.to_value(u.km).T)
    return turned[0], turned[1]
