"""Lines of sight between satellites, found with numpy: the reference, and what runs without numba.

``orbit.search.link_kernels`` offers the same functions, but for slow turns, compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbit.motion.kepler import MU_KM3_S2
from orbit.search.ephemeris import Ephemeris
from orbit.search.intervals import Intervals, not_negative
from orbit.search.pass_search import dot

# Positions and velocities of both satellites of each pair -> value, slope
PairFunction = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
# The range is integrated over parts of a window no longer than so many steps of the ephemeris, by Gauss and Legendre.
PART_STEPS = 3
PART_POINTS, PART_WEIGHTS = (0.5 * column for column in np.polynomial.legendre.leggauss(5))
PART_POINTS = PART_POINTS + 0.5
NEAREST_STEPS = 4  # of Newton's method on the range rate, from the nearest of these points
SLEW_SAMPLE_S = 10.0
SINKING_SAMPLE_S = 10.0
ONE_PLACE_KM = 1e-3  # nearer than a metre there is no direction to turn to
PAIR_NODES = 400_000  # pairs times nodes looked at together


def clear_windows(motion: Ephemeris, pairs: np.ndarray, sphere_km: float) -> Intervals:
    """Find the windows in which the line of sight of each of the ``pairs`` (K, 2) clears a sphere about the Earth's
    centre."""

    def clear(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return line_of_sight(r1, v1, r2, v2, sphere_km**2)

    return _in_groups(motion, pairs, clear)


def clear_windows_of_sinking(motion: Ephemeris, pairs: np.ndarray, sphere_km: float) -> Intervals:
    """As ``clear_windows``, where satellites may sink below the sphere and then have no line of sight; looked at every
    ten seconds: the distance to the horizon has no slope where it ends."""

    def clear(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        sight_km = line_of_sight(r1, v1, r2, v2, sphere_km**2)[0] / (2 * sphere_km)
        above_km = np.sqrt(np.minimum(dot(r1, r1), dot(r2, r2))) - sphere_km
        value = np.minimum(sight_km, above_km)
        return value, np.zeros_like(value)

    return _in_groups(motion, pairs, clear, SINKING_SAMPLE_S)


def windows_in_range(motion: Ephemeris, pairs: np.ndarray, max_range_km: float) -> Intervals:
    """Find the windows in which each of the ``pairs`` (K, 2) is at most ``max_range_km`` apart."""

    def range_left(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        sight = r2 - r1
        range_km = np.sqrt(dot(sight, sight))
        return max_range_km - range_km, -dot(sight, v2 - v1) / np.maximum(range_km, 1e-9)

    return _in_groups(motion, pairs, range_left)


def windows_of_slow_turns(motion: Ephemeris, pairs: np.ndarray, max_slew_rad_s: float) -> Intervals:
    """Find the windows in which both terminals of each of the ``pairs`` (K, 2) turn no faster than ``max_slew_rad_s``.

    Sampled every ten seconds; satellites that pass each other turn within a few.
    """

    def slack(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        value = max_slew_rad_s - np.maximum(turn_rad_s(r1, v1, r2, v2), turn_rad_s(r2, v2, r1, v1))
        return value, np.zeros_like(value)

    return _in_groups(motion, pairs, slack, SLEW_SAMPLE_S)


def turn_rad_s(r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray) -> np.ndarray:
    """Return the angular rate of the second satellite in the local vertical frame of the first.

    Inertial states are (..., 3). Two at the same position (docked) need not turn.
    """
    sight, closing = r2 - r1, v2 - v1
    square = dot(sight, sight)[..., None]
    in_one_place = square[..., 0] < ONE_PLACE_KM**2
    square = np.where(in_one_place[..., None], np.inf, square)
    turn = np.cross(sight, closing) / square - np.cross(r1, v1) / dot(r1, r1)[..., None]
    turn_rad_s = np.linalg.norm(turn - dot(turn, sight)[..., None] * sight / square, axis=-1)
    return np.where(in_one_place, 0.0, turn_rad_s)


def line_of_sight(
    r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray, sphere2_km2: float
) -> tuple[np.ndarray, np.ndarray]:
    """r₁·r₂ + h₁·h₂ − R² [km²], positive where the line of sight is free, and its rate; states are (..., 3) and
    lie outside the sphere."""
    h1, h2 = (np.sqrt(np.maximum(dot(r, r) - sphere2_km2, 1e-6)) for r in (r1, r2))
    value = dot(r1, r2) + h1 * h2 - sphere2_km2
    return value, dot(v1, r2) + dot(r1, v2) + dot(r1, v1) * h2 / h1 + dot(r2, v2) * h1 / h2


def _in_groups(
    motion: Ephemeris, pairs: np.ndarray, function: PairFunction, sample_s: float | None = None
) -> Intervals:
    """The intervals in which ``function`` of the states of a pair is not negative, a group of pairs at a time; looked
    at on the nodes, or on samples no farther apart than ``sample_s``."""
    position, velocity = motion.state[..., 0:3], motion.state[..., 3:6]
    samples = motion.nodes_s
    if sample_s is not None:
        span_s = samples[-1] - samples[0]
        samples = np.linspace(samples[0], samples[-1], 1 + int(np.ceil(span_s / sample_s)))
    group = max(1, PAIR_NODES // len(samples))
    parts = [Intervals(np.empty(0, np.int64), np.empty(0), end_s=np.empty(0))]
    for first in range(0, len(pairs), group):
        left, other = pairs[first : first + group].T

        def at(
            row: np.ndarray, time: np.ndarray, left: np.ndarray = left, other: np.ndarray = other
        ) -> tuple[np.ndarray, np.ndarray]:
            return function(*motion.at(left[row], time), *motion.at(other[row], time))

        if sample_s is None:
            value, slope = function(position[left], velocity[left], position[other], velocity[other])
        else:
            rows, times = np.repeat(np.arange(len(left)), len(samples)), np.tile(samples, len(left))
            value, slope = (column.reshape(len(left), -1) for column in at(rows, times))
        some = not_negative(samples, value, slope, at)
        parts.append(Intervals(some.row + first, some.start_s, end_s=some.end_s))
    return Intervals(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def range_over(motion: Ephemeris, pairs: np.ndarray, windows: Intervals) -> tuple[np.ndarray, np.ndarray]:
    """The time integral of the range [km s] and the smallest range [km] in each window, both (K,)."""
    if not len(windows.row):
        return np.empty(0), np.empty(0)
    begin, end = windows.start_s, windows.end_s
    parts = np.maximum(1, np.ceil((end - begin) / (PART_STEPS * motion.step_s)).astype(np.int64))
    part_s, samples = (end - begin) / parts, parts * len(PART_POINTS)
    first = np.cumsum(samples) - samples
    window = np.repeat(np.arange(len(samples)), samples)
    part, point = np.divmod(np.arange(samples.sum()) - first[window], len(PART_POINTS))
    time = begin[window] + (part + PART_POINTS[point]) * part_s[window]
    left, other = pairs[windows.row].T

    def states_at(window: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, ...]:
        return *motion.at(left[window], time), *motion.at(other[window], time)

    r1, _, r2, _ = states_at(window, time)
    range_km = np.sqrt(dot(r2 - r1, r2 - r1))
    nearest_km = np.minimum.reduceat(range_km, first)
    at_nearest = np.flatnonzero(range_km == nearest_km[window])
    every, kept = np.unique(window[at_nearest], return_index=True)
    nearest_s = time[at_nearest[kept]]
    for _ in range(NEAREST_STEPS):
        r1, v1, r2, v2 = states_at(every, nearest_s)
        sight, closing, pull = r2 - r1, v2 - v1, gravity_km_s2(r2) - gravity_km_s2(r1)
        nearest_km = np.minimum(nearest_km, np.sqrt(dot(sight, sight)))
        speed2 = dot(closing, closing)
        bend = speed2 + dot(sight, pull)
        nearest_s = nearest_s - dot(sight, closing) / np.maximum(np.where(bend > 0, bend, speed2), 1e-12)
        nearest_s = np.clip(nearest_s, begin, end)
    return np.add.reduceat(range_km * PART_WEIGHTS[point], first) * part_s, nearest_km


def gravity_km_s2(position: np.ndarray) -> np.ndarray:
    """The pull of the Earth as of a point, for positions (..., 3) [km]."""
    return -MU_KM3_S2 * position / (dot(position, position) ** 1.5)[..., None]


def sight_bits(
    motion: Ephemeris, seconds: np.ndarray, sphere_km: float, max_range_km: float, bits: np.ndarray
) -> None:
    """Write who sees whom at ``seconds`` (K,) into ``bits``, uint8 (K, N, ⌈N/8⌉) packed as ``numpy.packbits`` does."""
    position = motion.positions(seconds)
    square = dot(position, position)
    horizon = np.sqrt(np.maximum(square - sphere_km**2, 0.0))
    for k in range(len(seconds)):
        product = position[:, k] @ position[:, k].T
        above = square[:, k] >= sphere_km**2
        seen = product + np.outer(horizon[:, k], horizon[:, k]) >= sphere_km**2
        seen &= np.outer(above, above)
        if np.isfinite(max_range_km):
            seen &= square[:, k, None] + square[:, k] - 2 * product <= max_range_km**2
        np.fill_diagonal(seen, False)
        bits[k] = np.packbits(seen, axis=1)
