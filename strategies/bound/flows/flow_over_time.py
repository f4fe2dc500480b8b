"""What sessions could carry if they were a fluid and set-up were paid once a window: one maximum flow for
each direction.

For constellations whose linear program is too large.  Fleischer, "Faster algorithms for the quickest
transshipment problem" (2001): transit times are zero, so that a flow in slots is a flow over time with
constant rates in each of them.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

from strategies.bound.flows.flow_needs import FlowNeeds
from strategies.bound.session_windows import covered_s, data_from_s, overlap_s
from strategies.problem.workload import Resources

_UNITS = 1_000_000_000  # everything together; leaves every slot of a link thousands of units in 32 bits
_SLOTS = 12


def max_flow_part(
    needs: FlowNeeds,
    windows: np.ndarray,
    group: np.ndarray,
    resources: Resources,
    start_s: float,
    until_s: float,
) -> float:
    """Return at least the part of all needs that could be served by ``until_s``."""
    down_until_s = np.where(needs.answers > 0, needs.answers_until_s, needs.features_until_s)
    down_until_s = np.where(
        needs.features > 0, np.maximum(down_until_s, needs.features_until_s), down_until_s
    )
    parts = [1.0]
    for direction, bits, latest_s in (
        ("down", needs.features * needs.feature_bits + needs.answers * needs.down_bits, down_until_s),
        ("up", needs.answers * needs.up_bits, needs.answers_until_s),
    ):
        total = float(bits.sum())
        if total > 0:
            arcs = flow_arcs(
                windows, group, direction, bits, latest_s, needs.aboard_share, resources, start_s, until_s
            )
            parts.append(max_flow(*arcs, total) / total)
    return min(parts)


def max_flow(tail: np.ndarray, head: np.ndarray, amount: np.ndarray, total: float) -> float:
    """Return at least the maximum flow from node 0 to node 1, capacities rounded up, at most ``total``."""
    keep = amount > 0
    nodes, compact = np.unique(np.concatenate([[0, 1], tail[keep], head[keep]]), return_inverse=True)
    ends = np.split(compact[2:], 2)
    # Several windows of one pair in a slot are one arc, added up before it is cut to what 32 bits hold.
    arcs = coo_array((amount[keep] * _UNITS / total, ends), shape=(len(nodes), len(nodes))).tocsr()
    arcs.data = np.minimum(np.ceil(arcs.data), 2.0 * _UNITS).astype(np.int32)
    return float(maximum_flow(arcs, 0, 1).flow_value) * total / _UNITS


def flow_arcs(
    windows: np.ndarray,
    group: np.ndarray,
    direction: str,
    bits: np.ndarray,
    latest_s: np.ndarray,
    aboard_share: np.ndarray,
    resources: Resources,
    start_s: float,
    until_s: float,
    slots: int = _SLOTS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arcs as (tail, head, bits): from node 0 over groups, antennas and beams in each slot to node 1."""
    edges_s = np.linspace(start_s, until_s, slots + 1)
    rate_bps = windows[f"{direction}_bps"]
    end_s = np.minimum(windows[f"{direction}_end_s"], latest_s[group])
    open_s = overlap_s(data_from_s(windows, direction), end_s, edges_s)
    open_s[rate_bps <= 0] = 0.0
    which, slot = np.nonzero(open_s > 0)
    groups = len(bits)
    satellites, satellite = np.unique(windows["satellite"], return_inverse=True)
    stations, station = np.unique(windows["station"], return_inverse=True)
    first_group, first_antenna = 2, 2 + groups
    first_beam = first_antenna + len(satellites) * slots
    antenna = first_antenna + satellite[which] * slots + slot
    beam = first_beam + station[which] * slots + slot
    fastest_bps, best_bps = np.zeros(len(satellites)), np.zeros(len(stations))
    np.maximum.at(fastest_bps, satellite, rate_bps)
    np.maximum.at(best_bps, station, rate_bps)
    begin_s = np.maximum(windows["start_s"][which], edges_s[slot])
    until_end_s = np.minimum(windows["end_s"][which], edges_s[slot + 1])
    antennas, first, antenna_row = np.unique(antenna, return_index=True, return_inverse=True)
    beam_nodes, beam_row = np.unique(beam, return_inverse=True)
    antenna_s = covered_s(antenna_row, begin_s, until_end_s, len(antennas))
    beam_s = covered_s(beam_row, begin_s, until_end_s, len(beam_nodes))
    everyone = first_group + np.arange(groups)
    tails = [np.zeros(groups, np.int64), first_group + group[which[first]], antenna, beam_nodes, everyone]
    heads = [everyone, antennas, beam, np.ones(len(beam_nodes), np.int64), np.ones(groups, np.int64)]
    amounts = [
        bits,
        fastest_bps[satellite[which[first]]] * antenna_s,
        open_s[which, slot] * rate_bps[which],
        (best_bps * resources.beams_of_each(stations))[(beam_nodes - first_beam) // slots] * beam_s,
        bits * np.minimum(aboard_share, 1.0),
    ]
    return np.concatenate(tails), np.concatenate(heads), np.concatenate(amounts)
