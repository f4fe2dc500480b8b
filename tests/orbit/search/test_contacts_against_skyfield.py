"""The passes of real satellites against skyfield's, where skyfield and the shared element sets are at
hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time, TimeDelta

from orbit.constellation import from_file
from orbit.search.contacts import find_passes
from orbit.stations import GroundStation

skyfield = pytest.importorskip("skyfield.api", reason="skyfield, the reference, is not installed")
TLE_FOLDER = Path(os.environ.get("SKYSPLIT_DATA", "/nonexistent")) / "tle"
EPOCH = Time("2024-01-12T12:00:00")
HALF_DAY_S = 43200.0
STATIONS = (
    GroundStation("Svalbard", 78.23, lon_deg=15.39, height_m=450),
    GroundStation("Hawaii", 19.01, lon_deg=-155.66, height_m=370),
    GroundStation("Punta Arenas", -53.16, lon_deg=-70.91, height_m=30),
)
SKYFIELD_TOLERANCE_S = 0.5  # of its find_events


@pytest.mark.skipif(not TLE_FOLDER.is_dir(), reason="SKYSPLIT_DATA with real element sets is not set")
@pytest.mark.parametrize("name", ["planet", "iridium-NEXT", "spire", "oneweb"])
def test_real_satellites_rise_and_set_when_skyfield_says(name: str) -> None:
    some = from_file(TLE_FOLDER / f"{name}.txt")
    some = some.take(np.arange(0, len(some), max(1, len(some) // 8))[:8])
    passes = find_passes(some, STATIONS, epoch=EPOCH, horizon_s=HALF_DAY_S)
    scale = skyfield.load.timescale(builtin=True)
    begin, end = scale.from_astropy(EPOCH), scale.from_astropy(EPOCH + TimeDelta(HALF_DAY_S, format="sec"))
    for number, model in enumerate(some.elements.satrecs()):
        satellite = skyfield.EarthSatellite.from_satrec(model, scale)
        for place, station in enumerate(STATIONS):
            there = skyfield.wgs84.latlon(station.lat_deg, station.lon_deg, station.height_m)
            times, events = satellite.find_events(there, begin, end, altitude_degrees=10.0)
            seconds = (times - begin) * 86400
            ours = passes[(passes["satellite"] == number) & (passes["station"] == place)]
            for event, field, open_at in ((0, "start_s", "open_start"), (2, "end_s", "open_end")):
                found = ours[field][~ours[open_at]]
                assert len(found) == np.count_nonzero(events == event)
                np.testing.assert_allclose(found, seconds[events == event], atol=SKYFIELD_TOLERANCE_S)
