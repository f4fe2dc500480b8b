"""Ground stations: where they stand and how low over the horizon they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from orbit.motion.frames import east_north_up, itrs_from_geodetic


class StationError(ValueError):
    """A ground station that cannot be; the message names the station, the field, and what is allowed."""


@dataclass(frozen=True)
class GroundStation:
    """A ground station at a geodetic WGS-84 position.

    ``mask_deg`` is the lowest usable elevation, from -5 to below 90: one number, or a horizon profile of
    (azimuth_deg, elevation_deg) pairs, azimuth from north over east, linear in between and round the circle.
    ``max_range_km`` limits the slant range.

    Raises ``StationError`` naming the field that is out of range.
    """

    name: str
    lat_deg: float
    _: KW_ONLY
    lon_deg: float
    height_m: float = 0.0
    mask_deg: float | tuple[tuple[float, float], ...] = 10.0
    max_range_km: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise StationError("station name: found an empty text")
        self._check("lat_deg", self.lat_deg, -90, 90)
        self._check("lon_deg", self.lon_deg, -180, 360)
        self._check("height_m", self.height_m, -1000, 10000)
        if self.max_range_km is not None:
            self._check("max_range_km", self.max_range_km, 1, 1e6)
        if isinstance(self.mask_deg, Sequence):
            object.__setattr__(self, "mask_deg", self._checked_profile(self.mask_deg))
        else:
            self._check("mask_deg", self.mask_deg, -5, 90)

    @cached_property
    def position_km(self) -> np.ndarray:
        """ITRS position, shape (3,)."""
        return itrs_from_geodetic(self.lat_deg, self.lon_deg, self.height_m)

    @cached_property
    def east_north_up(self) -> np.ndarray:
        """The axes of the station's horizon in ITRS, shape (3, 3), rows east, north, up."""
        return east_north_up(self.lat_deg, self.lon_deg)

    @property
    def lowest_mask_deg(self) -> float:
        """The elevation below which the station sees nothing in any direction."""
        if isinstance(self.mask_deg, tuple):
            return min(elevation for _, elevation in self.mask_deg)
        return self.mask_deg

    def mask_at(self, azimuth_deg: np.ndarray) -> np.ndarray:
        """The mask [deg] in the direction ``azimuth_deg``, of the same shape."""
        if not isinstance(self.mask_deg, tuple):
            return np.full_like(azimuth_deg, self.mask_deg, dtype=float)
        azimuths, elevations = np.array(self.mask_deg).T
        return np.interp(azimuth_deg, azimuths, elevations, period=360.0)

    def _check(self, field: str, value: float, low: float, high: float) -> None:
        if not (isinstance(value, (int, float, np.number)) and low <= value <= high):
            raise StationError(f"station {self.name!r}: {field}: found {value!r}, allowed is {low} to {high}")

    def _checked_profile(self, profile: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        if not profile:
            raise StationError(f"station {self.name!r}: mask_deg: found an empty profile")
        for pair in profile:
            if not (isinstance(pair, Sequence) and len(pair) == 2):
                raise StationError(
                    f"station {self.name!r}: mask_deg: found {pair!r}, allowed are pairs (azimuth, elevation)"
                )
            self._check("mask_deg azimuth", pair[0], 0, 360)
            self._check("mask_deg", pair[1], -5, 90)
        ordered = tuple(sorted((float(azimuth), float(elevation)) for azimuth, elevation in profile))
        if any(first[0] == second[0] for first, second in pairwise(ordered)):
            raise StationError(f"station {self.name!r}: mask_deg: one azimuth appears twice")
        return ordered
