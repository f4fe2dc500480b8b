"""The searches of ``orbit.pass_search`` and ``orbit.link_search``, compiled by numba (extra ``[fast]``).

One satellite and station (or one pair of satellites) after the other is walked from node to node, in
strides as long as the geometry allows: what lies d kilometres below the mask cannot rise above it sooner
than in d / speed. Compiled code is cached on disk, so only the very first call on a machine waits for the
compiler.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from orbit.ephemeris import Ephemeris
from orbit.intervals import TIME_TOLERANCE_S
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


@njit(cache=True)
def _at(nodes, start_s, step_s, time):
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


@njit(cache=True)
def _sine(x, y, z, vx, vy, vz, place, up):
    """sin(elevation), its rate, the range and the range rate."""
    dx, dy, dz = x - place[0], y - place[1], z - place[2]
    range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
    sine = (dx * up[0] + dy * up[1] + dz * up[2]) / range_km
    range_rate = (dx * vx + dy * vy + dz * vz) / range_km
    return sine, (vx * up[0] + vy * up[1] + vz * up[2] - sine * range_rate) / range_km, range_km, range_rate


@njit(cache=True)
def _root(nodes, start_s, step_s, place, up, sin_mask, low, high, of_slope):
    """The time in ``[low, high]`` at which sin(elevation) − sin_mask, or with ``of_slope`` its rate, is
    zero."""
    x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, low)
    sine, slope, _, _ = _sine(x, y, z, vx, vy, vz, place, up)
    f_low = slope if of_slope else sine - sin_mask
    x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, high)
    sine, slope, _, _ = _sine(x, y, z, vx, vy, vz, place, up)
    f_high = slope if of_slope else sine - sin_mask
    root, side = low, 0
    for _ in range(60):
        spread = f_high - f_low
        guess = high - f_high * (high - low) / spread if spread != 0 else 0.5 * (low + high)
        moved = abs(guess - root)
        root = guess
        x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, guess)
        sine, slope, _, _ = _sine(x, y, z, vx, vy, vz, place, up)
        f = slope if of_slope else sine - sin_mask
        if moved <= TIME_TOLERANCE_S or f == 0:
            break
        if (f < 0) == (f_high < 0):
            high, f_high = guess, f
            if side == 1:
                f_low *= 0.5
            side = 1
        else:
            low, f_low = guess, f
            if side == -1:
                f_high *= 0.5
            side = -1
        if high - low <= TIME_TOLERANCE_S:
            break
    return root


@njit(cache=True)
def _windows_above_mask(state, start_s, step_s, place, up, sin_mask):
    who = np.empty((1024, 2), np.int64)
    when = np.empty((1024, 2))
    count = 0
    last = state.shape[1] - 1
    for satellite in range(state.shape[0]):
        nodes = state[satellite]
        speed = 0.0
        for node in range(last + 1):
            speed = max(speed, nodes[node, 3] ** 2 + nodes[node, 4] ** 2 + nodes[node, 5] ** 2)
        speed = np.sqrt(speed)
        for station in range(place.shape[0]):
            here, zenith, lowest = place[station], up[station], sin_mask[station]
            stride_km = speed * (1 + abs(lowest)) * step_s  # u·ρ − sin(mask)·|ρ| changes no faster
            n = nodes[0]
            sine, slope, range_km, _ = _sine(n[0], n[1], n[2], n[3], n[4], n[5], here, zenith)
            value = sine - lowest
            opened = start_s if value >= 0 else np.nan
            node = 0
            while node < last:
                stride = max(1, int(-value * range_km / stride_km))
                following = min(node + stride, last)
                n = nodes[following]
                sine, next_slope, next_range_km, _ = _sine(n[0], n[1], n[2], n[3], n[4], n[5], here, zenith)
                next_value = sine - lowest
                if following - node == 1:
                    left, right = start_s + node * step_s, start_s + following * step_s
                    crossed = (value >= 0) != (next_value >= 0)
                    turned = (slope < 0) != (next_slope < 0) and (slope < 0) == (value >= 0)
                    rise = (abs(slope) + abs(next_slope)) * step_s
                    if crossed:
                        times = (
                            _root(nodes, start_s, step_s, here, zenith, lowest, left, right, False),
                            np.nan,
                        )
                    elif turned and min(abs(value), abs(next_value)) <= rise:
                        summit = _root(nodes, start_s, step_s, here, zenith, lowest, left, right, True)
                        x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, summit)
                        sine, _, _, _ = _sine(x, y, z, vx, vy, vz, here, zenith)
                        if (sine - lowest >= 0) != (value >= 0):
                            times = (
                                _root(nodes, start_s, step_s, here, zenith, lowest, left, summit, False),
                                _root(nodes, start_s, step_s, here, zenith, lowest, summit, right, False),
                            )
                        else:
                            times = (np.nan, np.nan)
                    else:
                        times = (np.nan, np.nan)
                    for time in times:
                        if np.isnan(time):
                            continue
                        if np.isnan(opened):
                            opened = time
                            continue
                        if time > opened:
                            if count == len(who):
                                who, when = _doubled(who), _doubled(when)
                            who[count, 0], who[count, 1] = satellite, station
                            when[count, 0], when[count, 1] = opened, time
                            count += 1
                        opened = np.nan
                node, value, slope, range_km = following, next_value, next_slope, next_range_km
            end_s = start_s + last * step_s
            if opened < end_s:
                if count == len(who):
                    who, when = _doubled(who), _doubled(when)
                who[count, 0], who[count, 1] = satellite, station
                when[count, 0], when[count, 1] = opened, end_s
                count += 1
    return who[:count], when[:count]


@njit(cache=True)
def _doubled(array):
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@njit(cache=True)
def _culminations(state, start_s, step_s, satellite, place, up, pass_start_s, pass_end_s):
    found = np.empty((3, len(satellite)))
    for k in range(len(satellite)):
        nodes, here, zenith = state[satellite[k]], place[k], up[k]
        low, high = pass_start_s[k], pass_end_s[k]
        if high - low > LONG_PASS_STEPS * step_s:
            best, best_sine, spacing = 0, -2.0, (high - low) / (LONG_PASS_SAMPLES - 1)
            for sample in range(LONG_PASS_SAMPLES):
                x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, low + sample * spacing)
                sine, _, _, _ = _sine(x, y, z, vx, vy, vz, here, zenith)
                if sine > best_sine:
                    best, best_sine = sample, sine
            low, high = (
                low + max(best - 1, 0) * spacing,
                low + min(best + 1, LONG_PASS_SAMPLES - 1) * spacing,
            )
        x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, low)
        climbing = _sine(x, y, z, vx, vy, vz, here, zenith)[1] > 0
        x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, high)
        sinking = _sine(x, y, z, vx, vy, vz, here, zenith)[1] < 0
        time = high if climbing else low
        if climbing and sinking:
            time = _root(nodes, start_s, step_s, here, zenith, 0.0, low, high, True)
        x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, time)
        sine, _, range_km, range_rate = _sine(x, y, z, vx, vy, vz, here, zenith)
        found[0, k], found[1, k] = time, sine
        for _ in range(3):
            time -= range_km * range_rate / (vx * vx + vy * vy + vz * vz)
            time = min(max(time, pass_start_s[k]), pass_end_s[k])
            x, y, z, vx, vy, vz = _at(nodes, start_s, step_s, time)
            _, _, range_km, range_rate = _sine(x, y, z, vx, vy, vz, here, zenith)
        found[2, k] = range_km
    return found
