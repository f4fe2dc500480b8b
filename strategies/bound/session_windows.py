"""When a satellite and a station can hold a session, as the lower bound sees it: nothing usable is left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind

WINDOW = np.dtype(
    [
        ("satellite", "<i4"),
        ("station", "<i4"),  # node index
        ("start_s", "<f8"),  # the first contact of the pair, either direction
        ("end_s", "<f8"),
        ("setup_s", "<f8"),  # lost before the first byte
        ("down_start_s", "<f8"),
        ("down_end_s", "<f8"),
        ("down_bps", "<f8"),  # 0 where there is no downlink
        ("up_start_s", "<f8"),
        ("up_end_s", "<f8"),
        ("up_bps", "<f8"),
        ("owlt_s", "<f8"),
    ]
)


def session_windows(
    contact_plan: ContactPlan,
    start_s: float,
    setup_s: float,
    pointed: frozenset[tuple[int, int]] = frozenset(),
) -> np.ndarray:
    """Return the windows that end after ``start_s``, cut to it; dtype ``WINDOW``, by pair and start.

    Contacts of a pair that overlap make one window, which has the widest times, the best rate and the least
    light time of each direction.  Unlike ``passes_of`` this includes uplinks without downlink, and the ends
    of one direction that the other does not reach.  Set-up is nothing where the antennas are ``pointed``
    already, and no more than the pause where a session may have lasted since the window before.
    """
    contacts = contact_plan.of_kind(LinkKind.DOWNLINK, LinkKind.UPLINK)
    contacts = contacts[(contacts["rate_bps"] > 0) & (contacts["end_s"] > start_s)]
    down = contacts["kind"] == LinkKind.DOWNLINK
    satellite = np.where(down, contacts["source"], contacts["target"])
    station = np.where(down, contacts["target"], contacts["source"])
    order = np.lexsort([contacts["start_s"], station, satellite])
    contacts, down, satellite, station = contacts[order], down[order], satellite[order], station[order]
    if not len(contacts):
        return np.zeros(0, WINDOW)

    begin_s, end_s = np.maximum(contacts["start_s"], start_s), contacts["end_s"]
    other_pair = np.concatenate([[True], (np.diff(satellite) != 0) | (np.diff(station) != 0)])
    # The latest end so far within the pair: pairs are lifted above each other by more than any time.
    lift_s = np.cumsum(other_pair) * 2.0 * contact_plan.horizon_s
    latest_s = np.maximum.accumulate(end_s + lift_s) - lift_s
    new = other_pair | np.concatenate([[True], begin_s[1:] > latest_s[:-1]])
    first = np.flatnonzero(new)

    windows = np.zeros(len(first), WINDOW)
    windows["satellite"], windows["station"] = satellite[first], station[first]
    windows["start_s"] = np.minimum.reduceat(begin_s, first)
    windows["end_s"] = np.maximum.reduceat(end_s, first)
    windows["owlt_s"] = np.minimum.reduceat(contacts["owlt_s"], first)
    for name, direction in (("down", down), ("up", ~down)):
        windows[f"{name}_start_s"] = np.minimum.reduceat(np.where(direction, begin_s, np.inf), first)
        windows[f"{name}_end_s"] = np.maximum.reduceat(np.where(direction, end_s, -np.inf), first)
        windows[f"{name}_bps"] = np.maximum.reduceat(np.where(direction, contacts["rate_bps"], 0.0), first)
    pause_s = np.full(len(first), np.inf)
    pause_s[1:] = np.where(other_pair[first[1:]], np.inf, windows["start_s"][1:] - windows["end_s"][:-1])
    windows["setup_s"] = np.minimum(setup_s, pause_s)
    for node, peer in pointed:
        held = (windows["satellite"] == node) & (windows["station"] == peer)
        windows["setup_s"][held & (windows["start_s"] <= start_s)] = 0.0
    return windows


def cut_before(windows: np.ndarray, until_s: float) -> np.ndarray:
    """Return the windows that can carry something before ``until_s``, cut to it."""
    windows = windows[windows["start_s"] + windows["setup_s"] < until_s].copy()
    for name in ("end_s", "down_end_s", "up_end_s"):
        windows[name] = np.minimum(windows[name], until_s)
    return windows


def data_from_s(windows: np.ndarray, direction: str) -> np.ndarray:
    """Return when the first byte can leave in a direction, ``"down"`` or ``"up"``; infinite without such a link."""
    return np.maximum(windows[f"{direction}_start_s"], windows["start_s"] + windows["setup_s"])


def most_at_once(
    windows: np.ndarray, direction: str, group: np.ndarray, groups: int, beams: Mapping[int, int]
) -> np.ndarray:
    """Return the highest rate, bit/s of shape ``(groups,)``, at which windows of a group carry data at one time.

    Args:
        windows: Dtype ``WINDOW``.
        direction: ``"down"`` or ``"up"``.
        group: Of each window, shape ``(windows,)``.
        groups: How many groups there are.
        beams: Sessions that a station serves at a time, by its node.
    """
    begin_s, end_s = data_from_s(windows, direction), windows[f"{direction}_end_s"]
    usable = (end_s > begin_s) & (windows[f"{direction}_bps"] > 0)
    windows, group = windows[usable], group[usable]
    most_bps = np.zeros(groups)
    if not len(windows):
        return most_bps
    rate_bps = windows[f"{direction}_bps"]
    time_s = np.concatenate([begin_s[usable], end_s[usable]])
    change_bps = np.concatenate([rate_bps, -rate_bps])
    station, of_group = np.tile(windows["station"], 2), np.tile(group, 2)
    # What is open at each station, no more than its beams carry.
    order = np.lexsort([change_bps, time_s, station, of_group])
    key = of_group[order] * (int(station.max()) + 1) + station[order]
    other = np.diff(key, prepend=-1) != 0
    segment = np.cumsum(other) - 1
    fastest_bps = np.zeros(int(segment[-1]) + 1)
    np.maximum.at(fastest_bps, segment, change_bps[order])
    count = np.array([beams[node] for node in station[order][other].tolist()])
    open_bps = np.minimum(np.cumsum(change_bps[order]), (fastest_bps * count)[segment])
    steps_bps = np.diff(open_bps, prepend=0.0)
    # Every station's windows close in the end, so that each segment begins at nothing.
    by_time = np.lexsort([steps_bps, time_s[order], of_group[order]])
    np.maximum.at(most_bps, of_group[order][by_time], np.cumsum(steps_bps[by_time]))
    return most_bps


def held_from(windows: np.ndarray, from_s: float) -> np.ndarray:
    """Return what is left from ``from_s`` on for sessions that may have been set up before."""
    windows = windows[windows["end_s"] > from_s].copy()
    windows["start_s"] = np.maximum(windows["start_s"], from_s - windows["setup_s"])
    for name in ("down_start_s", "up_start_s"):
        windows[name] = np.maximum(windows[name], from_s)
    return windows


def overlap_s(begin_s: np.ndarray, end_s: np.ndarray, edges_s: np.ndarray) -> np.ndarray:
    """Return the seconds of each interval in each slot between ``edges_s``, shape ``(intervals, slots)``."""
    until_s = np.minimum(end_s[:, None], edges_s[None, 1:])
    return np.maximum(until_s - np.maximum(begin_s[:, None], edges_s[None, :-1]), 0.0)


def covered_s(row: np.ndarray, begin_s: np.ndarray, end_s: np.ndarray, rows: int) -> np.ndarray:
    """Return for how long any of the intervals of a row is open, shape ``(rows,)``; ``row`` labels them."""
    if not len(row):
        return np.zeros(rows)
    order = np.lexsort([begin_s, row])
    row, begin_s, end_s = row[order], begin_s[order], end_s[order]
    lift_s = row * 2.0 * (float(end_s.max()) + 1.0)  # rows are lifted above each other by more than any time
    latest_s = np.maximum.accumulate(end_s + lift_s) - lift_s
    before_s = np.concatenate([[-np.inf], latest_s[:-1]])
    before_s[np.concatenate([[True], np.diff(row) != 0])] = -np.inf
    return np.bincount(row, np.maximum(end_s - np.maximum(begin_s, before_s), 0.0), minlength=rows)
