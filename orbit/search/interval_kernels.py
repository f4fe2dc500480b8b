"""The searches of ``orbit.search.intervals`` and the interpolation of ``orbit.search.ephemeris``, compiled by numba.

A function of time is a compiled function of a ``context``, the tuple of all that it depends on:
``at(context, time)``, returning value and slope.  Searches are made for such a function by ``turning_point_of`` and
``interval_finder``.  Only entrances are called from Python and cached on disk,
with all that they call in them; what is ``compiled`` has no way in from Python, which spares a good part of compiling.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from orbit.search.intervals import LAST_STEP_S, PEAK_SAFETY, Intervals

_OPTIONS: Any = {"error_model": "numpy", "fastmath": {"contract"}, "no_cfunc_wrapper": True}
entrance = njit(cache=True, nogil=True, **_OPTIONS)
compiled = njit(**_OPTIONS | {"no_cpython_wrapper": True})

# A plain 0 has a type of its own, for which all that it is passed to would be compiled once more.
ZERO = np.int64(0)
FIRST_LINES = 1024  # of a table


@compiled
def hermite_weights(s, step_s):
    """As ``orbit.search.ephemeris.hermite_weights``, for one fraction ``s``: six of position, six of velocity."""
    h, s2 = step_s, s * s
    s3, s4, s5 = s2 * s, s2 * s2, s2 * s2 * s
    v0 = (-30 * s2 + 60 * s3 - 30 * s4) / h
    return (
        1 - 10 * s3 + 15 * s4 - 6 * s5,
        h * (s - 6 * s3 + 8 * s4 - 3 * s5),
        h * h * (0.5 * s2 - 1.5 * s3 + 1.5 * s4 - 0.5 * s5),
        10 * s3 - 15 * s4 + 6 * s5,
        h * (-4 * s3 + 7 * s4 - 3 * s5),
        h * h * (0.5 * s3 - s4 + 0.5 * s5),
        v0,
        1 - 18 * s2 + 32 * s3 - 15 * s4,
        h * (s - 4.5 * s2 + 6 * s3 - 2.5 * s4),
        -v0,
        -12 * s2 + 28 * s3 - 15 * s4,
        h * (1.5 * s2 - 4 * s3 + 2.5 * s4),
    )


@compiled
def node_and_weights(nodes, start_s, step_s, time):
    """The node (M, 9) before ``time``, and the weights there."""
    where = (time - start_s) / step_s
    node = min(max(int(where), 0), nodes.shape[0] - 2)
    return node, hermite_weights(where - node, step_s)


@compiled
def weighted(nodes, node, w):
    """Position and velocity of one satellite as six numbers."""
    a, b = nodes[node], nodes[node + 1]
    return (
        w[0] * a[0] + w[1] * a[3] + w[2] * a[6] + w[3] * b[0] + w[4] * b[3] + w[5] * b[6],
        w[0] * a[1] + w[1] * a[4] + w[2] * a[7] + w[3] * b[1] + w[4] * b[4] + w[5] * b[7],
        w[0] * a[2] + w[1] * a[5] + w[2] * a[8] + w[3] * b[2] + w[4] * b[5] + w[5] * b[8],
        w[6] * a[0] + w[7] * a[3] + w[8] * a[6] + w[9] * b[0] + w[10] * b[3] + w[11] * b[6],
        w[6] * a[1] + w[7] * a[4] + w[8] * a[7] + w[9] * b[1] + w[10] * b[4] + w[11] * b[7],
        w[6] * a[2] + w[7] * a[5] + w[8] * a[8] + w[9] * b[2] + w[10] * b[5] + w[11] * b[8],
    )


@compiled
def state_at(nodes, start_s, step_s, time):
    """Position and velocity at ``time`` from the nodes (M, 9) of one satellite, as six numbers."""
    node, weights = node_and_weights(nodes, start_s, step_s, time)
    return weighted(nodes, node, weights)


@compiled
def state_of_node(nodes, node):
    """Position and velocity on a node, as six numbers."""
    n = nodes[node]
    return n[0], n[1], n[2], n[3], n[4], n[5]


@compiled
def _cubic_crossing(low, f_low, slope_low, high, f_high, slope_high):
    """Where the cubic with these values and slopes at both ends crosses zero in between: a guess, not a root."""
    step = high - low
    a, b = slope_low * step, slope_high * step
    c2, c3 = 3 * (f_high - f_low) - 2 * a - b, a + b - 2 * (f_high - f_low)
    secant = f_low / (f_low - f_high)
    s = secant
    for _ in range(3):
        slope = a + s * (2 * c2 + 3 * s * c3)
        if slope != 0:
            s -= (f_low + s * (a + s * (c2 + s * c3))) / slope
    return low + step * (s if 0 < s < 1 else secant)


@compiled
def _may_turn_to_zero(value, slope, next_value, next_slope, step_s):
    """Whether a peak (or dip) between two nodes on one side of zero may reach the other: as in ``intervals``."""
    if (slope < 0) == (next_slope < 0) or (slope < 0) != (value >= 0):
        return False
    meet = (value * next_slope - next_value * slope + slope * next_slope * step_s) / (next_slope - slope)
    if value < 0:
        nearest = max(value, next_value)
        return nearest + PEAK_SAFETY * (meet - nearest) >= 0
    nearest = min(value, next_value)
    return nearest + PEAK_SAFETY * (meet - nearest) <= 0


def turning_point_of(at):
    """The compiled search for a turning point of the function ``at``."""

    @compiled
    def turning_point(context, low, slope_low, high, slope_high):
        """The time in ``[low, high]`` at which the slope is zero: Illinois's method (Dowell & Jarratt 1971)."""
        time, side = low, 0
        for _ in range(60):
            guess = high - slope_high * (high - low) / (slope_high - slope_low)
            moved = abs(guess - time)
            time = guess
            slope = at(context, time)[1]
            if moved <= LAST_STEP_S or slope == 0:
                break
            if (slope < 0) == (slope_high < 0):
                high, slope_high = time, slope
                if side == 1:
                    slope_low *= 0.5
                side = 1
            else:
                low, slope_low = time, slope
                if side == -1:
                    slope_high *= 0.5
                side = -1
        return time

    return turning_point


