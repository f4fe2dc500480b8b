"""Where satellites stand over the ground, and what of it a station sees: the data of maps."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation
from astropy.time import Time

from orbit.constellation import Constellation
from orbit.motion.frames import EQUATORIAL_RADIUS_KM
from orbit.search.ephemeris import ephemeris, ephemeris_step_s
from orbit.stations import GroundStation


def positions_itrs_km(constellation: Constellation, epoch: Time, seconds: np.ndarray) -> np.ndarray:
    """ITRS positions [km] of all satellites at ascending ``seconds`` (K,) after ``epoch``, shape (N, K, 3)."""
    first_s, span_s = float(seconds[0]), max(float(seconds[-1] - seconds[0]), 1.0)
    step_s = ephemeris_step_s(constellation, span_s)
    motion = ephemeris(constellation, epoch, round(span_s / step_s), step_s=step_s, start_s=first_s)
    return motion.positions(seconds)


def subpoints(
    constellation: Constellation, epoch: Time, seconds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geodetic latitude [deg], longitude [deg, −180 to 180] and height [km] under way, each (N, K)."""
    return geodetic(positions_itrs_km(constellation, epoch, seconds))


def geodetic(position_km: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return geodetic latitude [deg], longitude [deg, −180 to 180] and height [km] of ITRS positions (…, 3)."""
    position = position_km * u.km
    place = EarthLocation.from_geocentric(position[..., 0], position[..., 1], position[..., 2]).to_geodetic()
    return place.lat.to_value("deg"), place.lon.wrap_at("180d").to_value("deg"), place.height.to_value("km")


def seen_circle(
    station: GroundStation, altitude_km: float, points: int = 181
) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude [deg], each (points,), of the rim within which ``station`` sees satellites at a height.

    On the sphere, all round: λ = arccos(R cos(mask) / (R + altitude)) − mask from the station, or less where the slant
    range, by the law of cosines, is what ends it.
    """
    bearing = np.linspace(0, 2 * np.pi, points)
    mask, orbit_km = np.radians(station.mask_at(np.degrees(bearing))), EQUATORIAL_RADIUS_KM + altitude_km
    rim = np.arccos(EQUATORIAL_RADIUS_KM * np.cos(mask) / orbit_km) - mask
    if station.max_range_km is not None:
        squares = EQUATORIAL_RADIUS_KM**2 + orbit_km**2 - station.max_range_km**2
        rim = np.minimum(rim, np.arccos(np.clip(squares / (2 * EQUATORIAL_RADIUS_KM * orbit_km), -1, 1)))
    east, north, up = station.east_north_up
    way = np.sin(bearing)[:, None] * east + np.cos(bearing)[:, None] * north
    x, y, z = (np.cos(rim)[:, None] * up + np.sin(rim)[:, None] * way).T
    return np.degrees(np.arcsin(z)), np.degrees(np.arctan2(y, x))


@cache
def coastlines() -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude [deg] of the world's coasts as one line with gaps (NaN), each (points,).

    Natural Earth 1:110 million, public domain, simplified to a tenth of a degree (``benchmarks.make_coastlines``).
    """
    lines = json.loads((files("orbit") / "coastlines.json").read_text())["coordinates"]
    lon, lat = np.concatenate([[*line, (np.nan, np.nan)] for line in lines]).T
    return lat, lon
