"""S3 for the average: weights over links that open at different times, each satellite sending once.

A broadcast takes the foremost journeys, those that arrive first (Bui Xuan, Ferreira and Jarry, "Computing shortest,
fastest, and foremost journeys in dynamic networks", 2003).  A gathering is its mirror image: for the earliest deadline
by which everybody can be heard, each satellite waits for those behind it and leaves no later than it must.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.problem.plan import Kind, activities
from strategies.problem.routes import Routes, Send

_PRECISION_S = 0.01


@dataclass(frozen=True)
class Journey:
    """Sends by start, and when the last has arrived."""

    sends: list[Send]
    done_s: float


def weight_sends(journey: Journey, kind: Kind, plane: np.ndarray, size_bytes: float) -> np.ndarray:
    """Return the activities of a journey of weights; ``plane`` is that of each satellite."""
    node, peer = (np.array([getattr(send, name) for send in journey.sends], int) for name in ("node", "peer"))
    return activities(
        len(journey.sends), kind=kind,
        link=np.where(plane[node] == plane[peer], LinkKind.INTRA_ISL, LinkKind.INTER_ISL),
        satellite=node if kind is Kind.REDUCE else peer, node=node, peer=peer,
        start_s=[send.start_s for send in journey.sends], end_s=[send.end_s for send in journey.sends],
        bytes=size_bytes,
    )  # fmt: skip


def broadcast(routes: Routes, ready_s: Mapping[int, float], targets: set[int], bits: float) -> Journey | None:
    """From the satellites in ``ready_s``, from those times on, to ``targets`` along foremost journeys.

    None where one is never reached.
    """
    arrival_s, came = routes.journeys(ready_s, bits)
    if not targets <= arrival_s.keys():
        return None
    sends: dict[int, Send] = {}
    for target in targets:
        while target in came and target not in sends:
            sends[target] = came[target]
            target = came[target].node
    ordered = sorted(sends.values(), key=lambda send: (send.start_s, send.peer))
    return Journey(ordered, max((arrival_s[target] for target in targets), default=min(ready_s.values())))


def gather(
    routes: Routes, root: int, ready_s: Mapping[int, float], bits: float, until_s: float
) -> Journey | None:
    """Partial sums of all satellites in ``ready_s`` (when each has its own) to ``root``; None if not by ``until_s``."""
    low_s, high_s = max(ready_s.values()), until_s
    if _parents(routes, root, ready_s, bits, high_s) is None:
        return None
    while high_s - low_s > _PRECISION_S:
        middle_s = (low_s + high_s) / 2.0
        if _parents(routes, root, ready_s, bits, middle_s) is None:
            low_s = middle_s
        else:
            high_s = middle_s
    parent = _parents(routes, root, ready_s, bits, high_s)
    assert parent is not None
    complete_s = dict(ready_s)  # when a satellite has its own weights and all from behind it
    leaving = list(parent)  # those who must leave first come first
    used: set[int] = set()
    for node in ready_s:
        while node != root and node not in used:
            used.add(node)
            node = parent[node]
    sends = []
    for node in leaving:
        if node not in used:
            continue
        peer = parent[node]
        begin_s, _, rate_bps, owlt_s = routes.window(node, peer, complete_s[node], bits)
        send = Send(node, peer, start_s=begin_s, end_s=begin_s + bits / rate_bps)
        sends.append(send)
        complete_s[peer] = max(complete_s.get(peer, -np.inf), send.end_s + owlt_s)
    sends.sort(key=lambda send: (send.start_s, send.node))
    return Journey(sends, complete_s[root])


def _parents(
    routes: Routes, root: int, ready_s: Mapping[int, float], bits: float, deadline_s: float
) -> dict[int, int] | None:
    """Next hops by which all are at ``root`` by the deadline, earliest departure first; None where there are none."""
    latest_s, parent = {root: deadline_s}, dict[int, int]()
    queue, acknowledged = [(-deadline_s, root)], list[int]()
    while queue:
        by_s, node = heapq.heappop(queue)
        if by_s > -latest_s[node]:
            continue
        acknowledged.append(node)
        for peer in routes.neighbours(node):
            leave_s = routes.last_start_s(peer, node, -by_s, bits)
            if leave_s > latest_s.get(peer, -np.inf):
                latest_s[peer], parent[peer] = leave_s, node
                heapq.heappush(queue, (-leave_s, peer))
    if any(latest_s.get(node, -np.inf) < since_s for node, since_s in ready_s.items()):
        return None
    return {node: parent[node] for node in reversed(acknowledged) if node != root}
