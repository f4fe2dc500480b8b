"""Who shall hold the beams of the stations: what a space-ground strategy sees and decides, and our own strategies.

A strategy of your own is a subclass of :class:`SpaceGroundStrategy` that a package registers under the entry point
``skysplit.space_ground``; see docs/how-to-own-strategy.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from mission.entry_points import SPACE_GROUND
from strategies.problem.workload import SpaceGround
from strategies.registry import loaded

MATCHED_EVERY_S = 15.0  # how often beams are matched anew
_WORTH_S = 120.0  # a longer stay in a pass is not worth more


@dataclass(frozen=True, eq=False)
class Moment:
    """The view of a space-ground strategy when it is asked.

    Groups are satellites that reach each other over inter-satellite links; any of them can bring down what the group
    has. Passes are known by their index into ``passes``.

    Attributes:
        now_s: Mission time.
        passes: All passes of the round, by start, with the fields ``satellite``, ``station``, ``start_s``, ``end_s``,
            ``down_bps``, ``up_bps``, ``owlt_s`` and ``min_range_km``.
        open: Passes that can carry something from now on for a group in need, those in session included.
        held: Passes in session, oldest first.
        finishing: Those of ``held`` whose group has sent everything and waits for its last answers; they stay.
        pointed: Passes whose antennas are on each other, so that they need no set-up.
        group: Group of each pass.
        need: What each group still has to bring down: samples, or bits where whole models are averaged.
        rate: What each pass carries of it a second; 0 where it carries nothing.
        beams: Satellites that the station of each pass serves at a time.
        setup_s: Time before a new session carries data.
    """

    now_s: float
    passes: np.ndarray
    _: KW_ONLY
    open: np.ndarray
    held: np.ndarray
    finishing: np.ndarray
    pointed: np.ndarray
    group: np.ndarray
    need: np.ndarray
    rate: np.ndarray
    beams: np.ndarray
    setup_s: float

    def need_of_open(self) -> np.ndarray:
        """Return what the group of each pass in ``open`` still has to bring down."""
        return self.need[self.group[self.open]]

    def left_s(self) -> np.ndarray:
        """Return how long each pass in ``open`` still lasts."""
        return self.passes["end_s"][self.open] - self.now_s


class SpaceGroundStrategy(ABC):
    """Choose the satellites that the beams of the stations serve. A new object is made for every plan, so it may keep
    a state.

    Attributes:
        every_s: The strategy is asked at every event (a pass begins or ends, a group has sent everything); and so often
            in between, seconds.
        single_gateway: Whether a group has one session at a time.
    """

    every_s: float = math.inf
    single_gateway: bool = False

    @abstractmethod
    def choose(self, moment: Moment) -> Sequence[int]:
        """Return the passes to serve from now on, the most important first.

        A pass gets a beam of its station where one is left and its satellite's antenna is free; passes further down
        that find none go without. A session that is not among them ends, and begins anew with a set-up. Only passes of
        ``moment.open`` and ``moment.held`` are allowed.
        """


class _ByRank(SpaceGroundStrategy):
    """Keep every session, and give free beams by rank."""

    def choose(self, moment: Moment) -> Sequence[int]:
        free = moment.open[~np.isin(moment.open, moment.held)]
        order = np.argsort(self.rank(moment)[free], kind="stable")
        return [*moment.held.tolist(), *free[order].tolist()]

    def rank(self, moment: Moment) -> np.ndarray:
        """Rank of each pass, smallest first: here by start."""
        return np.arange(len(moment.passes))


class FirstContact(_ByRank):
    """The pass that began first."""


class OwnWindow(_ByRank):
    """The pass that began first, one session of a group at a time."""

    single_gateway = True


class Nearest(_ByRank):
    """The pass that comes nearest to its station."""

    def __init__(self) -> None:
        self._rank: np.ndarray | None = None

    def rank(self, moment: Moment) -> np.ndarray:
        """Rank of each pass by its least range."""
        if self._rank is None:
            passes = moment.passes
            self._rank = np.lexsort([passes["start_s"], passes["min_range_km"]]).argsort()
        return self._rank


class LongestWindow(SpaceGroundStrategy):
    """One sink of a group: the pass that lasts longest of those that carry all that the group has left.

    Where no pass is open that carries it, a group waits for one; where none will be, it takes the longest that is open.
    After FedLEO (Elmahallawy and Luo, arXiv 2302.13447), whose planes elect the satellite whose visible window is long
    enough to send what the plane has summed.
    """

    single_gateway = True

    def choose(self, moment: Moment) -> Sequence[int]:
        """Return the sessions that stand, then the sinks by how long they last."""
        passes, need = moment.passes, moment.need[moment.group]
        length_s = passes["end_s"] - np.maximum(passes["start_s"], moment.now_s) - moment.setup_s
        carries = (moment.rate > 0) & (length_s * moment.rate >= need)
        carrying_groups = np.unique(moment.group[carries])
        open_passes = moment.open
        sinks = open_passes[carries[open_passes] | ~np.isin(moment.group[open_passes], carrying_groups)]
        return [*moment.held.tolist(), *sinks[np.argsort(-length_s[sinks], kind="stable")].tolist()]


class TopologyAware(SpaceGroundStrategy):
    """Match all beams to satellites anew, maximum weight; a session that goes on costs no set-up.

    A group weighs its need over the capacity that it has left until ``target_s``: least slack first.
    """

    every_s = MATCHED_EVERY_S

    def __init__(self, target_s: float = math.inf) -> None:
        self._target_s = target_s

    def choose(self, moment: Moment) -> Sequence[int]:
        """Return the matching, by index."""
        open_passes = np.setdiff1d(moment.open, moment.finishing)
        if not len(open_passes):
            return moment.held.tolist()
        passes = moment.passes[open_passes]
        left_s = passes["end_s"] - moment.now_s
        linked = np.isin(open_passes, moment.pointed)
        # A new session pays until the pass or the round is over.
        worth_s = _WORTH_S
        if self._target_s > moment.now_s:
            worth_s = min(worth_s, self._target_s - moment.now_s)
        gain = np.where(linked, 1.0, np.maximum(1.0 - moment.setup_s / np.minimum(left_s, worth_s), 0.01))
        weight = self._urgency(moment)[moment.group[open_passes]] * gain * moment.rate[open_passes]
        weight *= 1.0 + 1e-3 * np.minimum(left_s, 600.0) / 600.0  # of equals, the one that stays longest

        # A beam that a finished group still holds for its last answers serves nobody else.
        stations, row = np.unique(moment.passes["station"], return_inverse=True)
        satellites, column = np.unique(passes["satellite"], return_inverse=True)
        beams = np.zeros(len(stations), np.int64)
        beams[row] = moment.beams
        first = np.cumsum(beams) - beams  # row of the table of each station's first beam
        table = np.zeros((int(beams.sum()), len(satellites)))
        index_at = np.full(table.shape, -1)
        for beam in range(int(beams.max())):
            has_it = beams[row[open_passes]] > beam
            place = first[row[open_passes[has_it]]] + beam, column[has_it]
            table[place], index_at[place] = weight[has_it], open_passes[has_it]
        taken: dict[int, int] = {}
        for index in moment.finishing.tolist():
            station = int(row[index])
            table[first[station] + taken.get(station, 0)] = 0.0
            taken[station] = taken.get(station, 0) + 1
        rows, columns = linear_sum_assignment(table, maximize=True)
        return sorted(index_at[rows, columns][table[rows, columns] > 0].tolist())

    def _urgency(self, moment: Moment) -> np.ndarray:
        """Need left over capacity left until the target, per group; at least a trifle."""
        passes, now_s = moment.passes, moment.now_s
        end_s = np.minimum(
            passes["end_s"],
            self._target_s if self._target_s > now_s + MATCHED_EVERY_S else np.inf,
        )
        open_s = np.maximum(end_s - np.maximum(passes["start_s"], now_s), 0.0)
        left = np.bincount(moment.group, open_s * np.minimum(moment.rate, 1e12), minlength=len(moment.need))
        return np.maximum(moment.need / np.maximum(left, 1e-9), 1e-9)


_OURS: dict[str, type[SpaceGroundStrategy]] = {
    SpaceGround.OWN_WINDOW: OwnWindow,
    SpaceGround.FIRST_CONTACT: FirstContact,
    SpaceGround.NEAREST: Nearest,
    SpaceGround.LONGEST_WINDOW: LongestWindow,
    SpaceGround.TOPOLOGY_AWARE: TopologyAware,
}


def space_ground_strategy(name: str) -> type[SpaceGroundStrategy]:
    """Return a strategy by its name in a scenario: one of ours, or one that a package registers.

    Raises:
        strategies.registry.StrategyError: It cannot be used.
    """
    if name in _OURS:
        return _OURS[name]
    return loaded(SPACE_GROUND, name, SpaceGroundStrategy, tuple(_OURS))  # type: ignore[type-abstract]
