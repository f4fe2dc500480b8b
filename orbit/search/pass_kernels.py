"""The searches of ``orbit.search.pass_search``, compiled by numba (extra ``[fast]``)."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from orbit.search.ephemeris import Ephemeris
from orbit.search.interval_kernels import (
    FIRST_LINES,
    ZERO,
    compiled,
    entrance,
    interval_finder,
    intervals_of,
    state_at,
    turning_point_of,
)
from orbit.search.pass_search import LONG_PASS_SAMPLES, LONG_PASS_STEPS


def windows_above_mask(
    motion: Ephemeris, place: np.ndarray, up: np.ndarray, sin_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As ``orbit.search.pass_search.windows_above_mask``."""
    windows = _windows_above_mask(motion.state, motion.start_s, motion.step_s, place, up, sin_mask)
    row, start_s, end_s = intervals_of(*windows)
    return *np.divmod(row, len(place)), start_s, end_s


def culminations(
    motion: Ephemeris,
    satellite: np.ndarray,
    place: np.ndarray,
    up: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``orbit.search.pass_search.culminations``."""
    peaks = _culminations(motion.state, motion.start_s, motion.step_s, satellite, place, up, start_s, end_s)
    return peaks[0], peaks[1], peaks[2]


@compiled
def _elevation_margin(state, place, up, sin_mask):
    """u·ρ − sin(mask)·|ρ| [km], positive above the mask, and its rate."""
    x, y, z, vx, vy, vz = state
    dx, dy, dz = x - place[0], y - place[1], z - place[2]
    range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
    range_rate = (dx * vx + dy * vy + dz * vz) / range_km
    height = dx * up[0] + dy * up[1] + dz * up[2]
    return height - sin_mask * range_km, vx * up[0] + vy * up[1] + vz * up[2] - sin_mask * range_rate


@compiled
def _elevation_margin_at(context, time):
    nodes, start_s, step_s, place, up, sin_mask = context
    return _elevation_margin(state_at(nodes, start_s, step_s, time), place, up, sin_mask)


_append_windows = interval_finder(_elevation_margin_at)


@compiled
def _elevation_margins(motion, place, up, sin_mask, value, slope):
    """The elevation margin and its rate on all nodes; apart from its caller, so that it becomes vector instructions."""
    px, py, pz, ux, uy, uz = place[0], place[1], place[2], up[0], up[1], up[2]
    for node in range(value.shape[0]):
        dx, dy, dz = motion[0, node] - px, motion[1, node] - py, motion[2, node] - pz
        vx, vy, vz = motion[3, node], motion[4, node], motion[5, node]
        range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
        closing = (dx * vx + dy * vy + dz * vz) / range_km
        value[node] = dx * ux + dy * uy + dz * uz - sin_mask * range_km
        slope[node] = vx * ux + vy * uy + vz * uz - sin_mask * closing


@entrance
def _windows_above_mask(state, start_s, step_s, place, up, sin_mask):
    table, count = np.empty((FIRST_LINES, 3)), ZERO
    value, slope = np.empty(state.shape[1]), np.empty(state.shape[1])
    motion = np.empty((6, state.shape[1]))
    for satellite in range(state.shape[0]):
        nodes = state[satellite]
        for node in range(nodes.shape[0]):
            for axis in range(6):
                motion[axis, node] = nodes[node, axis]
        for station in range(place.shape[0]):
            here, zenith, lowest = place[station], up[station], sin_mask[station]
            _elevation_margins(motion, here, zenith, lowest, value, slope)
            context = nodes, start_s, step_s, here, zenith, lowest
            row = satellite * place.shape[0] + station
            table, count = _append_windows(context, start_s, step_s, value, slope, row, table, count)
    return table, count


@compiled
def _sine(state, place, up):
    """sin(elevation), its rate, the range and the range rate."""
    x, y, z, vx, vy, vz = state
    dx, dy, dz = x - place[0], y - place[1], z - place[2]
    range_km = np.sqrt(dx * dx + dy * dy + dz * dz)
    sine = (dx * up[0] + dy * up[1] + dz * up[2]) / range_km
    range_rate = (dx * vx + dy * vy + dz * vz) / range_km
    return sine, (vx * up[0] + vy * up[1] + vz * up[2] - sine * range_rate) / range_km, range_km, range_rate


@compiled
def _sine_at(context, time):
    nodes, start_s, step_s, place, up = context
    sine, rate, _, _ = _sine(state_at(nodes, start_s, step_s, time), place, up)
    return sine, rate


_highest = turning_point_of(_sine_at)


@entrance
def _culminations(state, start_s, step_s, satellite, place, up, pass_start_s, pass_end_s):
    peaks = np.empty((3, len(satellite)))
    for k in range(len(satellite)):
        nodes, here, zenith = state[satellite[k]], place[k], up[k]
        context = nodes, start_s, step_s, here, zenith
        low, high = pass_start_s[k], pass_end_s[k]
        if high - low > LONG_PASS_STEPS * step_s:
            best, best_sine, spacing = 0, -2.0, (high - low) / (LONG_PASS_SAMPLES - 1)
            for sample in range(LONG_PASS_SAMPLES):
                sine = _sine_at(context, low + sample * spacing)[0]
                if sine > best_sine:
                    best, best_sine = sample, sine
            low, high = (
                low + max(best - 1, 0) * spacing,
                low + min(best + 1, LONG_PASS_SAMPLES - 1) * spacing,
            )
        climb, sink = _sine_at(context, low)[1], _sine_at(context, high)[1]
        time = high if climb > 0 else low
        if climb > 0 and sink < 0:
            time = _highest(context, low, climb, high, sink)
        state_now = state_at(nodes, start_s, step_s, time)
        sine, _, range_km, range_rate = _sine(state_now, here, zenith)
        peaks[0, k], peaks[1, k] = time, sine
        for _ in range(2):
            _, _, _, vx, vy, vz = state_now
            time -= range_km * range_rate / (vx * vx + vy * vy + vz * vz)
            time = min(max(time, pass_start_s[k]), pass_end_s[k])
            state_now = state_at(nodes, start_s, step_s, time)
            _, _, range_km, range_rate = _sine(state_now, here, zenith)
        peaks[2, k] = range_km
    return peaks
