"""Lines of sight between satellites, found with numpy: the reference, and what runs without numba.

``orbit.link_kernels`` offers the same functions, compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbit.ephemeris import Ephemeris
from orbit.intervals import Intervals, not_negative
from orbit.pass_search import dot

# Positions and velocities of both satellites of each pair -> value, slope
PairFunction = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
SHORT_WINDOW_NODES, SHORT_WINDOW_SAMPLES = 8, 17
PAIR_NODES = 400_000  # pairs times nodes looked at together


def clear_windows(motion: Ephemeris, pairs: np.ndarray, sphere_km: float) -> Intervals:
    """When the line of sight of each of the ``pairs`` (K, 2) passes outside a sphere about the Earth's
    centre."""

    def clear(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return line_of_sight(r1, v1, r2, v2, sphere_km**2)

    return _in_groups(motion, pairs, clear)


def windows_in_range(motion: Ephemeris, pairs: np.ndarray, max_range_km: float) -> Intervals:
    """When each of the ``pairs`` (K, 2) is no farther apart than ``max_range_km``."""

    def range_left(
        r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        sight = r2 - r1
        return max_range_km**2 - dot(sight, sight), -2 * dot(sight, v2 - v1)

    return _in_groups(motion, pairs, range_left)


def line_of_sight(
    r1: np.ndarray, v1: np.ndarray, r2: np.ndarray, v2: np.ndarray, sphere2_km2: float
) -> tuple[np.ndarray, np.ndarray]:
    """r₁·r₂ + h₁·h₂ − R² [km²], positive where the line of sight is free, and its rate; states are (...,
    3)."""
    h1, h2 = (np.sqrt(np.maximum(dot(r, r) - sphere2_km2, 1e-6)) for r in (r1, r2))
    value = dot(r1, r2) + h1 * h2 - sphere2_km2
    return value, dot(v1, r2) + dot(r1, v2) + dot(r1, v1) * h2 / h1 + dot(r2, v2) * h1 / h2


def _in_groups(motion: Ephemeris, pairs: np.ndarray, function: PairFunction) -> Intervals:
    """The intervals in which ``function`` of the states of a pair is not negative, a group of pairs at a
    time."""
    position, velocity = motion.state[..., 0:3], motion.state[..., 3:6]
    group = max(1, PAIR_NODES // motion.state.shape[1])
    found = [Intervals(np.empty(0, np.int64), np.empty(0), np.empty(0))]
    for first in range(0, len(pairs), group):
        one, other = pairs[first : first + group].T

        def at(
            row: np.ndarray, time: np.ndarray, one: np.ndarray = one, other: np.ndarray = other
        ) -> tuple[np.ndarray, np.ndarray]:
            return function(*motion.at(one[row], time), *motion.at(other[row], time))

        value, slope = function(position[one], velocity[one], position[other], velocity[other])
        some = not_negative(motion.nodes_s, value, slope, at)
        found.append(Intervals(some.row + first, some.start_s, some.end_s))
    return Intervals(*(np.concatenate(column) for column in zip(*found, strict=True)))


def range_over(motion: Ephemeris, pairs: np.ndarray, windows: Intervals) -> tuple[np.ndarray, np.ndarray]:
    """The time integral of the range [km s] (trapezoid rule) and the smallest range [km] in each window, (K,).

    The range is looked at on the nodes and at both ends; in a short window at equal distances.
    """
    if not len(windows.row):
        return np.empty(0), np.empty(0)
    begin, end = windows.start_s, windows.end_s
    inner = np.floor((begin - motion.start_s) / motion.step_s).astype(np.int64) + 1
    after = np.maximum(inner, np.ceil((end - motion.start_s) / motion.step_s).astype(np.int64))
    few = after - inner < SHORT_WINDOW_NODES
    samples = np.where(few, SHORT_WINDOW_SAMPLES, after - inner + 2)
    first = np.cumsum(samples) - samples
    window = np.repeat(np.arange(len(samples)), samples)
    number = np.arange(samples.sum()) - first[window]
    even_s = begin[window] + (end - begin)[window] * number / (samples[window] - 1)
    at_node = ~few[window] & (number > 0) & (number < samples[window] - 1)
    time = np.where(at_node, motion.start_s + (inner[window] + number - 1) * motion.step_s, even_s)
    one, other = pairs[windows.row].T

    def sight_at(window: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r1, v1 = motion.at(one[window], time)
        r2, v2 = motion.at(other[window], time)
        return r2 - r1, v2 - v1

    sight, _ = sight_at(window, time)
    range_km = np.sqrt(dot(sight, sight))
    part = np.zeros(len(time))
    part[1:] = 0.5 * (range_km[1:] + range_km[:-1]) * np.diff(time)
    part[first] = 0.0
    nearest_km = np.minimum.reduceat(range_km, first)
    at_nearest = np.flatnonzero(range_km == nearest_km[window])
    every, kept = np.unique(window[at_nearest], return_index=True)
    nearest_s = time[at_nearest[kept]]
    for _ in range(3):  # Newton on the range rate, from the nearest sample
        sight, closing = sight_at(every, nearest_s)
        nearest_s = nearest_s - dot(sight, closing) / np.maximum(dot(closing, closing), 1e-12)
        nearest_s = np.clip(nearest_s, begin, end)
    sight, _ = sight_at(every, nearest_s)
    return np.add.reduceat(part, first), np.minimum(nearest_km, np.sqrt(dot(sight, sight)))


def sight_bits(position: np.ndarray, sphere_km: float, max_range_km: float, bits: np.ndarray) -> None:
    """Write who sees whom into ``bits``, uint8 (K, N, ⌈N/8⌉) packed as ``numpy.packbits`` does, for (N, K, 3) km."""
    horizon = np.sqrt(np.maximum(dot(position, position) - sphere_km**2, 0.0))
    square = dot(position, position)
    for k in range(position.shape[1]):
        product = position[:, k] @ position[:, k].T
        seen = product + np.outer(horizon[:, k], horizon[:, k]) >= sphere_km**2
        if np.isfinite(max_range_km):
            seen &= square[:, k, None] + square[:, k] - 2 * product <= max_range_km**2
        np.fill_diagonal(seen, False)
        bits[k] = np.packbits(seen, axis=1)
