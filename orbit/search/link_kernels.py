"""The searches of ``orbit.search.link_search``, compiled by numba (extra ``[fast]``)."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from orbit.motion.kepler import MU_KM3_S2
from orbit.search.ephemeris import Ephemeris
from orbit.search.interval_kernels import (
    FIRST_LINES,
    ZERO,
    compiled,
    entrance,
    interval_finder,
    intervals_of,
    node_and_weights,
    state_of_node,
    weighted,
)
from orbit.search.intervals import LAST_STEP_S, Intervals
from orbit.search.link_search import NEAREST_STEPS, PART_POINTS, PART_STEPS, PART_WEIGHTS


def clear_windows(motion: Ephemeris, pairs: np.ndarray, sphere_km: float) -> Intervals:
    """As ``orbit.search.link_search.clear_windows``."""
    return intervals_of(
        *_clear_windows(motion.state, motion.start_s, motion.step_s, pairs, float(sphere_km**2))
    )


def windows_in_range(motion: Ephemeris, pairs: np.ndarray, max_range_km: float) -> Intervals:
    """As ``orbit.search.link_search.windows_in_range``."""
    return intervals_of(
        *_windows_in_range(motion.state, motion.start_s, motion.step_s, pairs, float(max_range_km))
    )


def range_over(motion: Ephemeris, pairs: np.ndarray, windows: Intervals) -> tuple[np.ndarray, np.ndarray]:
    """As ``orbit.search.link_search.range_over``."""
    range_km = _range_over(
        motion.state, motion.start_s, motion.step_s, pairs[windows.row], windows.start_s, windows.end_s
    )
    return range_km[0], range_km[1]


def sight_bits(
    motion: Ephemeris, seconds: np.ndarray, sphere_km: float, max_range_km: float, bits: np.ndarray
) -> None:
    """As ``link_search.sight_bits``, in single precision: the grazing height is resolved to some metres."""
    _sight_bits(motion.state, motion.start_s, motion.step_s, seconds, sphere_km, float(max_range_km), bits)


@compiled
def _sight(first, other, sphere2_km2):
    """The free line of sight r₁·r₂ + h₁·h₂ − R² [km²] of two states, and its rate."""
    x1, y1, z1, vx1, vy1, vz1 = first
    x2, y2, z2, vx2, vy2, vz2 = other
    h1 = np.sqrt(max(x1 * x1 + y1 * y1 + z1 * z1 - sphere2_km2, 1e-6))
    h2 = np.sqrt(max(x2 * x2 + y2 * y2 + z2 * z2 - sphere2_km2, 1e-6))
    rate = vx1 * x2 + vy1 * y2 + vz1 * z2 + x1 * vx2 + y1 * vy2 + z1 * vz2
    rate += (x1 * vx1 + y1 * vy1 + z1 * vz1) * h2 / h1 + (x2 * vx2 + y2 * vy2 + z2 * vz2) * h1 / h2
    return x1 * x2 + y1 * y2 + z1 * z2 + h1 * h2 - sphere2_km2, rate


@compiled
def _apart(first, other):
    """Range, range rate times range, and the square of the relative speed, of two states."""
    x1, y1, z1, vx1, vy1, vz1 = first
    x2, y2, z2, vx2, vy2, vz2 = other
    dx, dy, dz, vx, vy, vz = x2 - x1, y2 - y1, z2 - z1, vx2 - vx1, vy2 - vy1, vz2 - vz1
    return np.sqrt(dx * dx + dy * dy + dz * dz), dx * vx + dy * vy + dz * vz, vx * vx + vy * vy + vz * vz


@compiled
def _pull_apart(first, other):
    """The line of sight times the difference of the Earth's pull, as of a point, on two states."""
    x1, y1, z1, _, _, _ = first
    x2, y2, z2, _, _, _ = other
    product = x1 * x2 + y1 * y2 + z1 * z2
    square1, square2 = x1 * x1 + y1 * y1 + z1 * z1, x2 * x2 + y2 * y2 + z2 * z2
    pull1, pull2 = -MU_KM3_S2 / (square1 * np.sqrt(square1)), -MU_KM3_S2 / (square2 * np.sqrt(square2))
    return pull2 * (square2 - product) - pull1 * (product - square1)


@compiled
def _range_left(first, other, max_range_km):
    """How much farther two states may be apart [km], and its rate."""
    range_km, closing, _ = _apart(first, other)
    return max_range_km - range_km, -closing / max(range_km, 1e-9)


