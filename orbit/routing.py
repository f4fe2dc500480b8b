"""Routes through the contact plan: the quickest path of light at an instant, and the earliest arrival of
data.

Earliest arrival is contact graph routing (CCSDS 734.3-B-1, Schedule-Aware Bundle Routing, § 3.2.6): a
bundle waits at a node until a contact opens, is sent at its rate, all of it within the one contact, and
arrives a light time later. Who arrives earlier never leaves later, so Dijkstra's algorithm over nodes is
exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from astropy.time import Time

from orbit.constellation import Constellation
from orbit.contact_plan import ContactPlan
from orbit.motion.frames import LIGHT_KM_S
from orbit.search.ephemeris import ephemeris
from orbit.stations import GroundStation


class NoPathError(ValueError):
    """There is no way from the source to the target; the message names both, and the time."""


@dataclass(frozen=True)
class Hop:
    """One contact of a route (row ``contact`` of the plan), with when data enter it and have all come out."""

    contact: int
    source: int
    _: KW_ONLY
    target: int
    depart_s: float
    sent_s: float  # the last bit has left
    arrive_s: float  # the last bit has arrived


@dataclass(frozen=True)
class Route:
    """The hops from source to target, none where they are one node, and when the data have arrived."""

    hops: tuple[Hop, ...]
    arrive_s: float


def earliest_arrival(
    plan: ContactPlan,
    source: int,
    target: int,
    *,
    start_s: float,
    size_bytes: float = 0.0,
    free_from_s: np.ndarray | None = None,
) -> Route:
    """The route on which ``size_bytes`` that are at ``source`` at ``start_s`` have all come to ``target``
    first.

    ``free_from_s`` gives, for each contact of the plan, from when on it is not yet taken (see ``booked``).
    Raises ``NoPathError``.
    """
    contacts = plan.contacts
    opens_s = contacts["start_s"] if free_from_s is None else np.maximum(contacts["start_s"], free_from_s)
    arrival_s = {source: start_s}
    by_hop: dict[int, Hop] = {}
    settled: set[int] = set()
    queue = [(start_s, source)]
    while queue:
        now_s, node = heapq.heappop(queue)
        if node == target:
            hops = _hops_back(by_hop, source, target)
            return Route(hops, now_s)
        if node in settled:
            continue
        settled.add(node)
        rows = plan.leaving(node)
        some = contacts[rows]
        depart_s = np.maximum(opens_s[rows], now_s)
        with np.errstate(divide="ignore"):
            sent_s = depart_s + (8 * size_bytes / some["rate_bps"] if size_bytes else 0.0)
        usable = (sent_s <= some["end_s"]) & (depart_s < some["end_s"])
        reached_s = np.where(usable, sent_s + some["owlt_s"], np.inf)
        for k in np.argsort(reached_s, kind="stable")[: np.count_nonzero(usable)].tolist():
            to_node = int(some["target"][k])
            if reached_s[k] < arrival_s.get(to_node, np.inf):
                arrival_s[to_node] = float(reached_s[k])
                by_hop[to_node] = Hop(
                    int(rows[k]),
                    node,
                    target=to_node,
                    depart_s=float(depart_s[k]),
                    sent_s=float(sent_s[k]),
                    arrive_s=float(reached_s[k]),
                )
                heapq.heappush(queue, (float(reached_s[k]), to_node))
    names = plan.nodes[source].name, plan.nodes[target].name
    raise NoPathError(f"no route for {size_bytes:.0f} bytes from {names[0]} at {start_s:.1f} s to {names[1]}")


def booked(plan: ContactPlan, route: Route, free_from_s: np.ndarray | None = None) -> np.ndarray:
    """From when on each contact is free once ``route`` is taken too: bundles share a contact one after the
    other."""
    free = plan.contacts["start_s"].copy() if free_from_s is None else free_from_s.copy()
    for hop in route.hops:
        free[hop.contact] = max(free[hop.contact], hop.sent_s)
    return free


def lowest_latency_path(
    plan: ContactPlan, source: int, target: int, *, at_s: float, owlt_s: np.ndarray | None = None
) -> tuple[tuple[int, ...], float]:
    """The nodes of the path of least light time over the contacts open at ``at_s``, and that time [s].

    The light times are the means of the plan, unless ``owlt_s`` (one per contact, as of ``light_times``)
    says what they are at the instant.  Raises ``NoPathError``.
    """
    contacts = plan.contacts
    delay_s = contacts["owlt_s"] if owlt_s is None else owlt_s
    latency_s = {source: 0.0}
    before: dict[int, int] = {}
    settled: set[int] = set()
    queue = [(0.0, source)]
    while queue:
        so_far_s, node = heapq.heappop(queue)
        if node == target:
            path = [node]
            while path[-1] != source:
                path.append(before[path[-1]])
            return tuple(reversed(path)), so_far_s
        if node in settled:
            continue
        settled.add(node)
        rows = plan.leaving(node)
        rows = rows[(contacts["start_s"][rows] <= at_s) & (at_s < contacts["end_s"][rows])]
        for to_node, delay in zip(contacts["target"][rows].tolist(), delay_s[rows].tolist(), strict=True):
            if so_far_s + delay < latency_s.get(to_node, np.inf):
                latency_s[to_node] = so_far_s + delay
                before[to_node] = node
                heapq.heappush(queue, (so_far_s + delay, to_node))
    names = plan.nodes[source].name, plan.nodes[target].name
    raise NoPathError(f"no path from {names[0]} to {names[1]} is open at {at_s:.1f} s")


def light_times(
    plan: ContactPlan, constellation: Constellation, stations: Sequence[GroundStation], at_s: float
) -> np.ndarray:
    """One-way light time [s] of every contact's two nodes as they stand at ``at_s``, shape of
    ``plan.contacts``."""
    motion = ephemeris(constellation, Time(plan.epoch), 1, step_s=1.0, start_s=at_s)
    place = np.concatenate(
        [motion.state[:, 0, :3], np.array([station.position_km for station in stations]).reshape(-1, 3)]
    )
    sight = place[plan.contacts["target"]] - place[plan.contacts["source"]]
    return np.linalg.norm(sight, axis=1) / LIGHT_KM_S


def _hops_back(by_hop: dict[int, Hop], source: int, target: int) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    node = target
    while node != source:
        hops.append(by_hop[node])
        node = by_hop[node].source
    return tuple(reversed(hops))
