"""The jobs on which the orbit benchmarks and the Orekit reference agree."""

from __future__ import annotations

import os
from pathlib import Path

from astropy.time import Time

from orbit.constellation import Constellation, walker
from orbit.stations import GroundStation

REFERENCE_EPOCH = "2026-03-01T06:00:00"
HORIZON_S = 86400.0
MASK_DEG = 10.0
STATIONS = tuple(
    GroundStation(name, lat, lon_deg=lon, height_m=height, mask_deg=MASK_DEG)
    for name, lat, lon, height in (
        ("Svalbard", 78.23, 15.39, 450.0),
        ("Kiruna", 67.86, 20.96, 400.0),
        ("Fairbanks", 64.86, -147.85, 180.0),
        ("Weilheim", 47.88, 11.08, 660.0),
        ("Matera", 40.65, 16.70, 540.0),
        ("Hawaii", 19.01, -155.66, 370.0),
        ("Singapore", 1.35, 103.82, 20.0),
        ("Malindi", -2.99, 40.19, 0.0),
        ("Perth", -31.80, 115.89, 250.0),
        ("Punta Arenas", -53.16, -70.91, 30.0),
    )
)
TLE_FOLDER = Path(os.environ.get("SKYSPLIT_DATA", "no-shared-data")) / "tle"


def walker_case(pattern: str, altitude_km: float = 550.0) -> Constellation:
    """The Walker constellation ``53: pattern``."""
    return walker(f"53: {pattern}", epoch=Time(REFERENCE_EPOCH), altitude_km=altitude_km)


def thirty_stations() -> tuple[GroundStation, ...]:
    """The ten stations and two more rings of ten, turned by 40° and 80° of longitude."""
    return tuple(
        GroundStation(
            f"{s.name} {ring}",
            s.lat_deg,
            lon_deg=(s.lon_deg + 180 + 40 * ring) % 360 - 180,
            height_m=s.height_m,
            mask_deg=MASK_DEG,
        )
        for ring in range(3)
        for s in STATIONS
    )
