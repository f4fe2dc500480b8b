"""The contact plan as the planner sees it: passes over stations, groups of linked satellites, flow over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, maximum_flow

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.workload import Workload

PASS = np.dtype(
    [
        ("satellite", "<i4"),
        ("station", "<i4"),  # node index
        ("start_s", "<f8"),
        ("end_s", "<f8"),
        ("down_bps", "<f8"),
        ("up_bps", "<f8"),
        ("owlt_s", "<f8"),
        ("min_range_km", "<f8"),
    ]
)

_FLOW_UNITS = 1_000_000_000  # all samples together; leaves every slot of a link thousands of units in 32 bits


class PlanningError(ValueError):
    """No plan can be made; the message names the satellite, the link and the time concerned."""


class NoRouteError(PlanningError):
    """Samples or weights of a satellite cannot get through inside the horizon."""


class PayloadTooLargeError(PlanningError):
    """Not even one micro-batch, or one model, fits where it has to go."""


def passes_of(contact_plan: ContactPlan, start_s: float, end_s: float) -> np.ndarray:
    """Space-ground windows in ``[start_s, end_s]``, cut to it, both directions in one row; dtype ``PASS``, by start.

    A pass is where a downlink and an uplink of the same pair overlap; a downlink without uplink has ``up_bps`` 0.
    """
    contacts = contact_plan.during(start_s, end_s)
    down = contacts[(contacts["kind"] == LinkKind.DOWNLINK) & (contacts["rate_bps"] > 0)]
    up = contacts[(contacts["kind"] == LinkKind.UPLINK) & (contacts["rate_bps"] > 0)]
    nodes = len(contact_plan.nodes)
    up = up[np.lexsort([up["start_s"], up["target"].astype(np.int64) * nodes + up["source"]])]
    down = down[np.lexsort([down["start_s"], down["source"].astype(np.int64) * nodes + down["target"]])]

    passes = np.zeros(len(down), PASS)
    passes["satellite"], passes["station"] = down["source"], down["target"]
    passes["start_s"], passes["end_s"] = down["start_s"], down["end_s"]
    passes["down_bps"], passes["owlt_s"] = down["rate_bps"], down["owlt_s"]
    passes["min_range_km"] = down["min_range_km"]
    if len(up) and len(down):
        # Rank of each downlink's middle among the uplinks of its own pair: the uplink that began last before it.
        key_up = (up["target"].astype(np.int64) * nodes + up["source"]) * contact_plan.horizon_s * 2 + up[
            "start_s"
        ]
        middle_s = (down["start_s"] + down["end_s"]) / 2
        key_down = (
            down["source"].astype(np.int64) * nodes + down["target"]
        ) * contact_plan.horizon_s * 2 + middle_s
        found = np.maximum(np.searchsorted(key_up, key_down, side="right") - 1, 0)
        partner = up[found]
        matched = (partner["target"] == down["source"]) & (partner["source"] == down["target"])
        matched &= partner["end_s"] > middle_s
        passes["up_bps"] = np.where(matched, partner["rate_bps"], 0.0)
        passes["start_s"] = np.where(
            matched, np.maximum(passes["start_s"], partner["start_s"]), passes["start_s"]
        )
        passes["end_s"] = np.where(matched, np.minimum(passes["end_s"], partner["end_s"]), passes["end_s"])
    passes["start_s"] = np.maximum(passes["start_s"], start_s)
    passes["end_s"] = np.minimum(passes["end_s"], end_s)
    passes = passes[passes["end_s"] > passes["start_s"]]
    return passes[np.lexsort([passes["station"], passes["satellite"], passes["start_s"]])]


def sample_rates(passes: np.ndarray, workload: Workload) -> np.ndarray:
    """Samples per second that each pass can carry both ways, full duplex; 0 where a needed direction is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = passes["down_bps"] / (8.0 * workload.down_bytes) if workload.down_bytes else np.inf
        up = passes["up_bps"] / (8.0 * workload.up_bytes) if workload.up_bytes else np.inf
    return np.minimum(np.broadcast_to(down, len(passes)), np.broadcast_to(up, len(passes)))


def groups_of(links: np.ndarray, satellites: int) -> np.ndarray:
    """Label of each satellite, shape ``(N,)``: equal where ``links`` (contacts) join satellites, however indirectly."""
    ones = np.ones(len(links), np.int8)
    graph = coo_array((ones, (links["source"], links["target"])), shape=(satellites, satellites))
    return connected_components(graph, directed=False)[1]


