"""Passes: when which ground station sees which satellite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation
from orbit.ephemeris import Ephemeris, ephemerides
from orbit.intervals import Function, not_negative, roots
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
LONG_PASS_STEPS = 20  # a longer pass, of more than 0.4 revolutions, may culminate more than once
Progress = Callable[[float], None]  # called with the done fraction, 0 to 1


def find_passes(
    constellation: Constellation,
    stations: Sequence[GroundStation],
    *,
    epoch: Time,
    horizon_s: float,
    progress: Progress | None = None,
) -> np.ndarray:
    """All passes in ``[0, horizon_s]`` after ``epoch``: an array of ``PASS`` by satellite, station and time.

    Times are within a millisecond of the propagated orbit's crossing of the mask; a pass is found however
    short. Raises ``ValueError`` for a horizon that is not above zero and ``PropagationError`` for a
    satellite that decays.
    """
    check_horizon(horizon_s)
    found = [np.empty(0, PASS)]
    for first, ephemeris_of_some in ephemerides(constellation, epoch, horizon_s):
        found.append(passes_of(ephemeris_of_some, stations))
        found[-1]["satellite"] += first
        if progress is not None:
            progress((first + len(ephemeris_of_some.state)) / len(constellation))
    return np.concatenate(found)


def check_horizon(horizon_s: float) -> None:
    """Raise ``ValueError`` unless there is time to look at."""
    if not (np.isfinite(horizon_s) and horizon_s > 0):
        raise ValueError(f"horizon_s: found {horizon_s}, allowed is a finite number above 0")


def passes_of(motion: Ephemeris, stations: Sequence[GroundStation]) -> np.ndarray:
    """The passes of the satellites of one ephemeris, an array of ``PASS`` by satellite, station and time."""
    found = [_passes_over(motion, number, station) for number, station in enumerate(stations)]
    passes = np.concatenate([np.empty(0, PASS), *found])
    return passes[np.lexsort([passes["start_s"], passes["station"], passes["satellite"]])]


def _passes_over(motion: Ephemeris, number: int, station: GroundStation) -> np.ndarray:
    up, place = station.east_north_up[2], station.position_km
    sin_mask = np.sin(np.radians(station.lowest_mask_deg))

    def above_mask(satellite: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        position, velocity = motion.at(satellite, seconds)
        value, slope, _ = sine_of_elevation(position - place, velocity, up)
        return value - sin_mask, slope

    nodes = motion.state.reshape(-1, 9)
    value, slope, _ = sine_of_elevation(nodes[:, :3] - place, nodes[:, 3:6], up)
    shape = motion.state.shape[:2]
    windows = not_negative(motion.nodes_s, value.reshape(shape) - sin_mask, slope.reshape(shape), above_mask)
    passes = np.empty(len(windows.row), PASS)
    passes["satellite"], passes["station"] = windows.row, number
    passes["start_s"], passes["end_s"] = windows.start_s, windows.end_s
    passes["open_start"] = windows.start_s == motion.nodes_s[0]
    passes["open_end"] = windows.end_s == motion.nodes_s[-1]
    _add_culmination(passes, motion, station, above_mask)
    return passes


def sine_of_elevation(
    sight: np.ndarray, velocity: np.ndarray, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sin(elevation), its rate [1/s] and the slant range [km], each (K,), for lines of sight (K, 3) in km."""
    range_km = np.sqrt(np.einsum("ki,ki->k", sight, sight))
    sine = (sight @ up) / range_km
    range_rate = np.einsum("ki,ki->k", sight, velocity) / range_km
    return sine, (velocity @ up - sine * range_rate) / range_km, range_km


def _add_culmination(
    passes: np.ndarray, motion: Ephemeris, station: GroundStation, above_mask: Function
) -> None:
    """Fill in when the passes culminate, how high, and how near the satellite comes."""
    satellite = passes["satellite"].astype(np.int64)
    low, high = passes["start_s"].copy(), passes["end_s"].copy()
    long = np.flatnonzero(high - low > LONG_PASS_STEPS * motion.step_s)
    if len(long):
        samples = low[long, None] + (high - low)[long, None] * np.linspace(0, 1, 65)
        value, _ = above_mask(np.repeat(satellite[long], 65), samples.ravel())
        best = value.reshape(samples.shape).argmax(axis=1)
        low[long] = samples[np.arange(len(long)), np.maximum(best - 1, 0)]
        high[long] = samples[np.arange(len(long)), np.minimum(best + 1, 64)]
    climbing, sinking = above_mask(satellite, low)[1] > 0, above_mask(satellite, high)[1] < 0
    culmination = np.where(climbing, high, low)
    inner = climbing & sinking
    culmination[inner] = roots(
        lambda row, time: above_mask(row, time)[1], satellite[inner], low[inner], high[inner]
    )
    passes["culmination_s"] = culmination

    place = station.position_km
    position, velocity = motion.at(satellite, culmination)
    sine = sine_of_elevation(position - place, velocity, station.east_north_up[2])[0]
    passes["max_elevation_deg"] = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
    # The nearest point lies seconds from the culmination: two Newton steps on the range rate, within the
    # pass.
    nearest = culmination
    for _ in range(2):
        position, velocity = motion.at(satellite, nearest)
        sight = position - place
        closing = np.einsum("ki,ki->k", sight, velocity) / np.einsum("ki,ki->k", velocity, velocity)
        nearest = np.clip(nearest - closing, passes["start_s"], passes["end_s"])
    passes["min_range_km"] = np.linalg.norm(motion.at(satellite, nearest)[0] - place, axis=1)
