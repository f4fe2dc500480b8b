"""Weights of on-board rounds by way of the ground: averages down, the one average up, over sessions of stations.

Antennas and beams are set up while the satellites still train or others still send, and what points at each other
stays so from the way down to the way up.  A transfer may outlast a session and go on in the next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.planner.antennas import Antennas, Booking, booking_of, sessions_of
from strategies.problem.network import first_members, passes_of
from strategies.problem.plan import Kind, activities
from strategies.problem.workload import Resources
from strategies.space_ground import Demand, plan_sessions


class WeightSessions:
    """The way down and then the way up of one round.

    Args:
        contact_plan: All contacts.
        resources: Beams and set-up.
        rule: Name of the strategy by which beams are given to satellites.
        start_s: When the round starts; no antenna is moved before.
        pointed: Pairs (satellite, station) that are on each other then.
        group: Group of each satellite, shape (satellites,); a group has one average.
        trainers: Satellites that train, and so have weights.
        size_bytes: Of the weights.
    """

    def __init__(
        self,
        contact_plan: ContactPlan,
        resources: Resources,
        *,
        rule: str,
        start_s: float,
        pointed: frozenset[tuple[int, int]],
        group: np.ndarray,
        trainers: np.ndarray,
        size_bytes: float,
    ) -> None:
        self._resources, self._rule, self._start_s = resources, rule, start_s
        self._pointed, self._group, self._trainers = pointed, group, trainers
        self._bits = np.zeros(int(group.max(initial=-1)) + 1)
        self._bits[np.unique(group[trainers])] = size_bytes * 8.0
        self._names = [contact_plan.nodes[first].name for first in first_members(group).tolist()]
        self._passes = passes_of(contact_plan, start_s, contact_plan.horizon_s)
        self._held: list[Booking] = []

    def to_ground(self, ready_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plan the way down of each group's average, which is there at ``ready_s[group]``.

        Returns its activities and when each group is through.

        Raises:
            NoRouteError: A group has not the contacts before the horizon.
        """
        begin_s = np.maximum(self._start_s, ready_s - self._resources.setup_s)
        first_s = float(begin_s[self._bits > 0].min())
        index = self._index_from(begin_s)
        index = index[
            np.isin(self._passes["satellite"][index], self._trainers)
        ]  # others have no average to send
        pointed = self._pointed if first_s <= self._start_s else frozenset()
        rows, through_s, _, bookings = self._plan(
            index, LinkKind.DOWNLINK, begin_s, ready_s, pointed, first_s
        )
        self._held = bookings
        return rows, through_s

    def to_satellites(self, ready_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plan the way up of the average to one satellite of each group, after :meth:`to_ground`.

        Returns its activities, when each group has it, and the satellite that had it last.

        Raises:
            NoRouteError: A group has not the contacts before the horizon.
        """
        from_s = np.full(len(self._bits), ready_s)
        stay = self.pointed(ready_s)
        set_up_s = max(self._start_s, ready_s - self._resources.setup_s)
        idle = self._idle(set_up_s, ready_s) if ready_s - set_up_s >= self._resources.setup_s else frozenset()
        rows, through_s, last, bookings = self._plan(
            self._index_from(from_s), LinkKind.UPLINK, from_s, from_s, stay | idle, ready_s
        )
        for booking in bookings:
            pair = (booking.satellite, booking.station)
            if booking.start_s <= ready_s and pair in stay:
                of_pair = [i for i, held in enumerate(self._held) if (held.satellite, held.station) == pair]
                kept = max(of_pair, key=lambda i: self._held[i].end_s)
                self._held[kept] = replace(
                    self._held[kept], end_s=booking.end_s, pass_index=booking.pass_index
                )
            elif booking.start_s <= ready_s and pair in idle:
                self._held.append(replace(booking, start_s=set_up_s))
            else:
                self._held.append(booking)
        return rows, through_s, last

    def pointed(self, time_s: float) -> frozenset[tuple[int, int]]:
        """Pairs (satellite, station) whose antennas are still on each other when what is planned so far is over."""
        antennas = Antennas(self._held, self._resources)
        return antennas.pointed(self._passes, time_s)

    def held(self) -> np.ndarray:
        """Return the satellites that hold each antenna and beam, in both directions."""
        return sessions_of(self._held)

    def _idle(self, from_s: float, ready_s: float) -> frozenset[tuple[int, int]]:
        """Pairs in a pass from ``from_s`` to beyond ``ready_s`` of whom neither is busy any more with the way down."""
        busy = [booking for booking in self._held if booking.end_s > from_s]
        satellites, stations = {booking.satellite for booking in busy}, {booking.station for booking in busy}
        seen = self._passes[(self._passes["start_s"] <= from_s) & (self._passes["end_s"] > ready_s)]
        pairs = zip(seen["satellite"].tolist(), seen["station"].tolist(), strict=True)
        return frozenset(pair for pair in pairs if pair[0] not in satellites and pair[1] not in stations)

    def _index_from(self, begin_s: np.ndarray) -> np.ndarray:
        """Passes that last beyond ``begin_s[group]``, in the order in which the rules take them."""
        passes = self._passes
        start_s = np.maximum(passes["start_s"], begin_s[self._group[passes["satellite"]]])
        index = np.flatnonzero(passes["end_s"] > start_s)
        return index[np.lexsort([passes["station"][index], passes["satellite"][index], start_s[index]])]

    def _plan(
        self,
        index: np.ndarray,
        direction: LinkKind,
        begin_s: np.ndarray,
        ready_s: np.ndarray,
        pointed: Collection[tuple[int, int]],
        start_s: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Booking]]:
        """The transfers over these passes, when each group is through, the satellite of its last, and the sessions."""
        down, groups = direction is LinkKind.DOWNLINK, len(self._bits)
        passes = self._passes[index]
        passes["start_s"] = np.maximum(passes["start_s"], begin_s[self._group[passes["satellite"]]])
        rate_bps = passes["down_bps" if down else "up_bps"]
        demand = Demand(
            need=self._bits, group=self._group[passes["satellite"]], rate=rate_bps, chain_rate=np.full(groups, np.inf),
            ground_rate=np.inf, tail_s=np.zeros(groups), names=self._names, unit="bits of weights",
            ready_s=ready_s,
        )  # fmt: skip
        sessions, _ = plan_sessions(passes, demand, self._resources, pointed, self._rule, start_s=start_s)
        satellite, station, used = sessions["satellite"], sessions["station"], sessions["pass_index"]
        length_s = sessions["end_s"] - sessions["data_s"]
        rows = activities(
            len(sessions), kind=Kind.REDUCE if down else Kind.UPDATE, link=direction, satellite=satellite,
            node=satellite if down else station, peer=station if down else satellite, start_s=sessions["data_s"],
            end_s=sessions["end_s"], bytes=length_s * rate_bps[used] / 8.0,
        )  # fmt: skip
        through_s, last = ready_s.copy(), np.full(groups, -1)
        arrived_s = sessions["end_s"] + passes["owlt_s"][used]
        for row in np.argsort(arrived_s, kind="stable").tolist():
            group = int(sessions["group"][row])
            through_s[group], last[group] = arrived_s[row], satellite[row]
        bookings = [
            replace(
                booking_of(session, end_s=float(session["end_s"])),
                pass_index=int(index[session["pass_index"]]),
            )
            for session in sessions
        ]
        return rows, through_s, last, bookings
