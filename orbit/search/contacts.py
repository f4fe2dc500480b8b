"""Passes: when which ground station sees which satellite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation, warn_of_old_elements
from orbit.motion.earth_orientation import warn_of_old_orientation
from orbit.search import pass_search
from orbit.search.backend import is_compiled
from orbit.search.ephemeris import PASS_STEP_RAD, Ephemeris, ephemeris_step_s, over_groups
from orbit.search.intervals import Function, Intervals, intersection, not_negative
from orbit.stations import GroundStation

PASS = np.dtype(
    [
        ("satellite", "<i4"),  # index into the constellation
        ("station", "<i4"),  # index into the stations
        ("start_s", "<f8"),  # acquisition of signal, seconds after the epoch
        ("end_s", "<f8"),  # loss of signal
        ("culmination_s", "<f8"),  # time of the highest elevation
        ("max_elevation_deg", "<f8"),
        ("min_range_km", "<f8"),
        ("open_start", "?"),  # True where the horizon, not the mask, cuts the pass
        ("open_end", "?"),
    ]
)
LIMIT_SAMPLE_S = 1.0  # what opens for less between two obstacles of a horizon profile may be missed
LIMIT_VALUES = 100_000  # looked at together
Progress = Callable[[float], None]  # called with the done fraction, 0 to 1


def find_passes(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    *,
    epoch: Time,
    horizon_s: float,
    compiled: bool | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """All passes in ``[0, horizon_s]`` after ``epoch``: an array of ``PASS`` by satellite, station and time.

    Times are within a millisecond of the propagated orbit's crossing of the mask; a pass is found however
    short.  ``compiled`` takes (or forbids) the compiled search instead of what suits the amount of work.

    Raises ``ValueError`` for a horizon that is not above zero and ``PropagationError`` for a satellite that
    decays.
    """
    check_horizon(horizon_s)
    warn_of_old_elements(constellation, epoch, horizon_s)
    warn_of_old_orientation(epoch, horizon_s)
    search = choose_backend(constellation, stations, horizon_s, compiled)

    def of_group(first: int, motion: Ephemeris) -> np.ndarray:
        passes = passes_of(motion, stations, search)
        passes["satellite"] += first
        return passes

    parts = [np.empty(0, PASS)]
    for done, passes in over_groups(constellation, epoch, horizon_s, of_group):
        parts.append(passes)
        if progress is not None:
            progress(done / len(constellation))
    every = np.concatenate(parts)
    every["end_s"][every["open_end"]] = horizon_s  # a sum of steps ends a last bit off
    return every


def check_horizon(horizon_s: float) -> None:
    """Raise ``ValueError`` unless there is time to look at."""
    if not (np.isfinite(horizon_s) and horizon_s > 0):
        raise ValueError(f"horizon_s: found {horizon_s}, allowed is a finite number above 0")


def choose_backend(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    horizon_s: float,
    compiled: bool | None = None,
) -> ModuleType:
    """The search that suits the amount of work, or the one that is asked for: for ``passes_of``."""
    step_s = ephemeris_step_s(constellation, horizon_s, PASS_STEP_RAD[constellation.propagator])
    if not is_compiled(len(constellation) * len(stations) * round(horizon_s / step_s), compiled):
        return pass_search
    from orbit.search import pass_kernels  # imports numba

    return pass_kernels


def passes_of(motion: Ephemeris, stations: Sequence[GroundStation], search: ModuleType) -> np.ndarray:
    """The passes of the satellites of one ephemeris, an array of ``PASS`` by satellite, station and time."""
    if not stations:
        return np.empty(0, PASS)
    place = np.array([station.position_km for station in stations])
    up = np.array([station.east_north_up[2] for station in stations])
    sin_mask = np.sin(np.radians([station.lowest_mask_deg for station in stations]))
    satellite, station, start_s, end_s = search.windows_above_mask(motion, place, up, sin_mask)
    if any(isinstance(site.mask_deg, tuple) or site.max_range_km is not None for site in stations):
        kept = [
            _within_limits(motion, site, number, *(c[station == number] for c in (satellite, start_s, end_s)))
            for number, site in enumerate(stations)
        ]
        satellite, station, start_s, end_s = (np.concatenate(column) for column in zip(*kept, strict=True))
        order = np.lexsort([start_s, station, satellite])
        satellite, station, start_s, end_s = (c[order] for c in (satellite, station, start_s, end_s))

    passes = np.empty(len(satellite), PASS)
    passes["satellite"], passes["station"] = satellite, station
    passes["start_s"], passes["end_s"] = start_s, end_s
    passes["open_start"], passes["open_end"] = start_s == motion.nodes_s[0], end_s == motion.nodes_s[-1]
    culmination_s, sine, range_km = search.culminations(
        motion, satellite, place[station], up[station], start_s, end_s
    )
    passes["culmination_s"], passes["min_range_km"] = culmination_s, range_km
    passes["max_elevation_deg"] = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
    return passes


def _within_limits(
    motion: Ephemeris,
    station: GroundStation,
    number: int,
    satellite: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The parts of windows over the lowest mask that are over the mask of their direction, too, and in
    range."""
    nothing_more = not isinstance(station.mask_deg, tuple) and station.max_range_km is None
    if nothing_more or not len(satellite):
        return satellite, np.full(len(satellite), number), start_s, end_s

    # All windows are stretched to the longest, so that they share their samples.
    length_s = end_s - start_s
    longest_s = float(length_s.max())
    samples = np.linspace(0.0, longest_s, 2 + int(longest_s / LIMIT_SAMPLE_S))

    def unstretched(row: np.ndarray, time: np.ndarray) -> np.ndarray:
        ends = time == longest_s
        return np.where(ends, end_s[row], start_s[row] + time * (length_s[row] / longest_s))

    def height_over_mask(row: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        azimuth_deg, elevation_deg, _ = look(motion, station, satellite[row], unstretched(row, time))
        value = elevation_deg - station.mask_at(azimuth_deg)
        return value, np.zeros_like(value)

    def range_left(row: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, _, range_km = look(motion, station, satellite[row], unstretched(row, time))
        value = (station.max_range_km or np.inf) - range_km
        return value, np.zeros_like(value)

    limits = [height_over_mask] if isinstance(station.mask_deg, tuple) else []
    limits += [range_left] if station.max_range_km is not None else []
    parts, rows_at_a_time = [], max(1, LIMIT_VALUES // len(samples))
    for first in range(0, len(satellite), rows_at_a_time):
        rows = np.arange(first, min(first + rows_at_a_time, len(satellite)))
        sets = []
        for limit in limits:

            def of_rows(
                row: np.ndarray, time: np.ndarray, limit: Function = limit, first: int = first
            ) -> tuple[np.ndarray, np.ndarray]:
                return limit(first + row, time)

            value, slope = limit(np.repeat(rows, len(samples)), np.tile(samples, len(rows)))
            shape = len(rows), len(samples)
            sets.append(not_negative(samples, value.reshape(shape), slope.reshape(shape), of_rows))
        within = intersection(*sets)
        parts.append(Intervals(first + within.row, within.start_s, end_s=within.end_s))
    row, start, end = (np.concatenate(column) for column in zip(*parts, strict=True))
    return satellite[row], np.full(len(row), number), unstretched(row, start), unstretched(row, end)


def look(
    motion: Ephemeris, station: GroundStation, satellite: np.ndarray, seconds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Azimuth (from north over east) and elevation [deg] and range [km] in which ``station`` sees
    ``satellite[k]`` at ``seconds[k]``; each (K,)."""
    east, north, up = ((motion.at(satellite, seconds)[0] - station.position_km) @ station.east_north_up.T).T
    range_km = np.sqrt(east**2 + north**2 + up**2)
    return np.degrees(np.arctan2(east, north)) % 360.0, np.degrees(np.arcsin(up / range_km)), range_km
