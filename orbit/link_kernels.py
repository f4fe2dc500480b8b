"""The searches of ``orbit.link_search``, compiled by numba (extra ``[fast]``)."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import njit

from orbit.ephemeris import Ephemeris
from orbit.intervals import LAST_STEP_S, Intervals
from orbit.link_search import SHORT_WINDOW_NODES, SHORT_WINDOW_SAMPLES
from orbit.pass_kernels import appended, cubic_crossing, may_cross_between, state_at


def clear_windows(motion: Ephemeris, pairs: np.ndarray, sphere_km: float) -> Intervals:
    """As ``orbit.link_search.clear_windows``."""
    return _windows(motion, pairs, sphere_km**2, of_range=False)


def windows_in_range(motion: Ephemeris, pairs: np.ndarray, max_range_km: float) -> Intervals:
    """As ``orbit.link_search.windows_in_range``."""
    return _windows(motion, pairs, max_range_km**2, of_range=True)


def _windows(motion: Ephemeris, pairs: np.ndarray, limit2_km2: float, *, of_range: bool) -> Intervals:
    who, when = _pair_windows(motion.state, motion.start_s, motion.step_s, pairs, limit2_km2, of_range)
    return Intervals(who[:, 0], when[:, 0], when[:, 1])


def range_over(motion: Ephemeris, pairs: np.ndarray, windows: Intervals) -> tuple[np.ndarray, np.ndarray]:
    """As ``orbit.link_search.range_over``."""
    found = _range_over(
        motion.state, motion.start_s, motion.step_s, pairs[windows.row], windows.start_s, windows.end_s
    )
    return found[0], found[1]


def sight_bits(position: np.ndarray, sphere_km: float, max_range_km: float, bits: np.ndarray) -> None:
    """As ``orbit.link_search.sight_bits``, in single precision: the grazing height is resolved to some metres."""
    by_time = np.ascontiguousarray(position.transpose(1, 2, 0) / sphere_km, np.float32)
    limited = bool(np.isfinite(max_range_km))
    _sight_bits(by_time, limited, np.float32(max_range_km / sphere_km if limited else 0.0), bits)


@njit(cache=True, nogil=True)
def _margin(a, b, limit2, of_range):
    """The free line of sight (r₁·r₂ + h₁·h₂ − R²) or the range left (max² − range²) and its rate."""
    if of_range:
        dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        rate = dx * (b[3] - a[3]) + dy * (b[4] - a[4]) + dz * (b[5] - a[5])
        return limit2 - dx * dx - dy * dy - dz * dz, -2 * rate
    h1 = np.sqrt(max(a[0] * a[0] + a[1] * a[1] + a[2] * a[2] - limit2, 1e-6))
    h2 = np.sqrt(max(b[0] * b[0] + b[1] * b[1] + b[2] * b[2] - limit2, 1e-6))
    value = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + h1 * h2 - limit2
    rate = a[3] * b[0] + a[4] * b[1] + a[5] * b[2] + a[0] * b[3] + a[1] * b[4] + a[2] * b[5]
    rate += (a[0] * a[3] + a[1] * a[4] + a[2] * a[5]) * h2 / h1
    rate += (b[0] * b[3] + b[1] * b[4] + b[2] * b[5]) * h1 / h2
    return value, rate


@njit(cache=True, nogil=True)
def _margin_at(first, second, start_s, step_s, limit2, of_range, time):
    return _margin(
        state_at(first, start_s, step_s, time), state_at(second, start_s, step_s, time), limit2, of_range
    )


@njit(cache=True, nogil=True)
def _crossing(
    first, second, start_s, step_s, limit2, of_range, low, f_low, slope_low, high, f_high, slope_high
):
    """The time in ``[low, high]`` at which the margin is zero: Newton's method, kept in the bracket."""
    rising = f_low < 0
    time = cubic_crossing(low, f_low, slope_low, high, f_high, slope_high)
    for _ in range(60):
        f, slope = _margin_at(first, second, start_s, step_s, limit2, of_range, time)
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
def _extremum(first, second, start_s, step_s, limit2, of_range, low, f_low, high, f_high):
    """The time in ``[low, high]`` at which the margin turns: Illinois's method on its rate, ``f`` at the
    ends."""
    time, side = low, 0
    for _ in range(60):
        guess = high - f_high * (high - low) / (f_high - f_low)
        moved = abs(guess - time)
        time = guess
        f = _margin_at(first, second, start_s, step_s, limit2, of_range, time)[1]
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
def _crossings_between(
    first, second, start_s, step_s, limit2, of_range, left, value, slope, right, next_value, next_slope
):
    """The times (NaN for none) at which the margin of a pair crosses zero between two neighbouring nodes."""
    if (value >= 0) != (next_value >= 0):
        time = _crossing(
            first,
            second,
            start_s,
            step_s,
            limit2,
            of_range,
            left,
            value,
            slope,
            right,
            next_value,
            next_slope,
        )
        return time, np.nan
    if not may_cross_between(value, slope, next_value, next_slope, step_s):
        return np.nan, np.nan
    summit = _extremum(first, second, start_s, step_s, limit2, of_range, left, slope, right, next_slope)
    top = _margin_at(first, second, start_s, step_s, limit2, of_range, summit)[0]
    if (top >= 0) == (value >= 0):
        return np.nan, np.nan
    return (
        _crossing(first, second, start_s, step_s, limit2, of_range, left, value, slope, summit, top, 0.0),
        _crossing(
            first, second, start_s, step_s, limit2, of_range, summit, top, 0.0, right, next_value, next_slope
        ),
    )