def interval_finder(at):
    """The compiled search for the intervals in which the function ``at`` is ≥ 0."""
    turning_point = turning_point_of(at)

    @compiled
    def crossing(context, low, f_low, slope_low, high, f_high, slope_high):
        """The time in ``[low, high]`` at which the value is zero: Newton's method, kept in the bracket."""
        rising = f_low < 0
        time = _cubic_crossing(low, f_low, slope_low, high, f_high, slope_high)
        for _ in range(60):
            f, slope = at(context, time)
            if (f < 0) == rising:
                low = time
            else:
                high = time
            following = time - f / slope if slope != 0 else low
            if not low < following < high:
                following = 0.5 * (low + high)
            moved = abs(following - time)
            time = following
            if moved <= LAST_STEP_S:
                break
        return time

    @compiled
    def crossings_between(context, left, value, slope, right, next_value, next_slope):
        """The times (NaN for none) at which the value crosses zero between two nodes of which it may."""
        if (value >= 0) != (next_value >= 0):
            return crossing(context, left, value, slope, right, next_value, next_slope), np.nan
        turn = turning_point(context, left, slope, right, next_slope)
        top = at(context, turn)[0]
        if (top >= 0) == (value >= 0):
            return np.nan, np.nan
        return (
            crossing(context, left, value, slope, turn, top, 0.0),
            crossing(context, turn, top, 0.0, right, next_value, next_slope),
        )

    @compiled
    def append_intervals(context, start_s, step_s, value, slope, row, table, count):
        """Append where one function is ≥ 0 to ``table``, of which ``count`` lines (row, start, end) are in use.

        ``value`` and ``slope`` (M,) hold it on the nodes.  Returns the table and how many lines are in use.
        """
        last = value.shape[0] - 1
        opened = start_s if value[0] >= 0 else np.nan
        for node in range(last):
            here, after, climb, next_climb = value[node], value[node + 1], slope[node], slope[node + 1]
            if (here < 0) == (after < 0) and not _may_turn_to_zero(here, climb, after, next_climb, step_s):
                continue
            left, right = start_s + node * step_s, start_s + (node + 1) * step_s
            for time in crossings_between(context, left, here, climb, right, after, next_climb):
                if np.isnan(opened):
                    opened = time
                elif time >= opened:
                    table, count = _appended(table, count, row, opened, time)
                    opened = np.nan
        return _appended(table, count, row, opened, start_s + last * step_s)

    return append_intervals


@compiled
def _appended(table, count, row, start_s, end_s):
    """The table with one more line, in twice the room if need be; with none for what is empty (or NaN)."""
    if not start_s < end_s:
        return table, count
    if count == table.shape[0]:
        larger = np.empty((2 * count, 3))
        for line in range(count):  # assigning slices takes seconds to compile
            larger[line, 0], larger[line, 1], larger[line, 2] = table[line, 0], table[line, 1], table[line, 2]
        table = larger
    table[count, 0], table[count, 1], table[count, 2] = row, start_s, end_s
    return table, count + 1


def intervals_of(table, count):
    """Return the intervals in a table of ``append_intervals``."""
    return Intervals(
        table[:count, 0].astype(np.int64), table[:count, 1].copy(), end_s=table[:count, 2].copy()
    )
