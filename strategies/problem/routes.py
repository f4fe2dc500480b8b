"""Paths over inter-satellite links that are open: to a gateway, at a time."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

BUCKET_S = 30.0  # a path is asked for anew this often, and when links open …
OVERLAP_S = 5.0  # … and its links stay open this much longer, so that what is under way arrives
_OPENINGS = 3  # at so many moments of a bucket
_HOP_S = 1e-4  # of equally quick paths the one with fewer hops


@dataclass(frozen=True, eq=False)
class Tree:
    """The quickest paths of all satellites to one gateway for a small message; arrays of shape ``(N,)``.

    ``next_hop[k]`` is -1 at the gateway and where there is no path; then ``flight_s`` is infinite (0 at the
    gateway).  ``serial_s_per_bit`` adds up the inverse rates of the hops, ``slowest_bps`` is their least rate.
    """

    next_hop: np.ndarray
    flight_s: np.ndarray
    _: KW_ONLY
    hops: np.ndarray
    serial_s_per_bit: np.ndarray
    order: np.ndarray  # satellites with a path, nearest first
    side: np.ndarray  # the neighbour of the gateway by which each comes; the gateway itself by itself

    def path(self, satellite: int) -> list[int]:
        """The nodes from ``satellite`` to the gateway, both included."""
        nodes = [satellite]
        while (node := int(self.next_hop[nodes[-1]])) >= 0:
            nodes.append(node)
        return nodes


@dataclass(frozen=True)
class Send:
    """The whole payload from one satellite to another, store and forward."""

    node: int
    peer: int
    _: KW_ONLY
    start_s: float
    end_s: float


class Routes:
    """Trees over ``links`` (contacts of dtype ``CONTACT`` between satellites, acquisition already taken off).

    Paths are those by which ``message_bits`` arrive first, store and forward.
    """

    def __init__(self, links: np.ndarray, satellites: int, *, message_bits: float = 0.0) -> None:
        self._message_bits = message_bits
        self.satellites = satellites
        self.links = links
        self._trees: dict[tuple[int, bytes], Tree] = {}
        self._open: dict[float, tuple[np.ndarray, bytes]] = {}
        self._moments: dict[int, list[float]] = {}
        self._intervals: dict[tuple[int, int], list[tuple[float, float, float, float]]] = {}
        self._neighbours: dict[int, list[int]] = {}
        for row in np.sort(links, order="start_s"):
            pair = (int(row["source"]), int(row["target"]))
            interval = (
                float(row["start_s"]),
                float(row["end_s"]),
                float(row["rate_bps"]),
                float(row["owlt_s"]),
            )
            self._intervals.setdefault(pair, []).append(interval)

    def tree(self, gateway: int, time_s: float) -> Tree:
        """The tree whose links are open from ``time_s`` to the end of its bucket and a little longer."""
        first_s = self.since_s(time_s)
        if first_s not in self._open:
            last_s = (first_s // BUCKET_S + 1.0) * BUCKET_S + OVERLAP_S
            # The last bucket before a horizon cannot overlap it.
            fits = (self.links["start_s"] <= first_s) & (self.links["end_s"] >= last_s - OVERLAP_S - BUCKET_S)
            latest_s = float(self.links["end_s"].max(initial=0.0))
            fits &= self.links["end_s"] >= min(last_s, latest_s)
            self._open[first_s] = (np.flatnonzero(fits), np.packbits(fits).tobytes())
        rows, key = self._open[first_s]
        if (gateway, key) not in self._trees:
            self._trees[gateway, key] = self._search(gateway, self.links[rows])
        return self._trees[gateway, key]

    def since_s(self, time_s: float) -> float:
        """From when on the tree of a time holds; trees of times with the same answer are the same."""
        moments = self._moments_of(int(time_s // BUCKET_S))
        return moments[bisect_right(moments, time_s) - 1]

    def until_s(self, time_s: float) -> float:
        """Return the time until which a path remains valid."""
        moments = self._moments_of(int(time_s // BUCKET_S))
        position = bisect_right(moments, time_s)
        return moments[position] if position < len(moments) else (time_s // BUCKET_S + 1.0) * BUCKET_S

    def _moments_of(self, bucket: int) -> list[float]:
        """The start of a bucket, and when most links open in it: lasers that are pointed together, say."""
        if bucket not in self._moments:
            first_s = bucket * BUCKET_S
            opening = self.links["start_s"][
                (self.links["start_s"] > first_s) & (self.links["start_s"] < first_s + BUCKET_S)
            ]
            moments, count = np.unique(opening, return_counts=True)
            most = moments[np.argsort(-count, kind="stable")][:_OPENINGS]
            self._moments[bucket] = [first_s, *sorted(most.tolist())]
        return self._moments[bucket]

    def window(
        self, source: int, target: int, ready_s: float, bits: float, spare_s: float = 0.0
    ) -> tuple[float, float, float, float]:
        """The first (start, end, rate, light time) in which ``bits`` can begin at ``ready_s`` or later and end.

        They end ``spare_s`` before the contact does.

        ``start`` is infinite, and ``end`` before it, where no contact of the pair is long enough.
        """
        for start_s, end_s, rate_bps, owlt_s in self._intervals.get((source, target), ()):
            begin_s = max(start_s, ready_s)
            if begin_s + bits / rate_bps + spare_s <= end_s + 1e-9:
                return begin_s, end_s, rate_bps, owlt_s
        return np.inf, -np.inf, 1.0, 0.0

    def foremost(
        self,
        source: int,
        target: int,
        ready_s: float,
        bits: float,
        free_s: Callable[[int, int], float],
        spare_s: float = 0.0,
    ) -> list[tuple[int, int, float]] | None:
        """The hops (node, peer, begin) by which ``bits`` arrive first, stored on board where they have to wait.

        ``free_s(node, peer)`` is from when on a link takes them.  None where they never arrive.
        """
        arrival_s, came = self.journeys(
            {source: ready_s}, bits, free_s=free_s, spare_s=spare_s, target=target
        )
        if target not in arrival_s:
            return None
        hops: list[tuple[int, int, float]] = []
        node = target
        while node != source:
            hop = came[node]
            hops.append((hop.node, hop.peer, hop.start_s))
            node = hop.node
        return hops[::-1]

    def journeys(
        self,
        ready_s: Mapping[int, float],
        bits: float,
        *,
        free_s: Callable[[int, int], float] | None = None,
        spare_s: float = 0.0,
        target: int | None = None,
    ) -> tuple[dict[int, float], dict[int, Send]]:
        """Return when ``bits`` arrive first at each satellite, and the last hop on the way to it.

        Satellites in ``ready_s`` have them from then on. They are stored on board where they have to wait. With
        ``target`` the search ends there.
        """
        arrival_s, came = dict(ready_s), dict[int, Send]()
        queue, acknowledged = [(there_s, node) for node, there_s in ready_s.items()], set[int]()
        heapq.heapify(queue)
        while queue:
            now_s, node = heapq.heappop(queue)
            if node in acknowledged:
                continue
            if node == target:
                break
            acknowledged.add(node)
            for peer in self.neighbours(node):
                from_s = now_s if free_s is None else max(now_s, free_s(node, peer))
                begin_s, _, rate_bps, owlt_s = self.window(node, peer, from_s, bits, spare_s)
                there_s = begin_s + bits / rate_bps + owlt_s
                if there_s < arrival_s.get(peer, np.inf):
                    arrival_s[peer], came[peer] = (
                        there_s,
                        Send(node, peer, start_s=begin_s, end_s=begin_s + bits / rate_bps),
                    )
                    heapq.heappush(queue, (there_s, peer))
        return arrival_s, came

    def last_start_s(self, source: int, target: int, by_s: float, bits: float) -> float:
        """Return the latest start of ``bits`` that reach ``target`` by ``by_s``; minus infinity if they cannot."""
        latest_s = -np.inf
        for start_s, end_s, rate_bps, owlt_s in self._intervals.get((source, target), ()):
            leave_s = min(end_s, by_s - owlt_s) - bits / rate_bps
            if leave_s >= start_s:
                latest_s = max(latest_s, leave_s)
        return latest_s

    def neighbours(self, node: int) -> list[int]:
        """Satellites that ``node`` ever sends to; links go both ways."""
        if not self._neighbours:
            for source, target in self._intervals:
                self._neighbours.setdefault(source, []).append(target)
        return self._neighbours.get(node, [])

    def linked(self, source: int, target: int) -> bool:
        """Whether the pair has a contact at any time."""
        return (source, target) in self._intervals

    def link(self, source: int, target: int, time_s: float) -> tuple[float, float, float]:
        """Rate, light time and end of the contact of a pair that is open at ``time_s``, or opened last before it."""
        interval_at = self._intervals[source, target][0]
        for interval in self._intervals[source, target]:
            if interval[0] <= time_s:
                interval_at = interval
        return interval_at[2], interval_at[3], interval_at[1]

    def _search(self, gateway: int, links: np.ndarray) -> Tree:
        count = self.satellites
        weight = np.maximum(links["owlt_s"], 0.0) + self._message_bits / links["rate_bps"] + _HOP_S
        shape = (count, count)
        towards = csr_array((weight, (links["target"], links["source"])), shape=shape)
        distance, before = dijkstra(towards, indices=gateway, return_predecessors=True)
        next_hop = np.where(before >= 0, before, -1)
        serial, flight, hops = np.zeros(count), np.zeros(count), np.zeros(count)
        used = links[next_hop[links["source"]] == links["target"]]
        serial[used["source"]], flight[used["source"]] = 1.0 / used["rate_bps"], used["owlt_s"]
        hops[used["source"]] = 1.0
        jump = np.where(next_hop >= 0, next_hop, np.arange(count))
        side = np.where((next_hop >= 0) & (next_hop != gateway), next_hop, np.arange(count))
        while not np.array_equal(further := side[side], side):
            side = further
        while True:  # pointer doubling: sums along all paths at once
            further = jump[jump]
            serial, flight, hops = serial + serial[jump], flight + flight[jump], hops + hops[jump]
            if np.array_equal(further, jump):
                break
            jump = further
        unreachable = ~np.isfinite(distance)
        flight[unreachable] = np.inf
        order = np.argsort(distance, kind="stable")
        return Tree(
            next_hop,
            flight,
            hops=hops.astype(int),
            serial_s_per_bit=serial,
            order=order[: count - int(unreachable.sum())],
            side=side,
        )