def _pair_finder(of_states):
    """The search for where a function of two states and a limit is ≥ 0."""

    @compiled
    def at(context, time):
        first, second, start_s, step_s, limit = context
        node, weights = node_and_weights(first, start_s, step_s, time)
        return of_states(weighted(first, node, weights), weighted(second, node, weights), limit)

    return interval_finder(at)


_append_sights = _pair_finder(_sight)
_append_in_range = _pair_finder(_range_left)


@entrance
def _clear_windows(state, start_s, step_s, pairs, sphere2_km2):
    satellites, nodes = state.shape[:2]
    # (x, y, z, h) and its rate: the line of sight is one product of two such vectors.
    lifted, rate = np.empty((satellites, 4, nodes)), np.empty((satellites, 4, nodes))
    for k in range(satellites):
        for node in range(nodes):
            x, y, z, vx, vy, vz = state_of_node(state[k], node)
            h = np.sqrt(max(x * x + y * y + z * z - sphere2_km2, 1e-6))
            lifted[k, 0, node], lifted[k, 1, node], lifted[k, 2, node], lifted[k, 3, node] = x, y, z, h
            rate[k, 0, node], rate[k, 1, node], rate[k, 2, node] = vx, vy, vz
            rate[k, 3, node] = (x * vx + y * vy + z * vz) / h
    value, slope = np.empty(nodes), np.empty(nodes)
    table, count = np.empty((FIRST_LINES, 3)), ZERO
    for pair in range(pairs.shape[0]):
        first, other = pairs[pair, 0], pairs[pair, 1]
        _sights(lifted[first], lifted[other], sphere2_km2, value)
        _sight_rates(lifted[first], rate[first], lifted[other], rate[other], slope)
        context = state[first], state[other], start_s, step_s, sphere2_km2
        table, count = _append_sights(context, start_s, step_s, value, slope, pair, table, count)
    return table, count


@compiled
def _sights(first, other, sphere2_km2, value):
    """The line of sight on all nodes; apart from its caller, so that the compiler makes vector instructions of it."""
    for node in range(value.shape[0]):
        flat = first[0, node] * other[0, node] + first[1, node] * other[1, node]
        value[node] = flat + first[2, node] * other[2, node] + first[3, node] * other[3, node] - sphere2_km2


@compiled
def _sight_rates(first, rate_one, other, rate_other, slope):
    """The rate of the line of sight on all nodes."""
    for node in range(slope.shape[0]):
        here = rate_one[0, node] * other[0, node] + rate_one[1, node] * other[1, node]
        here += rate_one[2, node] * other[2, node] + rate_one[3, node] * other[3, node]
        cross_rate = first[0, node] * rate_other[0, node] + first[1, node] * rate_other[1, node]
        slope[node] = (
            here + cross_rate + first[2, node] * rate_other[2, node] + first[3, node] * rate_other[3, node]
        )


@entrance
def _windows_in_range(state, start_s, step_s, pairs, max_range_km):
    satellites, nodes = state.shape[:2]
    motion = np.empty((satellites, 6, nodes))
    for k in range(satellites):
        for node in range(nodes):
            for axis in range(6):
                motion[k, axis, node] = state[k, node, axis]
    value, slope = np.empty(nodes), np.empty(nodes)
    table, count = np.empty((FIRST_LINES, 3)), ZERO
    for pair in range(pairs.shape[0]):
        first, other = pairs[pair, 0], pairs[pair, 1]
        _ranges_left(motion[first], motion[other], max_range_km, value, slope)
        context = state[first], state[other], start_s, step_s, max_range_km
        table, count = _append_in_range(context, start_s, step_s, value, slope, pair, table, count)
    return table, count


@compiled
def _ranges_left(first, other, max_range_km, value, slope):
    """How much farther two satellites may be apart on all nodes, and its rate."""
    for node in range(value.shape[0]):
        dx, vx = other[0, node] - first[0, node], other[3, node] - first[3, node]
        dy, vy = other[1, node] - first[1, node], other[4, node] - first[4, node]
        dz, vz = other[2, node] - first[2, node], other[5, node] - first[5, node]
        range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
        value[node] = max_range_km - range_km
        slope[node] = -(dx * vx + dy * vy + dz * vz) / max(range_km, 1e-9)


