"""Where a smooth function of time is not negative: crossings of many functions at once, in numpy.

A function is known by value and slope on a grid of nodes that resolves it, so that between two nodes it
turns at most once; the exact times come from a callback that evaluates any of the functions at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

PEAK_SAFETY = 1.5
LAST_STEP_S = 1e-3  # a superlinear method's last step may be this long: what is left then is far less
Function = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (row, time) -> value, slope


class Intervals(NamedTuple):
    """K intervals, by row, then time."""

    row: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray


def not_negative(nodes_s: np.ndarray, value: np.ndarray, slope: np.ndarray, function: Function) -> Intervals:
    """The intervals of ``[nodes_s[0], nodes_s[-1]]`` in which each function is ≥ 0.

    ``value`` and ``slope`` have shape (rows, nodes).  An interval that the nodes bound, not a crossing,
    begins at exactly ``nodes_s[0]`` or ends at exactly ``nodes_s[-1]``.
    """
    inside = value >= 0
    before, after = inside[:, :-1], inside[:, 1:]
    hidden_row, hidden_node = _may_cross_between(nodes_s, value, slope)

    crossing_row, crossing_node = np.nonzero(before != after)
    low, high = nodes_s[crossing_node], nodes_s[crossing_node + 1]
    rising = ~before[crossing_row, crossing_node]

    # A peak between two nodes below zero (or a dip between two above) is one more node, if it crosses.
    peak_row, peak_node = hidden_row, hidden_node
    left, right = nodes_s[peak_node], nodes_s[peak_node + 1]
    summit = roots(lambda row, time: function(row, time)[1], peak_row, left, right)
    crosses = (function(peak_row, summit)[0] >= 0) != inside[peak_row, peak_node]
    peak_row, peak_node, left, right, summit = (
        column[crosses] for column in (peak_row, peak_node, left, right, summit)
    )
    starts_below = ~inside[peak_row, peak_node]

    row = np.concatenate([crossing_row, peak_row, peak_row])
    low = np.concatenate([low, left, summit])
    high = np.concatenate([high, summit, right])
    rising = np.concatenate([rising, starts_below, ~starts_below])
    time = crossings(function, row, low, high, rising)

    first, last = np.flatnonzero(inside[:, 0]), np.flatnonzero(inside[:, -1])
    start_row = np.concatenate([row[rising], first])
    start_s = np.concatenate([time[rising], np.full(len(first), nodes_s[0])])
    end_row = np.concatenate([row[~rising], last])
    end_s = np.concatenate([time[~rising], np.full(len(last), nodes_s[-1])])
    # Starts and ends of one function alternate, so sorting both the same way pairs them.
    by_start, by_end = np.lexsort([start_s, start_row]), np.lexsort([end_s, end_row])
    intervals = Intervals(start_row[by_start], start_s[by_start], end_s=end_s[by_end])
    return _some(intervals, intervals.end_s > intervals.start_s)


def intersection(*sets: Intervals) -> Intervals:
    """The intervals that lie, row by row, in every one of the sets."""
    if len(sets) == 1:
        return sets[0]
    row = np.concatenate([part for part_set in sets for part in (part_set.row, part_set.row)])
    time = np.concatenate([part for part_set in sets for part in (part_set.start_s, part_set.end_s)])
    step = np.concatenate([np.repeat([1, -1], len(part_set.row)) for part_set in sets])
    order = np.lexsort([-step, time, row])
    row, time, depth = row[order], time[order], np.cumsum(step[order])  # every row's steps add up to zero
    full = np.flatnonzero(depth == len(sets))
    intervals = Intervals(row[full], time[full], end_s=time[np.minimum(full + 1, len(time) - 1)])
    return _some(intervals, intervals.end_s > intervals.start_s)


def merged(*sets: Intervals) -> Intervals:
    """The intervals of sets that have no row in common."""
    row, start_s, end_s = (np.concatenate(column) for column in zip(*sets, strict=True))
    return _some(Intervals(row, start_s, end_s=end_s), np.lexsort([start_s, row]))


def _some(intervals: Intervals, chosen: np.ndarray) -> Intervals:
    return Intervals(*(column[chosen] for column in intervals))


def _may_cross_between(
    nodes_s: np.ndarray, value: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Row and node of every step whose ends lie on one side of zero but whose peak (or dip) may reach the other.

    The peak of a concave function lies below the point in which the tangents at both ends meet, that of a parabola
    half-way to it; half as much again is for safety.
    """
    inside = value >= 0
    turns = (slope[:, :-1] < 0) != (slope[:, 1:] < 0)
    turns &= (inside[:, :-1] == inside[:, 1:]) & ((slope[:, :-1] < 0) == inside[:, :-1])
    row, node = np.nonzero(turns)
    v0, v1, s0, s1 = (part[row, node + k] for part in (value, slope) for k in (0, 1))
    meet = (v0 * s1 - v1 * s0 + s0 * s1 * (nodes_s[node + 1] - nodes_s[node])) / (s1 - s0)
    nearest = np.where(v0 < 0, np.maximum(v0, v1), np.minimum(v0, v1))
    reached = nearest + PEAK_SAFETY * (meet - nearest)
    may = np.where(v0 < 0, reached >= 0, reached <= 0)
    return row[may], node[may]


