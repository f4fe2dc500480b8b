"""The searches of ``orbit.pass_search``, compiled by numba (extra ``[fast]``).


One satellite and station after the other is walked from node to node, in
strides as long as the geometry allows: what lies d kilometres below the mask cannot rise above it sooner
than in d / speed. Compiled code is cached on disk, so only the very first call on a machine waits for the
compiler.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from orbit.ephemeris import Ephemeris
from orbit.intervals import LAST_STEP_S, PEAK_SAFETY
from orbit.pass_search import LONG_PASS_SAMPLES, LONG_PASS_STEPS


def windows_above_mask(
    motion: Ephemeris, place: np.ndarray, up: np.ndarray, sin_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As ``orbit.pass_search.windows_above_mask``."""
    who, when = _windows_above_mask(motion.state, motion.start_s, motion.step_s, place, up, sin_mask)
    return who[:, 0], who[:, 1], when[:, 0], when[:, 1]


def culminations(
    motion: Ephemeris,
    satellite: np.ndarray,
    place: np.ndarray,
    up: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``orbit.pass_search.culminations``."""
    found = _culminations(motion.state, motion.start_s, motion.step_s, satellite, place, up, start_s, end_s)
    return found[0], found[1], found[2]


@njit(cache=True, nogil=True)
def state_at(nodes, start_s, step_s, time):
    """Position and velocity at ``time`` from the nodes (M, 9) of one satellite, as six numbers."""
    where = (time - start_s) / step_s
    node = min(max(int(where), 0), nodes.shape[0] - 2)
    s = where - node
    a, b = nodes[node], nodes[node + 1]
    s2 = s * s
    s3 = s2 * s
    s4 = s3 * s
    s5 = s4 * s
    h = step_s
    p0 = 1 - 10 * s3 + 15 * s4 - 6 * s5
    p1 = h * (s - 6 * s3 + 8 * s4 - 3 * s5)
    p2 = h * h * (0.5 * s2 - 1.5 * s3 + 1.5 * s4 - 0.5 * s5)
    p3 = 10 * s3 - 15 * s4 + 6 * s5
    p4 = h * (-4 * s3 + 7 * s4 - 3 * s5)
    p5 = h * h * (0.5 * s3 - s4 + 0.5 * s5)
    v0 = (-30 * s2 + 60 * s3 - 30 * s4) / h
    v1 = 1 - 18 * s2 + 32 * s3 - 15 * s4
    v2 = h * (s - 4.5 * s2 + 6 * s3 - 2.5 * s4)
    v4 = -12 * s2 + 28 * s3 - 15 * s4
    v5 = h * (1.5 * s2 - 4 * s3 + 2.5 * s4)
    return (
        p0 * a[0] + p1 * a[3] + p2 * a[6] + p3 * b[0] + p4 * b[3] + p5 * b[6],
        p0 * a[1] + p1 * a[4] + p2 * a[7] + p3 * b[1] + p4 * b[4] + p5 * b[7],
        p0 * a[2] + p1 * a[5] + p2 * a[8] + p3 * b[2] + p4 * b[5] + p5 * b[8],
        v0 * (a[0] - b[0]) + v1 * a[3] + v2 * a[6] + v4 * b[3] + v5 * b[6],
        v0 * (a[1] - b[1]) + v1 * a[4] + v2 * a[7] + v4 * b[4] + v5 * b[7],
        v0 * (a[2] - b[2]) + v1 * a[5] + v2 * a[8] + v4 * b[5] + v5 * b[8],
    )


@njit(cache=True, nogil=True)
def _sine(x, y, z, vx, vy, vz, place, up):
    """sin(elevation), its rate, the range and the range rate."""
    dx, dy, dz = x - place[0], y - place[1], z - place[2]
    range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
    sine = (dx * up[0] + dy * up[1] + dz * up[2]) / range_km
    range_rate = (dx * vx + dy * vy + dz * vz) / range_km
    return sine, (vx * up[0] + vy * up[1] + vz * up[2] - sine * range_rate) / range_km, range_km, range_rate


@njit(cache=True, nogil=True)
def _sine_at(nodes, start_s, step_s, place, up, time):
    x, y, z, vx, vy, vz = state_at(nodes, start_s, step_s, time)
    return _sine(x, y, z, vx, vy, vz, place, up)


@njit(cache=True, nogil=True)
def _clearance(x, y, z, vx, vy, vz, place, up, sin_mask):
    """u·ρ − sin(mask)·|ρ| [km], positive above the mask, and its rate."""
    dx, dy, dz = x - place[0], y - place[1], z - place[2]
    range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
    range_rate = (dx * vx + dy * vy + dz * vz) / range_km
    height = dx * up[0] + dy * up[1] + dz * up[2]
    return height - sin_mask * range_km, vx * up[0] + vy * up[1] + vz * up[2] - sin_mask * range_rate


@njit(cache=True, nogil=True)
def _clearance_at(nodes, start_s, step_s, place, up, sin_mask, time):
    x, y, z, vx, vy, vz = state_at(nodes, start_s, step_s, time)
    return _clearance(x, y, z, vx, vy, vz, place, up, sin_mask)


@njit(cache=True, nogil=True)
def cubic_crossing(low, f_low, slope_low, high, f_high, slope_high):
    """Where the cubic with these values and slopes at both ends crosses zero in between: a guess, not a root."""
    step = high - low
    a, b = slope_low * step, slope_high * step
    c2, c3 = 3 * (f_high - f_low) - 2 * a - b, a + b - 2 * (f_high - f_low)
    s = f_low / (f_low - f_high)
    for _ in range(3):
        slope = a + s * (2 * c2 + 3 * s * c3)
        if slope != 0:
            s -= (f_low + s * (a + s * (c2 + s * c3))) / slope
    return low + s * step if 0 < s < 1 else low + step * f_low / (f_low - f_high)


@njit(cache=True, nogil=True)
def _crossing(nodes, start_s, step_s, place, up, sin_mask, low, f_low, slope_low, high, f_high, slope_high):
    """The time in ``[low, high]`` at which the clearance is zero: Newton's method, kept in the bracket."""
    rising = f_low < 0
    time = cubic_crossing(low, f_low, slope_low, high, f_high, slope_high)
    for _ in range(60):
        f, slope = _clearance_at(nodes, start_s, step_s, place, up, sin_mask, time)
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


@njit(cache=True, nogil=True)
def _summit(nodes, start_s, step_s, place, up, sin_mask, of_elevation, low, f_low, high, f_high):
    """The time in ``[low, high]`` at which the clearance turns, or with ``of_elevation`` the elevation.

    Illinois's method (Dowell & Jarratt 1971) on the rate, which is ``f_low`` and ``f_high`` at the ends.
    """
    time, side = low, 0
    for _ in range(60):
        guess = high - f_high * (high - low) / (f_high - f_low)
        moved = abs(guess - time)
        time = guess
        if of_elevation:
            f = _sine_at(nodes, start_s, step_s, place, up, time)[1]
        else:
            f = _clearance_at(nodes, start_s, step_s, place, up, sin_mask, time)[1]
        if moved <= LAST_STEP_S or f == 0:
            break
        if (f < 0) == (f_high < 0):
            high, f_high = time, f
            if side == 1:
                f_low *= 0.5
            side = 1
        else:
            low, f_low = time, f
            if side == -1:
                f_high *= 0.5
            side = -1
    return time


@njit(cache=True, nogil=True)
def may_cross_between(value, slope, next_value, next_slope, step_s):
    """Whether a peak (or dip) between two nodes on one side of zero may reach the other: as in orbit.intervals."""
    if (slope < 0) == (next_slope < 0) or (slope < 0) != (value >= 0):
        return False
    meet = (value * next_slope - next_value * slope + slope * next_slope * step_s) / (next_slope - slope)
    if value < 0:
        nearest = max(value, next_value)
        return nearest + PEAK_SAFETY * (meet - nearest) >= 0
    nearest = min(value, next_value)
    return nearest + PEAK_SAFETY * (meet - nearest) <= 0


@njit(cache=True, nogil=True)
def _crossings_between(
    nodes, start_s, step_s, place, up, sin_mask, left, value, slope, right, next_value, next_slope
):
    """The times (NaN for none) at which a satellite crosses the mask between two neighbouring nodes."""
    if (value >= 0) != (next_value >= 0):
        time = _crossing(
            nodes, start_s, step_s, place, up, sin_mask, left, value, slope, right, next_value, next_slope
        )
        return time, np.nan
    if not may_cross_between(value, slope, next_value, next_slope, step_s):
        return np.nan, np.nan
    summit = _summit(nodes, start_s, step_s, place, up, sin_mask, False, left, slope, right, next_slope)
    top = _clearance_at(nodes, start_s, step_s, place, up, sin_mask, summit)[0]
    if (top >= 0) == (value >= 0):
        return np.nan, np.nan
    return (
        _crossing(nodes, start_s, step_s, place, up, sin_mask, left, value, slope, summit, top, 0.0),
        _crossing(
            nodes, start_s, step_s, place, up, sin_mask, summit, top, 0.0, right, next_value, next_slope
        ),
    )


@njit(cache=True, nogil=True)
def _windows_above_mask(state, start_s, step_s, place, up, sin_mask):
    who, when = np.empty((1024, 2), np.int64), np.empty((1024, 2))
    count, last = 0, state.shape[1] - 1
    for satellite in range(state.shape[0]):
        nodes = state[satellite]
        speed, pull = _largest(nodes, 3), _largest(nodes, 6)
        for station in range(place.shape[0]):
            here, zenith, lowest = place[station], up[station], sin_mask[station]
            # Clearance changes no faster than this, nor its rate: how long, then, until it may be zero?
            rate, curve = speed * (1 + abs(lowest)), pull * (1 + abs(lowest))
            value, slope = _clearance_of_node(nodes, 0, here, zenith, lowest)
            opened = start_s if value >= 0 else np.nan
            node = 0
            while node < last:
                stride = 1
                if value < 0:
                    until_s = max(-value / rate, (np.sqrt(slope * slope - 2 * curve * value) - slope) / curve)
                    stride = max(1, int(until_s / step_s))
                following = min(node + stride, last)
                next_value, next_slope = _clearance_of_node(nodes, following, here, zenith, lowest)
                if following == node + 1:
                    left, right = start_s + node * step_s, start_s + following * step_s
                    for time in _crossings_between(
                        nodes,
                        start_s,
                        step_s,
                        here,
                        zenith,
                        lowest,
                        left,
                        value,
                        slope,
                        right,
                        next_value,
                        next_slope,
                    ):
                        if np.isnan(opened):
                            opened = time
                        elif time >= opened:
                            if time > opened:
                                who, when, count = appended(
                                    who, when, count, satellite, station, opened, time
                                )
                            opened = np.nan
                node, value, slope = following, next_value, next_slope
            end_s = start_s + last * step_s
            if opened < end_s:
                who, when, count = appended(who, when, count, satellite, station, opened, end_s)
    return who[:count], when[:count]


@njit(cache=True, nogil=True)
def _largest(nodes, column):
    """The largest length of the vectors in three columns from ``column`` on."""
    largest = 0.0
    for node in range(nodes.shape[0]):
        x, y, z = nodes[node, column], nodes[node, column + 1], nodes[node, column + 2]
        largest = max(largest, x * x + y * y + z * z)
    return np.sqrt(largest)


@njit(cache=True, nogil=True)
def _clearance_of_node(nodes, node, place, up, sin_mask):
    return _clearance(
        nodes[node, 0],
        nodes[node, 1],
        nodes[node, 2],
        nodes[node, 3],
        nodes[node, 4],
        nodes[node, 5],
        place,
        up,
        sin_mask,
    )


@njit(cache=True, nogil=True)
def appended(who, when, count, first, second, start_s, end_s):
    """The two tables with one more row, moved to larger memory where they are full."""
    if count == len(who):
        who, when = _doubled(who), _doubled(when)
    who[count, 0], who[count, 1] = first, second
    when[count, 0], when[count, 1] = start_s, end_s
    return who, when, count + 1


@njit(cache=True, nogil=True)
def _doubled(array):
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@njit(cache=True, nogil=True)
def _culminations(state, start_s, step_s, satellite, place, up, pass_start_s, pass_end_s):
    found = np.empty((3, len(satellite)))
    for k in range(len(satellite)):
        nodes, here, zenith = state[satellite[k]], place[k], up[k]
        low, high = pass_start_s[k], pass_end_s[k]
        if high - low > LONG_PASS_STEPS * step_s:
            best, best_sine, spacing = 0, -2.0, (high - low) / (LONG_PASS_SAMPLES - 1)
            for sample in range(LONG_PASS_SAMPLES):
                sine = _sine_at(nodes, start_s, step_s, here, zenith, low + sample * spacing)[0]
                if sine > best_sine:
                    best, best_sine = sample, sine
            low, high = (
                low + max(best - 1, 0) * spacing,
                low + min(best + 1, LONG_PASS_SAMPLES - 1) * spacing,
            )
        climb = _sine_at(nodes, start_s, step_s, here, zenith, low)[1]
        sink = _sine_at(nodes, start_s, step_s, here, zenith, high)[1]
        time = high if climb > 0 else low
        if climb > 0 and sink < 0:
            time = _summit(nodes, start_s, step_s, here, zenith, 0.0, True, low, climb, high, sink)
        x, y, z, vx, vy, vz = state_at(nodes, start_s, step_s, time)
        sine, _, range_km, range_rate = _sine(x, y, z, vx, vy, vz, here, zenith)
        found[0, k], found[1, k] = time, sine
        for _ in range(2):
            time -= range_km * range_rate / (vx * vx + vy * vy + vz * vz)
            time = min(max(time, pass_start_s[k]), pass_end_s[k])
            x, y, z, vx, vy, vz = state_at(nodes, start_s, step_s, time)
            _, _, range_km, range_rate = _sine(x, y, z, vx, vy, vz, here, zenith)
        found[2, k] = range_km
    return found