@entrance
def _range_over(state, start_s, step_s, pairs, begins_s, ends_s):
    ranges_km = np.empty((2, len(begins_s)))
    for k in range(len(begins_s)):
        first, second = state[pairs[k, 0]], state[pairs[k, 1]]
        begin, end = begins_s[k], ends_s[k]
        parts = max(1, int(np.ceil((end - begin) / (PART_STEPS * step_s))))
        part_s = (end - begin) / parts
        total, nearest_km, nearest_s = 0.0, np.inf, begin
        for part in range(parts):
            for point in range(len(PART_POINTS)):
                time = begin + (part + PART_POINTS[point]) * part_s
                node, weights = node_and_weights(first, start_s, step_s, time)
                range_km = _apart(weighted(first, node, weights), weighted(second, node, weights))[0]
                total += PART_WEIGHTS[point] * range_km
                if range_km < nearest_km:
                    nearest_km, nearest_s = range_km, time
        for _ in range(NEAREST_STEPS):
            node, weights = node_and_weights(first, start_s, step_s, nearest_s)
            place, other = weighted(first, node, weights), weighted(second, node, weights)
            range_km, closing, speed2 = _apart(place, other)
            bend = speed2 + _pull_apart(place, other)
            nearest_km, before_s = min(nearest_km, range_km), nearest_s
            nearest_s -= closing / max(bend if bend > 0 else speed2, 1e-12)
            nearest_s = min(max(nearest_s, begin), end)
            if abs(nearest_s - before_s) <= LAST_STEP_S:
                break
        ranges_km[0, k], ranges_km[1, k] = total * part_s, nearest_km
    return ranges_km


@entrance
def _sight_bits(state, start_s, step_s, seconds, sphere_km, max_range_km, bits):
    satellites, width = state.shape[0], bits.shape[2]
    # By bit, coordinate (x, y, z, h in units of the sphere) and byte, of which there are a multiple of eight, which
    # suits vector instructions; what is beyond the last satellite sees nothing.
    lifted = np.zeros((8, 4, (width + 7) // 8 * 8), np.float32)
    seen, near = np.empty(lifted.shape[2], np.uint8), np.empty(lifted.shape[2], np.uint8)
    range2 = np.float32((max_range_km / sphere_km) ** 2)
    for k in range(len(seconds)):
        node, weights = node_and_weights(state[0], start_s, step_s, seconds[k])
        for i in range(satellites):
            x, y, z, _, _, _ = weighted(state[i], node, weights)
            place = lifted[i & 7, :, i >> 3]
            place[0], place[1], place[2] = x / sphere_km, y / sphere_km, z / sphere_km
            height2 = place[0] * place[0] + place[1] * place[1] + place[2] * place[2] - np.float32(1)
            place[3] = np.sqrt(max(height2, np.float32(0)))
            if height2 < np.float32(0):  # below the sphere nothing is seen
                place[:] = np.float32(0)
        for i in range(satellites):
            here = lifted[i & 7, :, i >> 3]
            seen[:] = 0
            for bit in range(8):
                _append_seen_bit(here, lifted[bit], seen)
            if np.isfinite(range2):
                near[:] = 0
                for bit in range(8):
                    _append_near_bit(here, lifted[bit], range2, near)
                for byte in range(width):
                    seen[byte] &= near[byte]
            seen[i >> 3] &= ~(128 >> (i & 7))
            for byte in range(width):  # one by one: assigning slices takes seconds to compile
                bits[k, i, byte] = seen[byte]


@compiled
def _append_seen_bit(here, after, seen):
    """Shift a bit into each byte: whether the Earth is not between.  Without a branch, it becomes vector code."""
    x, y, z, h = here[0], here[1], here[2], here[3]
    for byte in range(seen.shape[0]):
        sight = x * after[0, byte] + y * after[1, byte] + z * after[2, byte] + h * after[3, byte]
        seen[byte] += seen[byte] + np.uint8(sight >= np.float32(1))


@compiled
def _append_near_bit(here, after, range2, near):
    """Shift a bit into each byte: whether the range is within its limit."""
    x, y, z = here[0], here[1], here[2]
    for byte in range(near.shape[0]):
        dx, dy, dz = after[0, byte] - x, after[1, byte] - y, after[2, byte] - z
        near[byte] += near[byte] + np.uint8(dx * dx + dy * dy + dz * dz <= range2)
