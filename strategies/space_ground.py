"""S2, topology-aware space-ground: who holds which antenna of which station, and when.

A *session* is the part of a pass in which a satellite holds a beam: set-up first, then data both ways.  Sessions are
planned by running the round forward as a fluid, with the rules of the strategy deciding at every event which
satellites the free beams serve.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.beam_scheduling import Moment, SpaceGroundStrategy, TopologyAware, space_ground_strategy
from strategies.problem.network import NoRouteError
from strategies.problem.workload import Resources
from strategies.registry import chosen_of

SESSION = np.dtype(
    [
        ("pass_index", "<i4"),
        ("group", "<i4"),
        ("satellite", "<i4"),
        ("station", "<i4"),
        ("start_s", "<f8"),  # the beam is taken, set-up begins
        ("data_s", "<f8"),  # data may flow
        ("end_s", "<f8"),  # planned end
        ("limit_s", "<f8"),  # it may be held until then: end of the pass or next use of beam or antenna
    ]
)

_ACKNOWLEDGE_S = 1e-6


@dataclass(frozen=True, eq=False)
class SharedSteps:
    """Steps of many satellites that wait for each other: ``concurrent`` of them, each of so many ``samples``.

    Beside ``round_trip_s`` a step takes until its answers are up, over all sessions at once: ``answer_rate[i]``
    (samples/s) over pass ``i``.
    """

    samples: float
    _: KW_ONLY
    concurrent: int
    round_trip_s: float
    answer_rate: np.ndarray

    def rate(self, passes: np.ndarray) -> float:
        """Return the samples per second of all steps while these passes are in session."""
        answered = float(self.answer_rate[passes].sum())
        if not answered:
            return 0.0
        return self.concurrent * self.samples / (self.round_trip_s + self.samples / answered)


@dataclass(frozen=True, eq=False)
class Demand:
    """The demand of the groups for transport, as a fluid.

    ``need[g]`` samples; ``group[i]`` and ``rate[i]`` (samples/s) of pass ``i``; a group goes no faster than
    ``chain_rate[g]`` and all together no faster than ``ground_rate`` and shared ``steps``; after its last sample a
    group stays connected by one session for ``tail_s[g]``.  Of the need of a group, what ``later`` names as (time,
    group, samples) is there from that time on only.  Antennas of a group may be set up before ``ready_s[g]``, but carry
    nothing.
    Errors call a group by ``names[g]``, and its need by ``unit``.
    """

    need: np.ndarray
    group: np.ndarray
    _: KW_ONLY
    rate: np.ndarray
    chain_rate: np.ndarray
    ground_rate: float
    tail_s: np.ndarray
    names: Sequence[str]
    unit: str = "samples"
    steps: SharedSteps | None = None
    later: tuple[tuple[float, int, float], ...] = ()
    ready_s: np.ndarray | None = None


def plan_sessions(
    passes: np.ndarray,
    demand: Demand,
    resources: Resources,
    pointed: Collection[tuple[int, int]],
    rule: str,
    *,
    start_s: float,
    until_s: float = np.inf,
    target_s: float = np.inf,
) -> tuple[np.ndarray, float]:
    """Sessions (dtype ``SESSION``, by start) that carry the demand, and when the fluid has drained.

    Where that is later than ``until_s`` it is given as infinity, and the sessions break off there.

    ``rule`` names the strategy that decides (:mod:`strategies.beam_scheduling`); ``target_s`` is for the topology-aware
    one.  Pairs (satellite, station) in ``pointed`` need no set-up at ``start_s``.

    Raises ``NoRouteError`` naming the groups' first satellite where the passes end before the need does, and
    ``StrategyError`` where the strategy of another package fails.
    """
    beams = _Beams(passes, demand, resources=resources, pointed=pointed, start_s=start_s)
    kind = space_ground_strategy(rule)
    strategy = TopologyAware(target_s) if kind is TopologyAware else kind()
    while not beams.done():
        if beams.now_s > until_s and (beams.need > 0).any():
            beams.release()
            return beams.sessions(), np.inf
        beams.serve(strategy, rule)
        if not beams.advance(strategy.every_s):
            left = int(np.flatnonzero((beams.need > 0) | (beams.tail_s > 0))[0])
            what = f"{beams.need[left]:,.0f} {demand.unit}" if beams.need[left] > 0 else "the last answers"
            why = "are left when its last space-ground pass ends"
            if not (demand.group == left).any():
                why = "are left, and it has no space-ground pass"
            raise NoRouteError(f"the group of {demand.names[left]}: {what} {why}")
    return beams.sessions(), beams.drained_s


class _Beams:
    """The round run forward: which pass holds a beam, how much each group still needs."""

    def __init__(
        self,
        passes: np.ndarray,
        demand: Demand,
        *,
        resources: Resources,
        pointed: Collection[tuple[int, int]],
        start_s: float,
    ) -> None:
        self.passes, self.demand, self.resources = passes, demand, resources
        self.start_s = start_s
        self.pointed = {
            index
            for index, row in enumerate(passes)
            if row["start_s"] <= start_s and (int(row["satellite"]), int(row["station"])) in pointed
        }
        self.now_s = start_s
        self.drained_s = start_s
        self.need = demand.need.astype(float).copy()
        self.later = sorted(demand.later, reverse=True)
        for _, group, samples in self.later:
            self.need[group] = max(self.need[group] - samples, 0.0)
        self.tail_s = np.where(self.need > 0, demand.tail_s, 0.0)  # time that groups still stay connected
        self.usable = demand.rate > 0
        self.edges = np.unique(np.concatenate([passes["start_s"], passes["end_s"]]))
        self.active: dict[int, float] = {}  # pass → start of its session
        self.closed: list[tuple[int, float, float]] = []  # pass, start, end
        self.idle = False  # no pass is open to a group in need: there is nothing to decide until one is
        stations, self.row = np.unique(passes["station"], return_inverse=True)
        self.beams = resources.beams_of_each(stations)
        # Station, group and satellite of each pass: these are looked up one by one.
        self.pass_columns = self.row.tolist(), demand.group.tolist(), passes["satellite"].tolist()

    def done(self) -> bool:
        return not (self.need > 0).any() and not (self.tail_s > 0).any() and not self.later

    def sessions(self) -> np.ndarray:
        rows = sorted(self.closed, key=lambda row: (row[1], row[0]))
        table = np.zeros(len(rows), SESSION)
        index = np.array([row[0] for row in rows], int)
        table["pass_index"] = index
        table["group"] = self.demand.group[index]
        table["satellite"], table["station"] = self.passes["satellite"][index], self.passes["station"][index]
        table["start_s"] = [row[1] for row in rows]
        table["end_s"] = [row[2] for row in rows]
        table["data_s"] = [self._data_s(row[0], row[1]) for row in rows]
        table = table[table["end_s"] > table["data_s"]]
        table["limit_s"] = _limits(table, self.passes["end_s"][table["pass_index"]], self.resources)
        return table

    def candidates(self) -> np.ndarray:
        """Passes that could serve a group in need from now on, those in session included."""
        passes = self.passes
        begun = slice(0, int(np.searchsorted(passes["start_s"], self.now_s, side="right")))
        wanted = self.usable[begun] & self._unconnected()[self.demand.group[begun]]
        wanted &= passes["end_s"][begun] > self.now_s + self.resources.setup_s + 1.0
        return np.flatnonzero(wanted)

    def _unconnected(self) -> np.ndarray:
        """Groups that can use another session: those in need, and those in their tail without one."""
        connected = np.zeros(len(self.need), bool)
        connected[self.demand.group[list(self.active)]] = True
        return (self.need > 0) | ((self.tail_s > 0) & ~connected)

    def serve(self, strategy: SpaceGroundStrategy, name: str) -> None:
        """Ask the strategy which passes to serve, and begin and end sessions as it says."""
        held = np.array(list(self.active), int)
        finishing = held[self.need[self.demand.group[held]] <= 0]
        candidates = self.candidates()
        self.idle = not len(candidates) and not len(held)
        if self.idle:
            return
        moment = Moment(
            now_s=self.now_s,
            passes=self.passes,
            open=candidates,
            held=held,
            finishing=finishing,
            pointed=np.array([*held, *sorted(self._still_pointed())], int),
            group=self.demand.group,
            need=self.need.copy(),
            rate=np.where(self.usable, self.demand.rate, 0.0),
            beams=self.beams[self.row],
            setup_s=self.resources.setup_s,
        )
        wanted = chosen_of(
            lambda: strategy.choose(moment),
            (*candidates.tolist(), *held.tolist()),
            f"strategy.space_ground {name!r}: {{}} at {self.now_s:.1f} s",
            "moment.open and moment.held",
        )
        granted = self._granted(wanted, finishing.tolist(), strategy.single_gateway)
        for index in [index for index in self.active if index not in granted]:
            self._close(index, self.now_s)
        for index in sorted(granted - self.active.keys()):
            self.active[index] = self.now_s

    def _granted(self, wanted: Sequence[int], finishing: Sequence[int], single_gateway: bool) -> set[int]:
        """The wanted passes that find a beam, an antenna and, where they need it, a group without session."""
        free, left = self.beams.tolist(), int(self.beams.sum())
        rows, group_of, satellites = self.pass_columns
        antennas, groups, granted = set[int](), set[int](), set[int]()
        for index in (*finishing, *wanted):
            if not left:
                break
            row, group, satellite = rows[index], group_of[index], satellites[index]
            single = single_gateway or self.need[group] <= 0
            if index in granted or not free[row] or satellite in antennas or (single and group in groups):
                continue
            granted.add(index)
            free[row] -= 1
            left -= 1
            antennas.add(satellite)
            groups.add(group)
        return granted

    def advance(self, tick_s: float) -> bool:
        """Go to the next event; False where nothing will ever happen again."""
        active = np.array(sorted(self.active), int)
        flowing = np.zeros(0, int)
        if len(active):
            data_s = np.array([self._data_s(int(index), self.active[int(index)]) for index in active])
            flowing = active[data_s <= self.now_s]
        drain = self._drain(flowing)
        full = len(self.active) == self.beams.sum()
        after = self.edges[np.searchsorted(self.edges, self.now_s, side="right") :][:1]
        # With a beam free, any pass that begins matters; else only the ends of those in session. These times are met
        # exactly, so that what flows in a session is what its length says.
        edges = [float(self.passes["end_s"][index]) for index in self.active]
        edges += [] if full else after.tolist()
        edges += [self._data_s(index, start) for index, start in self.active.items()]
        moving = drain > 0
        edges += (self.now_s + self.need[moving] / drain[moving]).tolist()
        events = []
        connected = np.zeros(len(self.need), bool)
        connected[self.demand.group[flowing]] = True
        lingering = connected & (self.need <= 0) & (self.tail_s > 0)
        events += (self.now_s + self.tail_s[lingering]).tolist()
        events += [self.later[-1][0]] if self.later else []
        events = [time_s for time_s in events if time_s > self.now_s + _ACKNOWLEDGE_S]
        events += [time_s for time_s in edges if time_s > self.now_s]
        if not events:
            return False
        next_s = min(events)
        # What is due within a microsecond is no event of its own.
        due = bool(self.later) and self.later[-1][0] <= self.now_s + _ACKNOWLEDGE_S
        if (len(active) or len(after)) and (due or not self.idle):
            next_s = min(next_s, self.now_s + tick_s)
        self.need = np.maximum(self.need - drain * (next_s - self.now_s), 0.0)
        self.need[(self.need < 1e-6 * self.demand.need) | (self.need < 1e-9)] = 0.0
        self.tail_s[lingering] = np.maximum(self.tail_s[lingering] - (next_s - self.now_s), 0.0)
        self.tail_s[self.tail_s < _ACKNOWLEDGE_S] = 0.0
        self.now_s = next_s
        if (drain > 0).any():
            self.drained_s = next_s
        while self.later and self.later[-1][0] <= self.now_s:
            _, group, samples = self.later.pop()
            self.need[group] += samples
            self.tail_s[group] = self.demand.tail_s[group]
        self._acknowledge_all()
        return True

    def _drain(self, flowing: np.ndarray) -> np.ndarray:
        rate = np.bincount(self.demand.group[flowing], self.demand.rate[flowing], minlength=len(self.need))
        drain = np.where(self.need > 0, np.minimum(rate, self.demand.chain_rate), 0.0)
        total = float(drain.sum())
        if not total:
            return drain
        allowed, steps = self.demand.ground_rate, self.demand.steps
        if steps is not None:
            allowed = min(allowed, steps.rate(flowing))
        return drain * min(1.0, allowed / total)

    def _acknowledge_all(self) -> None:
        """Close sessions whose pass is over or whose group is done, but one per group for its tail."""
        for index in [i for i in self.active if self.passes["end_s"][i] <= self.now_s]:
            self._close(index, float(self.passes["end_s"][index]))
        of_group: dict[int, list[int]] = {}
        for index in self.active:
            of_group.setdefault(int(self.demand.group[index]), []).append(index)
        for group, held in of_group.items():
            if self.need[group] > 0:
                continue
            held.sort(key=lambda index: (self._setting_up(index), -self.passes["end_s"][index], index))
            for index in held[1 if self.tail_s[group] > 0 else 0 :]:
                self._close(index, self.now_s)

    def release(self) -> None:
        """Close all sessions."""
        for index in list(self.active):
            self._close(index, self.now_s)

    def _setting_up(self, index: int) -> bool:
        return self._data_s(index, self.active[index]) > self.now_s + _ACKNOWLEDGE_S

    def _still_pointed(self) -> set[int]:
        """Passes whose antennas are on each other without set-up: at the start of the round those that were before."""
        return self.pointed if self.now_s <= self.start_s else set()

    def _data_s(self, index: int, start_s: float) -> float:
        """When data may flow in a session that begins at ``start_s``."""
        set_up = index in self.pointed and start_s <= self.start_s
        data_s = start_s if set_up else start_s + self.resources.setup_s
        ready_s = self.demand.ready_s
        return data_s if ready_s is None else max(data_s, float(ready_s[self.demand.group[index]]))

    def _close(self, index: int, end_s: float) -> None:
        self.closed.append((index, self.active.pop(index), end_s))


def _limits(sessions: np.ndarray, pass_end_s: np.ndarray, resources: Resources) -> np.ndarray:
    """How long each session may be held: to the end of its pass, or until its beam or antenna is needed again."""
    limit_s = pass_end_s.copy()
    for column in ("satellite", "station"):
        order = np.lexsort([sessions["start_s"], sessions[column]])
        for value, members in _runs(sessions[column][order], order):
            count = 1 if column == "satellite" else resources.beams_of(value)
            for position, index in enumerate(members):
                later = sessions["start_s"][members[position + 1 :]]
                later = later[later >= sessions["end_s"][index] - _ACKNOWLEDGE_S]
                if len(later) and (count == 1 or len(members) > count):
                    limit_s[index] = min(limit_s[index], float(later[0]))
    return np.maximum(limit_s, sessions["end_s"])


def _runs(values: np.ndarray, order: np.ndarray) -> list[tuple[int, np.ndarray]]:
    cuts = np.flatnonzero(np.diff(values)) + 1
    return [
        (int(values[part[0]]), order[part]) for part in np.split(np.arange(len(values)), cuts) if len(part)
    ]
