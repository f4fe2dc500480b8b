"""S3, latency-minimising inter-orbit: which satellites of neighbouring planes point their lasers at each other.

A strategy of your own is a subclass of :class:`InterOrbitStrategy` that a package registers under the entry point
``skysplit.inter_orbit``; see docs/how-to-own-strategy.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from mission.entry_points import INTER_ORBIT
from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.plan import Kind, activities
from strategies.problem.workload import InterOrbit, Resources
from strategies.registry import chosen_of, loaded

_EPOCH_S = 60.0  # how often links are matched anew
_LONGEST_S = 1800.0  # a longer residual lifetime is not worth more
_BONUS_S = 600.0  # for a link that already stands


@dataclass(frozen=True, eq=False)
class Sighting:
    """The view of an inter-orbit strategy of two neighbouring planes when it is asked.

    Attributes:
        now_s: Mission time.
        contacts: All contacts between the two planes, each once, with the fields ``source``, ``target`` (satellites),
            ``start_s``, ``end_s``, ``rate_bps``, ``owlt_s`` and ``min_range_km``.
        open: Contacts that last long enough to be worth an acquisition, and those that stand; by index.
        standing: Those whose lasers point at each other.
        acquisition_s: Time before a new link carries data.
    """

    now_s: float
    contacts: np.ndarray
    _: KW_ONLY
    open: np.ndarray
    standing: np.ndarray
    acquisition_s: float

    def left_s(self) -> np.ndarray:
        """Return how long each contact in ``open`` still lasts."""
        return self.contacts["end_s"][self.open] - self.now_s


class InterOrbitStrategy(ABC):
    """Choose the lasers of two neighbouring planes that point at each other, decided anew every 60 s.

    A new object is made for every pair of planes and every plan, so it may keep a state.
    """

    @abstractmethod
    def choose(self, sighting: Sighting) -> Sequence[int]:
        """Return the contacts to hold from now on, the most important first.

        A satellite has one terminal towards each neighbouring plane; contacts further down that find it taken go
        without. A link that is not among them ends, and begins anew with an acquisition. Only contacts of
        ``sighting.open`` are allowed.
        """


class NearestLinks(InterOrbitStrategy):
    """The shortest links first."""

    def choose(self, sighting: Sighting) -> Sequence[int]:
        """Return the open contacts by light time."""
        owlt_s = sighting.contacts["owlt_s"][sighting.open]
        return sighting.open[np.argsort(owlt_s, kind="stable")].tolist()


class LongestMatching(InterOrbitStrategy):
    """The matching of largest residual lifetime, a standing link preferred (Leyva-Mayorga et al., arXiv 1905.08410)."""

    def choose(self, sighting: Sighting) -> Sequence[int]:
        """Return the matching, by index."""
        contacts, usable = sighting.contacts, sighting.open
        left, row = np.unique(contacts["source"], return_inverse=True)
        right, column = np.unique(contacts["target"], return_inverse=True)
        table = np.zeros((len(left), len(right)))
        at = np.full(table.shape, -1)
        standing = np.isin(usable, sighting.standing)
        table[row[usable], column[usable]] = np.minimum(sighting.left_s(), _LONGEST_S) + _BONUS_S * standing
        at[row[usable], column[usable]] = usable
        rows, columns = linear_sum_assignment(table, maximize=True)
        chosen = at[rows, columns]
        return sorted(chosen[chosen >= 0].tolist())


_OURS: dict[str, type[InterOrbitStrategy]] = {
    InterOrbit.NEAREST: NearestLinks,
    InterOrbit.MIN_LATENCY: LongestMatching,
}


def inter_orbit_strategy(name: str) -> type[InterOrbitStrategy]:
    """Return a strategy by its name in a scenario: one of ours, or one that a package registers.

    Raises:
        strategies.registry.StrategyError: It cannot be used.
    """
    return _OURS.get(name) or loaded(INTER_ORBIT, name, InterOrbitStrategy, tuple(InterOrbit))  # type: ignore[type-abstract]


@dataclass(frozen=True, eq=False)
class SideLinks:
    """``contacts`` (dtype ``CONTACT``) can carry data; ``lasers`` are the activities that hold the terminals.

    Laser ``i`` carries data from ``acquired_s[i]`` on.
    """

    contacts: np.ndarray
    lasers: np.ndarray
    _: KW_ONLY
    acquired_s: np.ndarray


def plan_inter_plane_isls(
    contact_plan: ContactPlan,
    method: str,
    resources: Resources,
    start_s: float,
    end_s: float,
    *,
    pointed: Collection[tuple[int, int]] = (),
) -> SideLinks:
    """Point the ISL terminals over ``[start_s, end_s]``, one link per satellite towards each neighbouring plane.

    ``grid`` pairs the slots of two planes once and keeps that; ``nearest`` and ``min-latency`` choose anew every
    60 s: the shortest links first, or the matching of largest residual lifetime, a standing link preferred, none
    shorter than twice the acquisition; so does the strategy of another package.  Pairs in ``pointed`` stand already at
    ``start_s``: they need no acquisition, and count as standing.
    """
    contacts = contact_plan.during(start_s, end_s)
    contacts = contacts[(contacts["kind"] == LinkKind.INTER_ISL) & (contacts["rate_bps"] > 0)]
    forward = contacts[contacts["source"] < contacts["target"]]
    plane = np.array([contact_plan.nodes[index].plane for index in contact_plan.satellites])
    held = [np.empty(0, forward.dtype)]
    linked = np.unique(
        np.sort(plane[np.stack([forward["source"], forward["target"]], axis=1)], axis=1), axis=0
    )
    for first, second in _neighbouring([(int(a), int(b)) for a, b in linked], resources.isl_terminals):
        a, b = plane[forward["source"]], plane[forward["target"]]
        between = forward[((a == first) & (b == second)) | ((a == second) & (b == first))]
        if len(between):
            if method is InterOrbit.GRID:
                held.append(_cut(_grid(contact_plan, between), start_s, end_s))
            else:
                held.append(_matched(between, method, resources.acquisition_s, start_s, end_s, pointed))
    return _both_ways(np.concatenate(held), resources.acquisition_s, start_s, pointed)


def _neighbouring(linked: list[tuple[int, int]], terminals: int) -> list[tuple[int, int]]:
    """Pairs of planes that link: the ``linked`` ones, each (smaller, larger), where the terminals are enough for all
    of them, as in a grid; else neighbours by number, with one ISL terminal every second pair of the circle."""
    planes = sorted({plane for pair in linked for plane in pair})
    if terminals == 0 or len(planes) < 2:
        return []
    pairs = list(zip(planes, planes[1:] + planes[:1], strict=True))
    pairs = pairs[: 1 if len(planes) == 2 else len(planes)]
    if max(sum(plane in pair for pair in linked) for plane in planes) <= terminals:
        of_circle = [pair for pair in pairs if tuple(sorted(pair)) in linked]
        return of_circle + [pair for pair in linked if pair not in of_circle and pair[::-1] not in of_circle]
    return pairs[: len(pairs) // 2 * 2 : 2] or pairs[:1] if terminals == 1 else pairs


def _grid(contact_plan: ContactPlan, contacts: np.ndarray) -> np.ndarray:
    """The contacts of the one slot offset between two planes that is open longest; all, where they are a grid."""
    pairs = np.unique(np.stack([contacts["source"], contacts["target"]], axis=1), axis=0)
    if np.bincount(pairs.ravel()).max() == 1:
        return contacts
    slot = np.array([contact_plan.nodes[index].slot for index in contact_plan.satellites])
    plane = np.array([contact_plan.nodes[index].plane for index in contact_plan.satellites])
    sign = np.where(plane[contacts["source"]] < plane[contacts["target"]], 1, -1)
    size = max(len(members) for members in contact_plan.planes.values())
    offset = (sign * (slot[contacts["target"]] - slot[contacts["source"]])) % size
    open_s = np.bincount(offset, contacts["end_s"] - contacts["start_s"])
    return contacts[offset == int(np.argmax(open_s))]


def _cut(contacts: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    cut = contacts.copy()
    cut["start_s"], cut["end_s"] = np.maximum(cut["start_s"], start_s), np.minimum(cut["end_s"], end_s)
    return cut


def _matched(
    contacts: np.ndarray,
    method: str,
    acquisition_s: float,
    start_s: float,
    end_s: float,
    pointed: Collection[tuple[int, int]],
) -> np.ndarray:
    """Contacts cut to the time for which their two terminals point at each other, acquisition included."""
    strategy = inter_orbit_strategy(method)()
    stands = (contacts["start_s"] <= start_s) & _in(contacts, pointed)
    since = dict.fromkeys(np.flatnonzero(stands).tolist(), start_s)
    held: list[tuple[int, float, float]] = []
    for now_s in np.arange(start_s, end_s, _EPOCH_S):
        for index in [i for i in since if contacts["end_s"][i] <= now_s]:
            held.append((index, since.pop(index), float(contacts["end_s"][index])))
        usable = np.flatnonzero((contacts["start_s"] <= now_s) & (contacts["end_s"] > now_s))
        lifetime_s = contacts["end_s"][usable] - now_s
        standing = np.isin(usable, list(since))
        worthy = standing | (lifetime_s >= 2.0 * acquisition_s)
        usable, standing = usable[worthy], standing[worthy]
        sighting = Sighting(
            float(now_s), contacts, open=usable, standing=usable[standing], acquisition_s=acquisition_s
        )
        chosen = _granted(contacts, _chosen(strategy, method, sighting)) if len(usable) else set[int]()
        for index in [i for i in since if i not in chosen]:
            held.append((index, since.pop(index), float(now_s)))
        for index in sorted(chosen - since.keys()):
            since[index] = float(now_s)
    held += [
        (index, begin_s, min(float(contacts["end_s"][index]), end_s)) for index, begin_s in since.items()
    ]
    cut = contacts[[index for index, _, _ in held]].copy()
    cut["start_s"] = [begin_s for _, begin_s, _ in held]
    cut["end_s"] = [until_s for _, _, until_s in held]
    return cut


def _chosen(strategy: InterOrbitStrategy, name: str, sighting: Sighting) -> Sequence[int]:
    """What the strategy chooses.

    Raises ``StrategyError`` where it fails, or chooses what it may not.
    """
    at = f"strategy.inter_orbit {name!r}:"
    return chosen_of(
        lambda: strategy.choose(sighting),
        sighting.open,
        f"{at} {{}} at {sighting.now_s:.1f} s",
        "sighting.open",
    )


def _granted(contacts: np.ndarray, wanted: Sequence[int]) -> set[int]:
    """The wanted contacts that find a terminal at both ends."""
    taken: set[int] = set()
    granted: set[int] = set()
    for index in wanted:
        pair = {int(contacts["source"][index]), int(contacts["target"][index])}
        if not pair & taken:
            taken |= pair
            granted.add(index)
    return granted


def _in(contacts: np.ndarray, pairs: Collection[tuple[int, int]]) -> np.ndarray:
    """Which contacts are between the nodes of one of these pairs."""
    ends = zip(contacts["source"].tolist(), contacts["target"].tolist(), strict=True)
    return np.array([pair in pairs or pair[::-1] in pairs for pair in ends], bool)


def _both_ways(
    held: np.ndarray, acquisition_s: float, start_s: float, pointed: Collection[tuple[int, int]]
) -> SideLinks:
    lasers = activities(
        len(held), kind=Kind.ISL_POINTING, link=LinkKind.INTER_ISL, node=held["source"], peer=held["target"],
        start_s=held["start_s"], end_s=held["end_s"],
    )  # fmt: skip
    data = held.copy()
    data["start_s"] += np.where((held["start_s"] <= start_s) & _in(held, pointed), 0.0, acquisition_s)
    acquired_s = data["start_s"].copy()
    data = data[data["end_s"] > data["start_s"]]
    back = data.copy()
    back["source"], back["target"] = data["target"], data["source"]
    return SideLinks(np.concatenate([data, back]), lasers, acquired_s=acquired_s)
