"""S1 as in the paper: every satellite of a plane gets the features of all, so that any of them can be the gateway.

Features run round the ring both ways, each half of the way (along an open chain to both ends), every satellite passing
on what it hears.  That is robust to the loss of a gateway and costs each satellite the memory for its whole plane.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.problem.plan import ON_NO_LINK, Kind, as_activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.routes import Routes
from strategies.problem.sunlight import finished_s


@dataclass(frozen=True)
class Copy:
    """Samples ``[first, end)`` of a satellite on board of one of its plane: they come in at an even pace."""

    first: int
    end: int
    _: KW_ONLY
    start_s: float
    end_s: float

    def at(self, sample: int) -> float:
        """Return the time at which all samples before ``sample`` are there."""
        return self.start_s + (self.end_s - self.start_s) * (sample - self.first) / (self.end - self.first)


@dataclass(frozen=True, eq=False)
class Gathered:
    """Copies by holder for every source, what brought them there, and when each link is free again."""

    copies: Mapping[int, Mapping[int, Copy]]
    activities: np.ndarray
    _: KW_ONLY
    link_free_s: Mapping[tuple[int, int], float]

    def held_bytes(self, satellite: int, sample_bytes: float) -> float:
        """Return the bytes that a satellite holds for others."""
        return sample_bytes * sum(
            holders[satellite].end - holders[satellite].first
            for source, holders in self.copies.items()
            if source != satellite and satellite in holders
        )


def all_gather(
    problem: PlanningProblem,
    routes: Routes,
    *,
    pending: np.ndarray,
    first_sample: np.ndarray,
    isl_share: float,
) -> Gathered:
    """Pass ``pending[k]`` samples of each satellite, from ``first_sample[k]`` on, round its plane.

    A link gives ``isl_share`` of its rate.  A copy ends where the links do.
    """
    gathering = _Gathering(problem, routes, isl_share=isl_share)
    embed_s = problem.workload.embedding_flops / problem.rates.satellite_flops
    for members in problem.contact_plan.planes.values():
        sources = [node for node in members if pending[node] > 0]
        for source in sources:
            first, end = int(first_sample[source]), int(first_sample[source] + pending[source])
            gathering.embed(source, first, end, embed_s * (end - first))
        size = len(members)
        ring = all(routes.linked(members[i], members[(i + 1) % size]) for i in range(size))
        forward, backward = (size // 2, (size - 1) // 2) if ring else (size - 1, size - 1)
        position = {node: index for index, node in enumerate(members)}
        for step, source in itertools.product(range(max(forward, backward)), sources):  # the nearest first
            for direction, reach in ((1, forward), (-1, backward)):
                if step < reach:
                    here = (position[source] + direction * step) % size
                    gathering.pass_on(source, members[here], members[(here + direction) % size])
    return Gathered(gathering.copies, as_activities(gathering.rows), link_free_s=gathering.link_free_s)


class _Gathering:
    def __init__(self, problem: PlanningProblem, routes: Routes, *, isl_share: float) -> None:
        self.workload, self.start_s = problem.workload, problem.start_s
        self.sunlight = problem.resources.sunlight
        self.routes, self.isl_share = routes, isl_share
        self.copies: dict[int, dict[int, Copy]] = {}
        self.link_free_s: dict[tuple[int, int], float] = {}
        self.rows: list[tuple] = []

    def embed(self, source: int, first: int, end: int, length_s: float) -> None:
        own = Copy(
            first, end, start_s=self.start_s, end_s=finished_s(self.sunlight, source, self.start_s, length_s)
        )
        # As if embedded without a pause up to the end: by no time more than is really there.
        self.copies[source] = {source: replace(own, start_s=own.end_s - length_s)}
        if length_s:
            flops = (end - first) * self.workload.embedding_flops
            self._note(Kind.EMBED, ON_NO_LINK, source, source, -1, own, 0.0, flops)

    def pass_on(self, source: int, node: int, peer: int) -> None:
        """Copy what ``node`` holds of ``source`` to its neighbour, by cut-through."""
        held = self.copies[source].get(node)
        if held is None or peer in self.copies[source]:
            return
        count = held.end - held.first
        lead = min(self.workload.micro_batch, count)
        bits, lead_bits = (8.0 * self.workload.c1_bytes * samples for samples in (count, lead))
        ready_s = max(held.at(held.first + lead), self.link_free_s.get((node, peer), self.start_s))
        begin_s, shut_s, link_bps, owlt_s = self.routes.window(node, peer, ready_s, bits / self.isl_share)
        usable_bps = link_bps * self.isl_share
        end_s = max(begin_s + bits / usable_bps, held.end_s + lead_bits / usable_bps)
        if not end_s <= shut_s + 1e-9:
            return
        sent = Copy(held.first, held.end, start_s=begin_s, end_s=end_s)
        self._note(
            Kind.GATHER, LinkKind.INTRA_ISL, source, node, peer, sent, count * self.workload.c1_bytes, 0.0
        )
        self.link_free_s[node, peer] = end_s
        self.copies[source][peer] = Copy(held.first, held.end, start_s=begin_s + owlt_s, end_s=end_s + owlt_s)

    def _note(
        self, kind: Kind, link: int, source: int, node: int, peer: int, when: Copy, size: float, flops: float
    ) -> None:
        self.rows.append(
            (kind, link, source, node, peer, when.start_s, when.end_s, size, flops, when.first, when.end, 0)
        )
