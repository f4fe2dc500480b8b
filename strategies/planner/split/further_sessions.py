"""Sessions beyond those that a round was given: for groups whose own end before all their steps are answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from strategies.planner.antennas import Antennas, Booking, booking_of
from strategies.problem.workload import Resources
from strategies.space_ground import SESSION


class FurtherSessions:
    """Find sessions in the antenna and beam time that a round leaves free if it holds its own to their limits.

    Args:
        passes: Contacts with stations, as ``strategies.problem.network.passes_of`` gives them.
        group: Label of each pass.
        sessions: Those that the round was given, dtype ``SESSION``.
        resources: Beams and set-up.
    """

    def __init__(
        self, passes: np.ndarray, group: np.ndarray, *, sessions: np.ndarray, resources: Resources
    ) -> None:
        self._passes, self._group = passes, group
        self._over_s: dict[int, float] = {}  # when the last session of a pass has to be over
        bookings = []
        for session in sessions:
            index, limit_s = int(session["pass_index"]), float(session["limit_s"])
            self._over_s[index] = max(self._over_s.get(index, limit_s), limit_s)
            bookings.append(booking_of(session, end_s=limit_s))
        self._antennas = Antennas(bookings, resources)

    def take(self, label: int, from_s: float, *, least_s: float, wanted_s: float) -> np.ndarray:
        """Take the session of a group that is over first if it carries data for ``wanted_s``.

        It carries data from ``from_s`` on, for ``least_s`` at least; where none may be held as long as wanted, it is
        the one that may be held longest.  Returns it, dtype ``SESSION``, of length 1, or of length 0 where there is
        none.
        """
        passes = self._passes
        usable = (self._group == label) & (passes["up_bps"] > 0) & (passes["end_s"] > from_s + least_s)
        soonest: tuple[float, float, Booking] | None = None
        for index in np.flatnonzero(usable).tolist():  # in the order of their start
            if soonest is not None and soonest[0] == 0.0 and passes["start_s"][index] > soonest[1]:
                break
            ready_s = max(from_s, self._over_s.get(index, from_s))
            booking = self._antennas.first(passes[index], index, ready_s, least_s)
            if booking is None:
                continue
            limit_s = self._antennas.free_until_s(booking, float(passes["end_s"][index]))
            missing_s = max(wanted_s - (limit_s - booking.data_s), 0.0)
            candidate = (missing_s, booking.data_s, replace(booking, end_s=limit_s))
            if soonest is None or candidate[:2] < soonest[:2]:
                soonest = candidate
        if soonest is None:
            return np.zeros(0, SESSION)
        taken = soonest[-1]
        self._antennas.book(taken)
        self._over_s[taken.pass_index] = taken.end_s
        return np.array(
            [
                (
                    taken.pass_index, label, taken.satellite, taken.station,
                    taken.start_s, taken.data_s, taken.end_s, taken.end_s,
                )
            ],
            SESSION,
        )  # fmt: skip
