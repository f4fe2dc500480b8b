"""The average at the end of a round: partial sums to the ground, and what they come to back to every satellite.

A group's sum goes up a tree of inter-satellite links that stand at the same time, or over links as they open; it needs
a pass of any satellite of the group.  When the ground has heard all groups, the average takes such a way back.  What
the state of a round has summed, delivered or brought back is not sent again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.planner.antennas import Antennas, Booking
from strategies.planner.foremost import broadcast, gather
from strategies.planner.split.round_network import RoundNetwork
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, as_activities
from strategies.problem.routes import Tree

_ROOTS_OVER_TIME = 6  # passes that are tried where no tree stands at their time


_Hops = Callable[
    [int, int, float, float], tuple[list[tuple], float] | None
]  # (group, gateway, time) → rows, when done


@dataclass(frozen=True)
class _Way:
    """The route of one group's weights: rows of its inter-satellite hops, the booked pass, and when it is complete.

    Without a booking, the weights travel over inter-satellite links only.
    """

    group: int
    booking: Booking | None
    _: KW_ONLY
    rows: list[tuple]
    done_s: float


class WeightTransport:
    """Weights between space and ground, over the contacts and links of the round's window, which ends at ``until_s``.

    ``antennas`` know when stations are free; what the weights take of them is booked there.
    """

    def __init__(self, network: RoundNetwork, antennas: Antennas, *, until_s: float) -> None:
        problem, links, passes = network.problem, network.links, network.contacts
        workload, group = problem.workload, links.group
        self._names = [node.name for node in problem.contact_plan.nodes]
        self._workload, self._routes, self._passes, self._antennas = workload, links.routes, passes, antennas
        self._group, self._plane, self._until_s = group, links.plane.tolist(), until_s
        average, samples = problem.state.average, workload.samples
        self._undelivered = self._by_group(average.undelivered(samples))
        self._senders = self._by_group(average.senders(samples))
        self._waiting = self._by_group(average.waiting(samples))
        self._received = self._by_group(np.array(sorted(average.received), int))
        group_of_pass = group[passes["satellite"]] if len(passes) else np.zeros(0, int)
        self._passes_of = {
            label: np.flatnonzero(group_of_pass == label) for label in {*self._senders, *self._waiting}
        }

    def _by_group(self, satellites: np.ndarray) -> dict[int, np.ndarray]:
        """Those of each group that has any, by its label."""
        group = self._group[satellites]
        return {label: satellites[group == label] for label in np.unique(group).tolist()}

    def to_ground(self, finish_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum the weights of each satellite, there at ``finish_s[k]``; the activities, and when the ground has them.

        Raises ``NoRouteError`` naming a satellite whose group finds no pass.
        """
        ready_s = {label: float(finish_s[senders].max()) for label, senders in self._senders.items()}
        bits = self._workload.aggregate_bytes * 8.0

        def gathered(
            label: int, gateway: int, at_s: float, below_s: float
        ) -> tuple[list[tuple], float] | None:
            return self._towards(self._senders[label], gateway, finish_s, at_s, bits, below_s)

        ways = self._ways(ready_s, bits, "down_bps", gathered, None)
        delivered_s = finish_s.copy()
        rows: list[tuple] = []
        for way in ways:
            booking, size = way.booking, self._workload.aggregate_bytes
            assert booking is not None
            window = (booking.data_s, booking.data_s + bits / self._rate(booking, "down_bps"))
            rows += way.rows
            ends = booking.satellite, booking.station
            rows.append((Kind.REDUCE, LinkKind.DOWNLINK, -1, *ends, *window, size, 0.0, 0, 0, 0))
            delivered_s[self._undelivered[way.group]] = way.done_s
        return as_activities(rows), delivered_s

    def to_satellites(self, ready_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Bring the average, on the ground at ``ready_s``, to all satellites; the activities, and when each has it.

        Raises ``NoRouteError`` naming a satellite whose group finds no pass.
        """
        bits = self._workload.update_bytes * 8.0

        def spread(label: int, gateway: int, at_s: float, below_s: float) -> tuple[list[tuple], float] | None:
            received_s = dict.fromkeys(self._received.get(label, np.empty(0, int)).tolist(), ready_s)
            if gateway in received_s:
                return None
            return self._spread(self._waiting[label], {gateway: at_s, **received_s}, bits)

        returned_s = np.full(len(self._group), ready_s)
        rows: list[tuple] = []
        for way in self._ways(
            dict.fromkeys(self._waiting, ready_s), bits, "up_bps", None, spread, self._on_links(ready_s, bits)
        ):
            booking, size = way.booking, self._workload.update_bytes
            if booking is not None:
                window = (booking.data_s, booking.data_s + bits / self._rate(booking, "up_bps"))
                ends = booking.station, booking.satellite
                rows.append((Kind.UPDATE, LinkKind.UPLINK, -1, *ends, *window, size, 0.0, 0, 0, 0))
            rows += way.rows
            returned_s[self._waiting[way.group]] = way.done_s
        return as_activities(rows), returned_s

    def _on_links(self, ready_s: float, bits: float) -> dict[int, _Way]:
        """Return the routes inside groups in which one satellite already has the average, over links between them."""
        ways = {}
        for label in self._waiting.keys() & self._received.keys():
            received_s = dict.fromkeys(self._received[label].tolist(), ready_s)
            hops = self._spread(self._waiting[label], received_s, bits)
            if hops is not None:
                ways[label] = _Way(label, None, rows=hops[0], done_s=hops[1])
        return ways

    def _ways(
        self,
        ready_s: dict[int, float],
        bits: float,
        rate: str,
        before: _Hops | None,
        after: _Hops | None,
        on_links: Mapping[int, _Way] = MappingProxyType({}),
    ) -> list[_Way]:
        """The soonest way of every group; who is done first is booked first."""

        def soonest(label: int) -> _Way:
            way = self._soonest(label, ready_s[label], bits, rate, before, after, on_links.get(label))
            if way is None:
                name = self._names[int((self._senders if after is None else self._waiting)[label][0])]
                what = (
                    "its weights can reach the ground" if after is None else "the average can come back to it"
                )
                raise NoRouteError(f"{name}: no space-ground pass by {self._until_s:.0f} s over which {what}")
            return way

        queue = [(way.done_s, way.group) for way in map(soonest, ready_s)]
        heapq.heapify(queue)
        ways = []
        while queue:
            _, label = heapq.heappop(queue)
            way = soonest(label)  # as antennas are booked by now
            if queue and way.done_s > queue[0][0]:
                heapq.heappush(queue, (way.done_s, label))
                continue
            if way.booking is not None:
                self._antennas.book(way.booking)
            ways.append(way)
        return ways

    def _soonest(
        self, label: int, ready_s: float, bits: float, rate: str, before: _Hops | None, after: _Hops | None,
        best: _Way | None,
    ) -> _Way | None:  # fmt: skip
        """The soonest way over a pass, or ``best`` where none is sooner."""
        passes, tries = self._passes, _ROOTS_OVER_TIME
        of_group = self._passes_of[label]
        for index in of_group[
            np.argsort(np.maximum(passes["start_s"][of_group], ready_s), kind="stable")
        ].tolist():
            one_pass = passes[index]
            if one_pass["end_s"] <= ready_s or one_pass[rate] <= 0:
                continue
            length_s, owlt_s = bits / float(one_pass[rate]), float(one_pass["owlt_s"])
            at_s = max(float(one_pass["start_s"]), ready_s)
            if best is not None and at_s + length_s + owlt_s >= best.done_s:
                break
            gateway, rows, there_s = int(one_pass["satellite"]), list[tuple](), ready_s
            if before is not None:
                below_s = np.inf if best is None else best.done_s - length_s - owlt_s
                hops = before(label, gateway, at_s, below_s)
                if hops is None:
                    continue
                rows, there_s = hops
            booking = self._antennas.first(one_pass, index, there_s, length_s)
            if booking is None:
                continue
            done_s = booking.data_s + length_s + owlt_s
            if after is not None:
                if best is not None and done_s >= best.done_s:
                    continue
                hops = after(label, gateway, done_s, np.inf)
                tries -= 1
                if hops is None:
                    continue
                rows, done_s = hops
            if best is None or done_s < best.done_s:
                best = _Way(label, booking, rows=rows, done_s=done_s)
            if tries <= 0 and best is not None:
                break
        return best

    def _rate(self, booking: Booking, rate: str) -> float:
        return float(self._passes[rate][booking.pass_index])

    def _towards(
        self,
        members: np.ndarray,
        gateway: int,
        finish_s: np.ndarray,
        at_s: float,
        bits: float,
        below_s: float = np.inf,
    ) -> tuple[list[tuple], float] | None:
        """One reduction to a gateway from ``at_s`` on, and when it has the sum.

        None where it never has, or not before ``below_s`` even if no link were shut or waited for.
        """
        if len(members) == 1 and members[0] == gateway:
            return [], float(finish_s[gateway])
        tree = self._routes.tree(gateway, at_s)
        if np.isfinite(tree.flight_s[members]).all():
            way_s = tree.flight_s[members] + bits * tree.serial_s_per_bit[members]
            if (np.maximum(finish_s[members], at_s) + way_s).max() >= below_s:
                return None
            return self._up_tree(tree, members, finish_s, at_s, bits)
        ready_s = {int(node): max(float(finish_s[node]), 0.0) for node in members.tolist()}
        journey = gather(self._routes, gateway, ready_s, bits, self._until_s)
        if journey is None:
            return None
        return [
            self._row(Kind.REDUCE, send.node, send.peer, send.start_s, send.end_s) for send in journey.sends
        ], (journey.done_s)

    def _up_tree(
        self, tree: Tree, members: np.ndarray, finish_s: np.ndarray, at_s: float, bits: float
    ) -> tuple[list[tuple], float]:
        """Farthest satellites first; nobody sends before ``at_s``, as the tree is known to stand only then."""
        ready_s = np.full(len(self._plane), -np.inf)
        ready_s[members] = finish_s[members]
        rows: list[tuple] = []
        for satellite in tree.order[::-1].tolist():
            peer = int(tree.next_hop[satellite])
            if peer < 0 or ready_s[satellite] == -np.inf:
                continue
            begin_s = max(float(ready_s[satellite]), at_s)
            begin_s, _, rate_bps, owlt_s = self._routes.window(satellite, peer, begin_s, bits)
            sent_s = begin_s + bits / rate_bps
            rows.append(self._row(Kind.REDUCE, satellite, peer, begin_s, sent_s))
            ready_s[peer] = max(ready_s[peer], sent_s + owlt_s)
        root = int(tree.order[0])
        return rows, float(max(ready_s[root], at_s))

    def _spread(
        self, members: np.ndarray, has_s: Mapping[int, float], bits: float
    ) -> tuple[list[tuple], float] | None:
        """From the satellites that have the average at ``has_s`` to all members, each as soon as links allow."""
        targets, since_s = set(members.tolist()) - has_s.keys(), max(has_s.values())
        if not targets:
            return [], since_s
        journey = broadcast(self._routes, has_s, targets, bits)
        if journey is None:
            return None
        rows = [
            self._row(Kind.UPDATE, send.node, send.peer, send.start_s, send.end_s) for send in journey.sends
        ]
        return rows, max(journey.done_s, since_s)

    def _row(self, kind: Kind, node: int, peer: int, start_s: float, end_s: float) -> tuple:
        inside = self._plane[node] == self._plane[peer]
        link = LinkKind.INTRA_ISL if inside else LinkKind.INTER_ISL
        size = self._workload.aggregate_bytes if kind is Kind.REDUCE else self._workload.update_bytes
        return (kind, link, -1, node, peer, start_s, end_s, size, 0.0, 0, 0, 0)