def carried_s(start_s: np.ndarray, end_s: np.ndarray, rate: np.ndarray, amount: float) -> float:
    """When intervals that all carry at their ``rate`` have carried ``amount`` together; infinite where never."""
    edges_s = np.unique(np.concatenate([start_s, end_s]))
    carried = (np.clip(edges_s[:, None], start_s, np.maximum(end_s, start_s)) - start_s) @ rate
    if not len(edges_s) or carried[-1] < amount:
        return np.inf
    return float(np.interp(amount, carried, edges_s))


@dataclass(frozen=True, eq=False)
class FlowOverTime:
    """The relaxed round: samples as a fluid from groups of satellites over passes into ground (or on-board) compute.

    Within a group samples move freely.  ``need[g]`` samples start in group ``g``; pass ``i`` carries
    ``rate[i]`` samples per second of group ``group[i]``; an antenna serves one station and a station ``beams``
    satellites at a time; the ground computes ``ground_rate`` samples per second and stores what waits;
    ``onboard_rate[g]`` samples per second may be computed in the group itself.
    """

    need: np.ndarray
    passes: np.ndarray
    group: np.ndarray
    rate: np.ndarray
    beams: int
    ground_rate: float
    onboard_rate: np.ndarray
    start_s: float

    def capacity(self, end_s: float, slots: int = 48) -> float:
        """At least as many samples as can be done by ``end_s`` (capacities rounded up), at most all.

        One maximum flow through a network expanded in ``slots`` intervals: Fleischer, "Faster algorithms for the
        quickest transshipment problem" (2001); transit times are zero, so a flow in slots is a flow over time
        with constant rates in each of them.
        """
        units = _FLOW_UNITS / float(self.need.sum())
        tail, head, amount = self._arcs(end_s, slots)
        keep = amount > 0
        nodes, compact = np.unique(np.concatenate([[0, 1], tail[keep], head[keep]]), return_inverse=True)
        ends = np.split(compact[2:], 2)
        # Several passes of one satellite in a slot are one arc, added up before it is cut to what 32 bits hold.
        arcs = coo_array((amount[keep] * units, ends), shape=(len(nodes), len(nodes))).tocsr()
        arcs.data = np.minimum(np.ceil(arcs.data), 2.0 * _FLOW_UNITS).astype(np.int32)
        return float(maximum_flow(arcs, 0, 1).flow_value) / units

    def _arcs(self, end_s: float, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Arcs as (tail, head, samples).  Node 0 is the source, node 1 the sink."""
        edges = np.linspace(self.start_s, end_s, slots + 1)
        width_s = (end_s - self.start_s) / slots
        groups = len(self.need)
        begun = self.passes["start_s"] < end_s
        passes, group, rate = self.passes[begun], self.group[begun], self.rate[begun]
        stations, station = np.unique(passes["station"], return_inverse=True)
        satellites, satellite = np.unique(passes["satellite"], return_inverse=True)
        first_group, first_antenna = 2, 2 + groups
        first_beam = first_antenna + len(satellites) * slots
        first_ground = first_beam + len(stations) * slots

        open_s = np.minimum(passes["end_s"][:, None], edges[None, 1:])
        open_s = np.maximum(open_s - np.maximum(passes["start_s"][:, None], edges[None, :-1]), 0.0)
        which, slot = np.nonzero(open_s > 0)
        amount = open_s[which, slot] * rate[which]
        antenna = first_antenna + satellite[which] * slots + slot
        beam = first_beam + station[which] * slots + slot
        best = np.zeros(len(stations))
        np.maximum.at(best, station, rate)
        fastest = np.zeros(len(satellites))
        np.maximum.at(fastest, satellite, rate)

        antennas, first = np.unique(antenna, return_index=True)
        beams = np.unique(beam)
        ground = first_ground + np.arange(slots)
        everyone = first_group + np.arange(groups)
        source = np.zeros(groups, np.int64)
        tails = [source, first_group + group[which[first]], antenna, beams, ground[:-1], ground, everyone]
        heads = [
            everyone, antennas, beam, first_ground + (beams - first_beam) % slots, ground[1:],
            np.ones(slots, np.int64), np.ones(groups, np.int64),
        ]  # fmt: skip
        amounts = [
            self.need,
            fastest[satellite[which[first]]] * width_s,
            amount,
            best[(beams - first_beam) // slots] * width_s * self.beams,
            np.full(slots - 1, float(self.need.sum())),
            np.full(slots, self.ground_rate * width_s),
            self.onboard_rate * (end_s - self.start_s),
        ]
        return np.concatenate(tails), np.concatenate(heads), np.concatenate(amounts)
