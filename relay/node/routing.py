"""Where a transfer goes next: the way on which its last byte arrives first, by the contact plan.

Dijkstra over arrival times (a link keeps them in order: later in is later out), as in the contact graph
routing of CCSDS 734.3-B-1, with the whole remaining payload as the bundle.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Container
from typing import NamedTuple

from relay.clock.timed_link import Network


class NextHop(NamedTuple):
    """The way to a node."""

    next_hop: str
    arrival_s: float
    hops: tuple[str, ...]


def routes_from(
    network: Network,
    source: str,
    size_bytes: int,
    now_s: float,
    avoid_links: Container[tuple[str, str]] = frozenset(),
    avoid_nodes: Container[str] = frozenset(),
) -> dict[str, NextHop]:
    """Return the way from `source` to every node that can be reached, on which `size_bytes` are through first.

    `avoid_links` are known not to work at present; `avoid_nodes` have had their turn. Of two ways with equal
    arrival the one with fewer hops is taken, then the first by name, so that all nodes agree.
    """
    queue: list[tuple[float, int, tuple[str, ...]]] = [(now_s, 0, (source,))]
    best = {source: now_s}
    routes: dict[str, NextHop] = {}
    while queue:
        arrival_s, hops, path = heapq.heappop(queue)
        node = path[-1]
        if arrival_s > best.get(node, math.inf):
            continue
        if hops:
            routes[node] = NextHop(path[1], arrival_s, hops=path[1:])
        for neighbour in network.neighbours(node):
            link = node, neighbour
            if link in avoid_links or neighbour in avoid_nodes:
                continue
            there_s = network.links[link].arrival_s(size_bytes, arrival_s)
            if there_s < best.get(neighbour, math.inf):
                best[neighbour] = there_s
                heapq.heappush(queue, (there_s, hops + 1, (*path, neighbour)))
    return routes
