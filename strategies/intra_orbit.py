"""S1, parallel intra-orbit: averaging inside a plane, and what it costs on a ring or on an open chain.

A strategy of your own is a subclass of :class:`IntraOrbitStrategy` that a package registers under the entry point
``skysplit.intra_orbit``; see docs/how-to-own-strategy.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from mission.client_update import pieces_of
from mission.entry_points import INTRA_ORBIT
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.plan import Kind, Plan, activities
from strategies.problem.workload import IntraOrbit
from strategies.registry import StrategyError, loaded


@dataclass(frozen=True)
class PlaneLinks:
    """Satellites of one plane in the order in which they see each other.

    ``closed`` tells whether the last sees the first; ``rate_bps`` and ``owlt_s`` are the worst of the links.
    """

    members: tuple[int, ...]
    closed: bool
    _: KW_ONLY
    rate_bps: float
    owlt_s: float


def plane_links(members: Sequence[int], links: np.ndarray) -> PlaneLinks | None:
    """The ring or chain that ``links`` (contacts, open now) make of ``members`` (by slot); None where it is broken.

    A plane closes into a ring only if neighbours see each other (9 satellites or more at 550 km): that is read from
    the contacts, never assumed.
    """
    inside = links[np.isin(links["source"], members) & np.isin(links["target"], members)]
    open_pairs = set(zip(inside["source"].tolist(), inside["target"].tolist(), strict=True))
    size = len(members)
    joined = [(members[i], members[(i + 1) % size]) in open_pairs for i in range(size)] if size > 1 else []
    gaps = [position for position, linked in enumerate(joined) if not linked]
    if size > 1 and len(gaps) > 1:
        return None
    first = (gaps[0] + 1) % size if gaps else 0
    order = tuple(members[(first + i) % size] for i in range(size))
    rate_bps = float(inside["rate_bps"].min()) if len(inside) else math.inf
    owlt_s = float(inside["owlt_s"].max(initial=0.0))
    return PlaneLinks(order, closed=size > 2 and not gaps, rate_bps=rate_bps, owlt_s=owlt_s)


class IntraOrbitStrategy(ABC):
    """Bring the data of one plane's satellites together.

    Attributes:
        stores_whole: Whether a satellite sends on only what it has as a whole, link after link, and sums never go
            round; else it sends parts on while others still come.
    """

    stores_whole: bool = False

    @abstractmethod
    def goes_round(self, plane: PlaneLinks, payload_bytes: float) -> bool:
        """Return whether the average of a closed plane goes round the ring; else partial sums meet in the middle.

        It has to return the same for the same plane, as the order of the sums follows from it.
        """


class Sequential(IntraOrbitStrategy):
    """Whole payloads, one link after the other."""

    stores_whole = True

    def goes_round(self, plane: PlaneLinks, payload_bytes: float) -> bool:
        """Return False: sums go along the plane and back."""
        return False


class Parallel(IntraOrbitStrategy):
    """All links at the same time, whichever way is sooner."""

    def goes_round(self, plane: PlaneLinks, payload_bytes: float) -> bool:
        """Return whether the ring is sooner than reduction and broadcast."""
        ring_s = ring_all_reduce_s(len(plane.members), payload_bytes, plane.rate_bps, plane.owlt_s)
        return ring_s <= reduce_broadcast_s(plane, payload_bytes)


_OURS: dict[str, type[IntraOrbitStrategy]] = {
    IntraOrbit.NONE: Parallel,
    IntraOrbit.SEQUENTIAL: Sequential,
    IntraOrbit.PARALLEL: Parallel,
    IntraOrbit.ALL_GATHER: Parallel,
}


def intra_orbit_strategy(name: str) -> IntraOrbitStrategy:
    """Return a strategy by its name in a scenario: one of ours, or one that a package registers.

    Raises:
        strategies.registry.StrategyError: It cannot be used.
    """
    return (_OURS.get(name) or loaded(INTRA_ORBIT, name, IntraOrbitStrategy, tuple(IntraOrbit)))()  # type: ignore[type-abstract]


@dataclass(frozen=True)
class PlaneOrder:
    """In which order the weights of one plane's satellites are summed.

    ``members`` are names.  ``ring`` tells whether the sum goes round (see
    :func:`strategies.aggregation.averages.plane_sum`);
    ``linked`` whether the satellites can see each other, and so form it among themselves.
    """

    members: tuple[str, ...]
    ring: bool
    _: KW_ONLY
    linked: bool


def plane_orders(plan: Plan, contact_plan: ContactPlan, payload_bytes: float) -> list[PlaneOrder]:
    """Return the order in which each plane, by number, is summed, over the links open when its last satellite is done.

    A plane that is broken then is summed on the ground, as a chain by slot.
    """
    orders = []
    for _, members in sorted(contact_plan.planes.items()):
        now_s = float(plan.finish_s[list(members)].max())
        links = contact_plan.during(now_s, math.nextafter(now_s, math.inf))
        links = links[(links["kind"] == LinkKind.INTRA_ISL) & (links["rate_bps"] > 0)]
        plane = plane_links(members, links)
        ring = plane is not None and goes_round(plane, payload_bytes, plan.strategy_config.intra_orbit)
        names = tuple(plan.names[index] for index in (plane.members if plane else members))
        orders.append(PlaneOrder(names, ring, linked=plane is not None and len(members) > 1))
    return orders


def ring_all_reduce_s(size: int, payload_bytes: float, rate_bps: float, owlt_s: float) -> float:
    """Two-way ring all-reduce: both directions carry half; 2 (S-1) steps of 1/S of a half (Zhu et al., 2404.01875)."""
    if size < 2:
        return 0.0
    return 2.0 * (size - 1) * (owlt_s + payload_bytes * 4.0 / (size * rate_bps))


def pipelined_s(hops: int, payload_bytes: float, rate_bps: float, owlt_s: float) -> float:
    """A payload of M bytes through ``hops`` links in ``k`` pieces, (hops - 1 + k) 8 M / (k B) and the light time."""
    if hops == 0:
        return 0.0
    pieces = pieces_of(payload_bytes)
    return (hops - 1 + pieces) * payload_bytes * 8.0 / (pieces * rate_bps) + hops * owlt_s


def reduce_broadcast_s(plane: PlaneLinks, payload_bytes: float) -> float:
    """Pipelined reduction to the middle of the plane and broadcast back, both ways at once."""
    return 2.0 * pipelined_s(len(plane.members) // 2, payload_bytes, plane.rate_bps, plane.owlt_s)


def sequential_s(plane: PlaneLinks, payload_bytes: float) -> float:
    """The baseline: whole payloads, store and forward, one link after the other, there and back."""
    return 2.0 * (len(plane.members) - 1) * (plane.owlt_s + payload_bytes * 8.0 / plane.rate_bps)


def goes_round(plane: PlaneLinks, payload_bytes: float, method: str) -> bool:
    """Whether the average takes the ring: where the plane closes, and the strategy says so.

    Raises:
        strategies.registry.StrategyError: The strategy of another package fails.
    """
    strategy = intra_orbit_strategy(method)
    if not plane.closed or strategy.stores_whole:
        return False
    try:
        return bool(strategy.goes_round(plane, payload_bytes))
    except Exception as error:  # whatever a package's code does
        raise StrategyError(
            f"strategy.intra_orbit {method!r}: failed: {type(error).__name__}: {error}"
        ) from error


def sums_at_once(plane: PlaneLinks, payload_bytes: float, method: str) -> bool:
    """Whether a plane's sums are formed in steps of all satellites at a time, which begin when all have trained.

    Else partial sums meet in the middle of the plane, and pieces of them leave as soon as they are complete.
    """
    return intra_orbit_strategy(method).stores_whole or goes_round(plane, payload_bytes, method)


def all_reduce_s(plane: PlaneLinks, payload_bytes: float, method: str) -> float:
    """Return the duration of a plane's average: ring, reduce and broadcast, or the baseline."""
    if len(plane.members) < 2:
        return 0.0
    if intra_orbit_strategy(method).stores_whole:
        return sequential_s(plane, payload_bytes)
    if goes_round(plane, payload_bytes, method):
        return ring_all_reduce_s(len(plane.members), payload_bytes, plane.rate_bps, plane.owlt_s)
    return reduce_broadcast_s(plane, payload_bytes)


def all_reduce(
    plane: PlaneLinks, payload_bytes: float, method: str, start_s: float
) -> tuple[np.ndarray, float]:
    """Activities of the average of a plane that starts at ``start_s``, one window per directed link, and its end.

    What a link carries in all is that of its algorithm: 2 (S-1)/S of half the payload each way on a ring, the
    payload each way on a chain.
    """
    duration_s = all_reduce_s(plane, payload_bytes, method)
    if duration_s == 0.0:
        return activities(0), start_s
    size = len(plane.members)
    on_ring = goes_round(plane, payload_bytes, method)
    here = np.array(plane.members if on_ring else plane.members[:-1])
    receivers = np.array(plane.members[1:] + plane.members[:1] if on_ring else plane.members[1:])
    rows = activities(
        2 * len(here), kind=Kind.REDUCE, link=LinkKind.INTRA_ISL, node=np.concatenate([here, receivers]),
        peer=np.concatenate([receivers, here]), start_s=start_s, end_s=start_s + duration_s,
        bytes=payload_bytes * ((size - 1) / size if on_ring else 1.0),
    )  # fmt: skip
    rows["satellite"] = rows["node"]
    return rows, start_s + duration_s