@njit(cache=True, nogil=True)
def _fastest_change(state, limit2, of_range):
    """No margin between two of the satellites changes faster than this [km²/s]."""
    farthest, fastest, horizon, climb = 0.0, 0.0, 0.0, 0.0
    for satellite in range(state.shape[0]):
        for node in range(state.shape[1]):
            n = state[satellite, node]
            square = n[0] * n[0] + n[1] * n[1] + n[2] * n[2]
            farthest = max(farthest, square)
            fastest = max(fastest, n[3] * n[3] + n[4] * n[4] + n[5] * n[5])
            if not of_range:
                h = np.sqrt(max(square - limit2, 1e-6))
                horizon = max(horizon, h)
                climb = max(climb, abs(n[0] * n[3] + n[1] * n[4] + n[2] * n[5]) / h)
    reach = np.sqrt(farthest * fastest)
    return 1.02 * (8 * reach if of_range else 2 * reach + 2 * horizon * climb)  # 2 % for between the nodes


@njit(cache=True, nogil=True)
def _pair_windows(state, start_s, step_s, pairs, limit2, of_range):
    who, when = np.empty((1024, 2), np.int64), np.empty((1024, 2))
    count, last = 0, state.shape[1] - 1
    change = _fastest_change(state, limit2, of_range) * step_s
    for pair in range(pairs.shape[0]):
        first, second = state[pairs[pair, 0]], state[pairs[pair, 1]]
        value, slope = _margin(first[0], second[0], limit2, of_range)
        opened = start_s if value >= 0 else np.nan
        node = 0
        while node < last:
            following = min(node + max(1, int(abs(value) / change)), last)
            next_value, next_slope = _margin(first[following], second[following], limit2, of_range)
            if following == node + 1:
                left, right = start_s + node * step_s, start_s + following * step_s
                for time in _crossings_between(
                    first,
                    second,
                    start_s,
                    step_s,
                    limit2,
                    of_range,
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
                            who, when, count = appended(who, when, count, pair, 0, opened, time)
                        opened = np.nan
            node, value, slope = following, next_value, next_slope
        end_s = start_s + last * step_s
        if opened < end_s:
            who, when, count = appended(who, when, count, pair, 0, opened, end_s)
    return who[:count], when[:count]


@njit(cache=True, nogil=True)
def _sight(one, other):
    """Range and range rate times range, and the square of the relative speed, of two states."""
    dx, dy, dz = other[0] - one[0], other[1] - one[1], other[2] - one[2]
    vx, vy, vz = other[3] - one[3], other[4] - one[4], other[5] - one[5]
    return np.sqrt(dx * dx + dy * dy + dz * dz), dx * vx + dy * vy + dz * vz, vx * vx + vy * vy + vz * vz


@njit(cache=True, nogil=True)
def _range_over(state, start_s, step_s, pairs, begins_s, ends_s):
    found = np.empty((2, len(begins_s)))
    for k in range(len(begins_s)):
        first, second = state[pairs[k, 0]], state[pairs[k, 1]]
        begin, end = begins_s[k], ends_s[k]
        inner = int(np.floor((begin - start_s) / step_s)) + 1  # the first node after the begin
        after = max(inner, int(np.ceil((end - start_s) / step_s)))  # the first one not before the end
        few = after - inner < SHORT_WINDOW_NODES
        samples = SHORT_WINDOW_SAMPLES if few else after - inner + 2
        total, nearest_km, nearest_s, before_s, before_km = 0.0, np.inf, begin, begin, 0.0
        for sample in range(samples):
            if few or sample == 0 or sample == samples - 1:
                time = begin + (end - begin) * sample / (samples - 1)
                range_km = _sight(
                    state_at(first, start_s, step_s, time), state_at(second, start_s, step_s, time)
                )[0]
            else:
                node = inner + sample - 1
                time = start_s + node * step_s
                range_km = _sight(first[node], second[node])[0]
            if sample > 0:
                total += 0.5 * (range_km + before_km) * (time - before_s)
            before_s, before_km = time, range_km
            if range_km < nearest_km:
                nearest_km, nearest_s = range_km, time
        for _ in range(3):
            _, closing, speed2 = _sight(
                state_at(first, start_s, step_s, nearest_s), state_at(second, start_s, step_s, nearest_s)
            )
            nearest_s = min(max(nearest_s - closing / max(speed2, 1e-12), begin), end)
        range_km = _sight(
            state_at(first, start_s, step_s, nearest_s), state_at(second, start_s, step_s, nearest_s)
        )[0]
        found[0, k], found[1, k] = total, min(nearest_km, range_km)
    return found


@njit(cache=True, nogil=True)
def _sight_margins(x, y, z, horizon, i, margins):
    """Of satellite ``i`` with every other, in units of the sphere: below zero where the Earth is between.

    Apart from its caller, and without a branch, so that the compiler makes vector instructions of it.
    """
    xi, yi, zi, hi, one = x[i], y[i], z[i], horizon[i], np.float32(1)
    for j in range(x.shape[0]):
        margins[j] = xi * x[j] + yi * y[j] + zi * z[j] + hi * horizon[j] - one


@njit(cache=True, nogil=True)
def _limit_range(x, y, z, i, range2, margins):
    """Lower the margins of satellites that are farther from ``i`` than the limit below zero."""
    xi, yi, zi = x[i], y[i], z[i]
    for j in range(x.shape[0]):
        dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
        margins[j] = min(margins[j], range2 - dx * dx - dy * dy - dz * dz)


@njit(cache=True, nogil=True)
def _not_negative(margins, seen):
    for j in range(margins.shape[0]):
        seen[j] = margins[j] >= 0


@njit(cache=True, nogil=True)
def _sight_bits(position, limited, max_range, bits):
    times, _, satellites = position.shape
    width = (satellites + 7) // 8
    margins = np.full(8 * width, np.float32(-1))
    seen = np.zeros(8 * width, np.uint8)
    eight_seen = seen.view(np.uint64)
    for k in range(times):
        x, y, z = position[k, 0], position[k, 1], position[k, 2]
        square = x * x + y * y + z * z
        horizon = np.sqrt(np.maximum(square - np.float32(1), np.float32(0)))
        for i in range(satellites):
            _sight_margins(x, y, z, horizon, i, margins)
            if limited:
                _limit_range(x, y, z, i, max_range * max_range, margins)
            margins[i] = -1
            _not_negative(margins, seen)
            for byte in range(width):  # the product gathers the lowest bits of eight bytes in the highest one
                gathered = eight_seen[byte] * np.uint64(0x8040201008040201)
                bits[k, i, byte] = np.uint8(gathered >> np.uint64(56))
