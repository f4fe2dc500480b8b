"""Passes over stations, found with numpy: the reference, and what runs without numba.

``orbit.search.pass_kernels`` offers the same two functions, compiled.
"""

from __future__ import annotations

import numpy as np

from orbit.search.ephemeris import Ephemeris
from orbit.search.intervals import not_negative, roots

LONG_PASS_STEPS = 20  # a longer pass, of more than 0.4 revolutions, may culminate more than once
LONG_PASS_SAMPLES = 65


def windows_above_mask(
    motion: Ephemeris, place: np.ndarray, up: np.ndarray, sin_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Satellite, station, start and end [s] of all windows, by satellite, station and time; each (K,).

    Stations stand at ``place`` (G, 3) in ITRS km with the zenith ``up`` (G, 3) and see what is above
    ``sin_mask`` (G,).
    """
    satellites, nodes = motion.state.shape[:2]
    state = motion.state.reshape(-1, 9)

    def above(row: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        station, satellite = np.divmod(row, satellites)
        position, velocity = motion.at(satellite, time)
        return elevation_margin(position - place[station], velocity, up[station], sin_mask[station])

    value, slope = _elevation_margin_on_nodes(state, place, up, sin_mask)
    windows = not_negative(motion.nodes_s, value.reshape(-1, nodes), slope.reshape(-1, nodes), above)
    station, satellite = np.divmod(windows.row, satellites)
    order = np.lexsort([windows.start_s, station, satellite])
    return satellite[order], station[order], windows.start_s[order], windows.end_s[order]


def culminations(
    motion: Ephemeris,
    satellite: np.ndarray,
    place: np.ndarray,
    up: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time [s] and sine of the highest elevation, and the smallest range [km], of K passes.

    Everything is given per pass: ``place`` and ``up`` are (K, 3), the rest (K,).
    """

    def elevation(row: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        position, velocity = motion.at(satellite[row], time)
        return sine_of_elevation(position - place[row], velocity, up[row])

    low, high = start_s.copy(), end_s.copy()
    long = np.flatnonzero(high - low > LONG_PASS_STEPS * motion.step_s)
    if len(long):
        samples = low[long, None] + (high - low)[long, None] * np.linspace(0, 1, LONG_PASS_SAMPLES)
        value, _ = elevation(np.repeat(long, LONG_PASS_SAMPLES), samples.ravel())
        best, every = value.reshape(samples.shape).argmax(axis=1), np.arange(len(long))
        low[long] = samples[every, np.maximum(best - 1, 0)]
        high[long] = samples[every, np.minimum(best + 1, LONG_PASS_SAMPLES - 1)]
    row = np.arange(len(satellite))
    climbing, sinking = elevation(row, low)[1] > 0, elevation(row, high)[1] < 0
    culmination = np.where(climbing, high, low)
    inner = climbing & sinking
    culmination[inner] = roots(lambda row, time: elevation(row, time)[1], row[inner], low[inner], high[inner])

    # The nearest point lies seconds from the culmination: Newton steps on the range rate, within the pass.
    nearest = culmination
    for _ in range(2):
        position, velocity = motion.at(satellite, nearest)
        closing = dot(position - place, velocity) / dot(velocity, velocity)
        nearest = np.clip(nearest - closing, start_s, end_s)
    range_km = np.sqrt(dot(*[motion.at(satellite, nearest)[0] - place] * 2))
    return culmination, elevation(row, culmination)[0], range_km


def elevation_margin(
    sight: np.ndarray, velocity: np.ndarray, up: np.ndarray, sin_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """u·ρ − sin(mask)·|ρ| [km], positive above the mask, and its rate [km/s]; lines of sight (..., 3) → (...)."""
    range_km = np.sqrt(dot(sight, sight))
    return dot(sight, up) - sin_mask * range_km, dot(velocity, up) - sin_mask * dot(
        sight, velocity
    ) / range_km


def _elevation_margin_on_nodes(
    state: np.ndarray, place: np.ndarray, up: np.ndarray, sin_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``elevation_margin`` of all states (K, 9) from each station, both (G, K): one station fits the cache."""
    x, y, z, vx, vy, vz = np.ascontiguousarray(state[:, :6].T)
    value, slope = np.empty((2, len(place), len(state)))
    for g, ((px, py, pz), (ux, uy, uz), sine) in enumerate(zip(place, up, sin_mask, strict=True)):
        dx, dy, dz = x - px, y - py, z - pz
        range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
        value[g] = ux * dx + uy * dy + uz * dz - sine * range_km
        slope[g] = ux * vx + uy * vy + uz * vz - sine * (dx * vx + dy * vy + dz * vz) / range_km
    return value, slope


def sine_of_elevation(
    sight: np.ndarray, velocity: np.ndarray, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """sin(elevation) and its rate [1/s] for lines of sight [km] and velocities [km/s], (..., 3) → (...)."""
    range_km = np.sqrt(dot(sight, sight))
    sine = dot(sight, up) / range_km
    return sine, (dot(velocity, up) - sine * dot(sight, velocity) / range_km) / range_km


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products over the last axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
