"""The same job for every peer: passes of Walker satellites over stations, as each library would be used.

A peer is prepared outside the clock (elements parsed, stations made) and timed from there to its list of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.time import Time

from benchmarks.orbit_cases import HORIZON_S, MASK_DEG, REFERENCE_EPOCH
from orbit.constellation import Constellation
from orbit.search.contacts import find_passes
from orbit.stations import GroundStation

Job = Callable[[], int]  # runs the job, returns how many windows it found
BEGIN = datetime.fromisoformat(REFERENCE_EPOCH).replace(tzinfo=UTC)
END = BEGIN + timedelta(seconds=HORIZON_S)


def ours(
    constellation: Constellation, stations: Sequence[GroundStation], compiled: bool | None = None
) -> Job:
    epoch = Time(REFERENCE_EPOCH)
    return lambda: len(
        find_passes(constellation, stations, epoch=epoch, horizon_s=HORIZON_S, compiled=compiled)
    )


def sgp4_predict(constellation: Constellation, stations: Sequence[GroundStation]) -> Job:
    import sgp4_predict as peer

    degrees = _degrees(constellation)
    predictors = [
        peer.Predictor(
            peer.Elements(
                norad_id=1,
                epoch=BEGIN,
                mean_motion=motion,
                eccentricity=ecc,
                inclination=inc,
                right_ascension=raan,
                argument_of_perigee=argp,
                mean_anomaly=anomaly,
                mean_motion_dot=0.0,
            )
        )
        for motion, ecc, inc, raan, argp, anomaly in degrees
    ]
    places = [peer.GeodeticPoint(s.lat_deg, s.lon_deg, s.height_m) for s in stations]
    span = peer.Interval(BEGIN, END)
    return lambda: sum(
        1
        for predictor in predictors
        for place in places
        for _ in predictor.transits_iter(
            place, span, MASK_DEG, skip_leading_partial=False, clamp_to_interval=True
        )
    )


def brahe(constellation: Constellation, stations: Sequence[GroundStation]) -> Job:
    import brahe as peer

    peer.set_global_eop_provider(peer.StaticEOPProvider.from_zero())
    peer.set_num_threads(2)
    epoch = peer.Epoch.from_datetime(
        BEGIN.year, BEGIN.month, BEGIN.day, BEGIN.hour, 0, 0.0, 0.0, peer.TimeSystem.UTC
    )
    propagators = [
        peer.SGPPropagator.from_omm_elements(epoch, motion, ecc, inc, raan, argp, anomaly, 10001)
        for motion, ecc, inc, raan, argp, anomaly in _degrees(constellation)
    ]
    places = [peer.PointLocation(s.lon_deg, s.lat_deg, s.height_m) for s in stations]
    mask = peer.ElevationConstraint(MASK_DEG)
    return lambda: len(peer.location_accesses(places, propagators, epoch, epoch + HORIZON_S, mask))


def lox(constellation: Constellation, stations: Sequence[GroundStation], *, links: bool = False) -> Job:
    import lox_space as peer

    begin, end = (peer.UTC.from_iso(t.replace(tzinfo=None).isoformat()).to_scale("TAI") for t in (BEGIN, END))
    craft = [
        peer.Spacecraft(str(number), peer.SGP4(lines))
        for number, lines in enumerate(tle_lines(constellation))
    ]
    grounds = [
        peer.GroundStation(
            s.name,
            peer.EllipsoidLocation(
                "IAU_EARTH", s.lon_deg * peer.deg, s.lat_deg * peer.deg, s.height_m * peer.m
            ),
            min_elevation=MASK_DEG * peer.deg,
        )
        for s in stations
    ]
    # In ITRF lox takes fifty times as long; IAU_EARTH, some seconds off, is its fast way and the fair one to time.
    scenario = peer.Scenario(begin, end, spacecraft=craft, ground_stations=grounds)
    import skyfield

    # Its interface asks for the planets even where they do not matter; skyfield brings a day of them.
    planets = peer.SPK(Path(skyfield.__file__).parent / "tests" / "data" / "de430-2015-03-02.bsp")
    analysis = peer.VisibilityAnalysis(scenario, inter_satellite=links)
    return lambda: sum(len(windows) for windows in analysis.compute(planets).all_intervals().values())


def skyfield(constellation: Constellation, stations: Sequence[GroundStation]) -> Job:
    from skyfield.api import EarthSatellite, load, wgs84

    scale = load.timescale(builtin=True)
    begin, end = scale.from_datetime(BEGIN), scale.from_datetime(END)
    satellites = [EarthSatellite.from_satrec(model, scale) for model in constellation.elements.satrecs()]
    places = [wgs84.latlon(s.lat_deg, s.lon_deg, s.height_m) for s in stations]

    def run() -> int:
        windows = 0
        for satellite in satellites:
            for place in places:
                _, events = satellite.find_events(place, begin, end, altitude_degrees=MASK_DEG)
                windows += np.count_nonzero(events == 0) + bool(len(events) and events[0] != 0)
        return windows

    return run


def tle_lines(constellation: Constellation) -> list[list[str]]:
    """Two lines for each satellite, with what a TLE resolves of its elements; epoch REFERENCE_EPOCH."""
    midnight = BEGIN.replace(hour=0)
    day = (midnight - datetime(BEGIN.year, 1, 1, tzinfo=UTC)).days + 1 + BEGIN.hour / 24
    sets = []
    for number, (motion, ecc, inc, raan, argp, anomaly) in enumerate(_degrees(constellation), start=1):
        first = (
            f"1 {number:05d}U 26001A   {BEGIN.year % 100:02d}{day:012.8f}  .00000000  00000-0  00000-0 0  999"
        )
        second = f"2 {number:05d} {inc:8.4f} {raan:8.4f} {round(ecc * 1e7):07d} {argp:8.4f} {anomaly:8.4f} "
        second += f"{motion:11.8f}    1"
        sets.append(
            [
                line + str(sum(int(c) if c.isdigit() else c == "-" for c in line) % 10)
                for line in (first, second)
            ]
        )
    return sets


def _degrees(constellation: Constellation) -> list[list[float]]:
    """Revolutions a day, eccentricity, and inclination, node, perigee, anomaly in degrees of each satellite."""
    e = constellation.elements
    angles = np.degrees([e.inc_rad, e.raan_rad, e.argp_rad, e.mean_anomaly_rad])
    return np.stack([e.mean_motion_rad_min * 720 / np.pi, e.ecc, *angles], axis=1).tolist()
