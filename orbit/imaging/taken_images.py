"""Count the images that satellites take along the ground track, in daylight and over given areas.

The ground track is sampled every ten seconds, 70 km of ground; where daylight or an area begins or ends is interpolated
in between.  Images are counted as real numbers: image ``n`` is there when the count reaches ``n``.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from orbit.constellation import Constellation
from orbit.ground_track import geodetic, positions_itrs_km
from orbit.search.contacts import check_horizon
from orbit.search.eclipse import sun_itrs_km

EARTH_RADIUS_KM = 6371.0088  # mean (IUGG)
STEP_S = 10.0
_SUN_STEP_S = 120.0  # the Sun's direction is straight enough in between: off by 1e-5 rad
_MOST_SAMPLES = 200_000  # positions at a time, which take 20 MB

Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Camera:
    """A camera that looks straight down.

    Attributes:
        images_per_s: What it takes while it works; 0 goes by the ground that it covers.
        swath_km: Width of the strip that it sees, where it goes by that.
        image_km2: Ground that one image shows.
        duty_cycle: Part of the time in which it may work that it does, spread evenly.
        lowest_sun_deg: It works where the Sun's centre, without refraction, is so high over the ground below.
        areas: Boxes (west, south, east, north) in degrees over which it works; one whose east is less than its west
            crosses 180°. Empty is everywhere.
    """

    images_per_s: float = 0.0
    swath_km: float = 0.0
    _: KW_ONLY
    image_km2: float = 1.0
    duty_cycle: float = 1.0
    lowest_sun_deg: float = 0.0
    areas: tuple[Area, ...] = ()


@dataclass(frozen=True, eq=False)
class TakenImages:
    """The count of images of each satellite since the epoch: ``images[k]`` at ``time_s[k]``, straight in between.

    Both have the shape (n,) and ascend.
    """

    time_s: tuple[NDArray[np.float64], ...]
    images: tuple[NDArray[np.float64], ...]

    def by(self, satellite: int, time_s: float) -> float:
        """Return how many a satellite has taken by a time; after the horizon no more are."""
        return float(np.interp(time_s, self.time_s[satellite], self.images[satellite]))

    def reached_s(self, satellite: int, count: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when the count reaches these numbers, shape (n,); infinite for what it never does."""
        time_s, images = self.time_s[satellite], self.images[satellite]
        after = np.searchsorted(images, count, side="left")
        is_reached = after < len(images)
        last = np.where(is_reached, after, 0)
        first = np.maximum(last - 1, 0)
        rise = images[last] - images[first]
        part = (count - images[first]) / np.where(rise > 0.0, rise, 1.0)
        reached_s = time_s[first] + part * (time_s[last] - time_s[first])
        return np.where(is_reached, np.where(last > 0, reached_s, time_s[0]), np.inf)


def taken_images(
    constellation: Constellation, camera: Camera, *, epoch: Time, horizon_s: float
) -> TakenImages:
    """Count the images that each satellite takes in ``[0, horizon_s]`` after ``epoch``."""
    check_horizon(horizon_s)
    steps = int(np.ceil(horizon_s / STEP_S))
    seconds = np.linspace(0.0, horizon_s, steps + 1)
    sun = _sun_directions(epoch, seconds)
    times: list[NDArray[np.float64]] = []
    counts: list[NDArray[np.float64]] = []
    group = max(1, _MOST_SAMPLES // len(seconds))
    for first in range(0, len(constellation), group):
        some = constellation.take(slice(first, first + group))
        position_km = positions_itrs_km(some, epoch, seconds)
        lat_deg, lon_deg, _ = geodetic(position_km)
        per_s = _rates(camera, position_km, seconds)
        for satellite in range(len(some)):
            allowed = _allowed(camera, lat_deg[satellite], lon_deg[satellite], sun)
            time_s, images = _counted(seconds, allowed, per_s[satellite])
            times.append(time_s)
            counts.append(images)
    return TakenImages(tuple(times), tuple(counts))


def _sun_directions(epoch: Time, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors to the Sun in ITRS, shape (K, 3)."""
    nodes_s = np.linspace(seconds[0], seconds[-1], max(2, int(np.ceil(seconds[-1] / _SUN_STEP_S)) + 1))
    sun = sun_itrs_km(epoch, nodes_s)
    between = np.stack([np.interp(seconds, nodes_s, sun[:, axis]) for axis in range(3)], axis=1)
    return between / np.linalg.norm(between, axis=1, keepdims=True)


def _rates(
    camera: Camera, position_km: NDArray[np.float64], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the images a second in each step while the camera works, shape (N, K - 1).

    ``position_km`` has the shape (N, K, 3).
    """
    if camera.images_per_s:
        return np.full((len(position_km), len(seconds) - 1), camera.images_per_s * camera.duty_cycle)
    up = position_km / np.linalg.norm(position_km, axis=2, keepdims=True)
    ground_km = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.linalg.norm(np.diff(up, axis=1), axis=2) / 2.0)
    return camera.duty_cycle * camera.swath_km / camera.image_km2 * ground_km / np.diff(seconds)


def _allowed(
    camera: Camera,
    lat_deg: NDArray[np.float64],
    lon_deg: NDArray[np.float64],
    sun: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the margin by which the camera may work, in degrees, shape (K,); negative if it may not.

    The margin is the smaller of the Sun's height above the limit and the distance to the edge of the area.
    """
    lat, lon = np.radians(lat_deg), np.radians(lon_deg)
    up = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    height_deg = np.degrees(np.arcsin(np.clip((up * sun).sum(axis=1), -1.0, 1.0)))
    inside_deg = height_deg - camera.lowest_sun_deg
    if not camera.areas:
        return inside_deg
    return np.minimum(
        inside_deg, np.max([_inside_deg(area, lat_deg, lon_deg) for area in camera.areas], axis=0)
    )


def _inside_deg(
    area: Area, lat_deg: NDArray[np.float64], lon_deg: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each point to the nearest edge of a box, in degrees, shape (K,); negative outside."""
    west, south, east, north = area
    half_width = ((east - west) % 360.0 or 360.0) / 2.0
    off_middle = np.abs((lon_deg - west - half_width + 180.0) % 360.0 - 180.0)
    across = np.full_like(lon_deg, 360.0) if half_width == 180.0 else half_width - off_middle
    return np.min([lat_deg - south, north - lat_deg, across], axis=0)


def _counted(
    seconds: NDArray[np.float64], allowed: NDArray[np.float64], per_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (n,) and the images taken by then, without times at which the rate stays as it is."""
    works = allowed >= 0.0
    changes = np.flatnonzero(works[:-1] != works[1:])
    part = allowed[changes] / (allowed[changes] - allowed[changes + 1])
    edges_s = seconds[changes] + part * (seconds[changes + 1] - seconds[changes])
    time_s = np.concatenate([seconds, edges_s])
    order = np.argsort(time_s, kind="stable")
    time_s = time_s[order]
    step = np.clip(np.searchsorted(seconds, (time_s[:-1] + time_s[1:]) / 2.0) - 1, 0, len(per_s) - 1)
    # Behind a change the camera does what it does at the step's end, before it what it does at its beginning.
    is_edge = np.concatenate([np.zeros(len(seconds), bool), np.ones(len(edges_s), bool)])[order]
    on = np.where(is_edge[:-1], works[step + 1], works[step])
    rate = np.where(on, per_s[step], 0.0)
    images = np.concatenate([[0.0], np.cumsum(rate * np.diff(time_s))])
    kept = np.concatenate([[True], rate[:-1] != rate[1:], [True]])
    return time_s[kept], images[kept]