def crossings(
    function: Function, row: np.ndarray, low: np.ndarray, high: np.ndarray, rising: np.ndarray
) -> np.ndarray:
    """Return the zero of function ``row[k]`` in ``[low[k], high[k]]``, upwards if ``rising``; shape (K,).

    Newton's method from where the cubic through both ends crosses, kept in the bracket by bisection.
    """
    low, high = low.copy(), high.copy()
    root = _cubic_crossing(low, *function(row, low), high, *function(row, high))
    active = np.arange(len(row))
    for _ in range(60):
        time = root[active]
        value, slope = function(row[active], time)
        below = (value < 0) == rising[active]
        low[active], high[active] = np.where(below, time, low[active]), np.where(below, high[active], time)
        following = time - value / np.where(slope != 0, slope, np.inf)
        outside = ~((low[active] < following) & (following < high[active])) | (slope == 0)
        root[active] = np.where(outside, 0.5 * (low[active] + high[active]), following)
        active = active[np.abs(root[active] - time) > LAST_STEP_S]
        if not len(active):
            break
    return root


def _cubic_crossing(
    low: np.ndarray,
    f_low: np.ndarray,
    slope_low: np.ndarray,
    high: np.ndarray,
    f_high: np.ndarray,
    slope_high: np.ndarray,
) -> np.ndarray:
    """Where cubics with these values and slopes at both ends cross zero in between: guesses, not roots."""
    step = high - low
    a, b = slope_low * step, slope_high * step
    c2, c3 = 3 * (f_high - f_low) - 2 * a - b, a + b - 2 * (f_high - f_low)
    secant = f_low / np.where(f_low != f_high, f_low - f_high, 1.0)
    s = secant
    for _ in range(3):
        slope = a + s * (2 * c2 + 3 * s * c3)
        s = s - (f_low + s * (a + s * (c2 + s * c3))) / np.where(slope != 0, slope, np.inf)
    return low + step * np.where((s > 0) & (s < 1), s, secant)


def roots(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    row: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """One root of each bracket ``[low[k], high[k]]`` of function ``row[k]``, to some microseconds; shape (K,).

    Illinois's false position (Dowell & Jarratt 1971).  The function changes its sign over each bracket.
    """
    low, high = low.copy(), high.copy()
    f_low, f_high = function(row, low), function(row, high)
    root = low.copy()
    active = np.arange(len(row))
    side = np.zeros(len(row), np.int8)
    for _ in range(60):
        a, b, fa, fb = low[active], high[active], f_low[active], f_high[active]
        spread = fb - fa
        guess = np.where(spread != 0, b - fb * (b - a) / np.where(spread != 0, spread, 1.0), 0.5 * (a + b))
        f = function(row[active], guess)
        moved = np.abs(guess - root[active])
        root[active] = guess
        to_high = np.signbit(f) == np.signbit(fb)
        low[active], high[active] = np.where(to_high, a, guess), np.where(to_high, guess, b)
        # An end that stays twice counts half, which pulls the guess over to its side.
        f_low[active] = np.where(to_high, np.where(side[active] == 1, 0.5 * fa, fa), f)
        f_high[active] = np.where(to_high, f, np.where(side[active] == -1, 0.5 * fb, fb))
        side[active] = np.where(to_high, 1, -1)
        unfinished = (moved > LAST_STEP_S) & (f != 0) & (high[active] - low[active] > LAST_STEP_S)
        active = active[unfinished]
        if not len(active):
            break
    return root
