"""Who holds which antenna and which beam when: bookings that are made one after another and never overlap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.problem.plan import Kind, activities
from strategies.problem.workload import Resources


@dataclass(frozen=True)
class Booking:
    """A satellite's antenna and a station's beam, pointed at each other; data from ``data_s`` on."""

    satellite: int
    station: int
    _: KW_ONLY
    start_s: float
    data_s: float
    end_s: float
    pass_index: int


def booking_of(session: np.void, *, end_s: float) -> Booking:
    """Return the booking of a row of dtype ``strategies.space_ground.SESSION`` up to ``end_s``."""
    return Booking(
        int(session["satellite"]),
        int(session["station"]),
        start_s=float(session["start_s"]),
        data_s=float(session["data_s"]),
        end_s=end_s,
        pass_index=int(session["pass_index"]),
    )


def sessions_of(bookings: Sequence[Booking]) -> np.ndarray:
    """Return bookings as activities: the satellites that hold each antenna and beam, in both directions.

    Those that never came to be held are left out.
    """
    bookings = [booking for booking in bookings if booking.end_s > booking.start_s]
    return activities(
        len(bookings), kind=Kind.SESSION, link=LinkKind.DOWNLINK,
        node=[booking.satellite for booking in bookings], peer=[booking.station for booking in bookings],
        start_s=[booking.start_s for booking in bookings], end_s=[booking.end_s for booking in bookings],
    )  # fmt: skip


def standing_bookings(
    passes: np.ndarray, pointed: Collection[tuple[int, int]], start_s: float
) -> list[Booking]:
    """Return antennas that point at each other at ``start_s`` as bookings of no length, which may go on from there."""
    seen = np.flatnonzero((passes["start_s"] <= start_s) & (passes["end_s"] > start_s)).tolist()
    pairs = {index: (int(passes["satellite"][index]), int(passes["station"][index])) for index in seen}
    return [
        Booking(*pair, start_s=start_s, data_s=start_s, end_s=start_s, pass_index=index)
        for index, pair in pairs.items()
        if pair in pointed or pair[::-1] in pointed
    ]


class Antennas:
    """Bookings of a round; a station has room for as many satellites as it has beams, a satellite for one station."""

    def __init__(self, bookings: list[Booking], resources: Resources) -> None:
        self._resources, self._setup_s = resources, resources.setup_s
        self._of_satellite: dict[int, list[Booking]] = {}
        self._of_station: dict[int, list[Booking]] = {}
        for booking in bookings:
            self._add(booking)

    def bookings(self) -> list[Booking]:
        """All bookings, by start."""
        every = [booking for held in self._of_satellite.values() for booking in held]
        return sorted(every, key=lambda booking: (booking.start_s, booking.satellite, booking.station))

    def first(self, one_pass: np.void, pass_index: int, ready_s: float, length_s: float) -> Booking | None:
        """The earliest use of a pass for ``length_s`` seconds of data that are there at ``ready_s``, not booked yet.

        A booking of this pass that stands goes on, where neither antenna nor beam is needed in between; else both are
        set up anew.  None where the pass is too short.
        """
        satellite, station = int(one_pass["satellite"]), int(one_pass["station"])
        pass_start_s, pass_end_s = float(one_pass["start_s"]), float(one_pass["end_s"])
        best: Booking | None = None
        for booking in self._of_satellite.get(satellite, ()):
            if booking.pass_index != pass_index:
                continue
            begin_s = max(ready_s, booking.data_s)
            end_s = max(begin_s + length_s, booking.end_s)
            if begin_s + length_s <= pass_end_s and self._is_free(booking, booking.end_s, end_s):
                best = _earlier(best, replace(booking, data_s=begin_s, end_s=end_s))
        for begin_s in self._starts(satellite, station, max(pass_start_s, ready_s - self._setup_s)):
            end_s = max(begin_s + self._setup_s, ready_s) + length_s
            if end_s > pass_end_s or (best is not None and end_s - length_s >= best.data_s):
                break
            new = Booking(
                satellite,
                station,
                start_s=begin_s,
                data_s=end_s - length_s,
                end_s=end_s,
                pass_index=pass_index,
            )
            if self._is_free(new, begin_s, end_s):
                return new
        return best

    def free_until_s(self, booking: Booking, most_s: float) -> float:
        """Return when another booking next needs the antenna or beam of a booking, or ``most_s`` if that is sooner."""
        others = self._of_satellite.get(booking.satellite, []) + self._of_station.get(booking.station, [])
        for start_s in sorted({other.start_s for other in others if booking.end_s <= other.start_s < most_s}):
            if not self._is_free(booking, start_s, np.nextafter(start_s, np.inf)):
                return start_s
        return most_s

    def book(self, booking: Booking) -> None:
        """Make what :meth:`first` has found a booking; it replaces the one that goes on."""
        for held in (
            self._of_satellite.get(booking.satellite, []),
            self._of_station.get(booking.station, []),
        ):
            for standing in list(held):
                if self._same(standing, booking):
                    held.remove(standing)
                    booking = replace(booking, data_s=min(booking.data_s, standing.data_s))
        self._add(booking)

    def pointed(self, passes: np.ndarray, end_s: float) -> frozenset[tuple[int, int]]:
        """Pairs (satellite, station) whose pass lasts beyond ``end_s`` and which were not turned elsewhere since."""
        last = {
            satellite: max(held, key=lambda booking: (booking.end_s, booking.start_s))
            for satellite, held in self._of_satellite.items()
        }
        pairs = set()
        for station, held in self._of_station.items():
            for booking in sorted(held, key=lambda booking: (-booking.end_s, -booking.start_s))[
                : self._resources.beams_of(station)
            ]:
                stays = last[booking.satellite] is booking and passes["end_s"][booking.pass_index] > end_s
                if stays:
                    pairs.add((booking.satellite, station))
        return frozenset(pairs)

    def _starts(self, satellite: int, station: int, from_s: float) -> list[float]:
        """When a new booking may begin at the earliest: at once, or when another ends."""
        others = self._of_satellite.get(satellite, []) + self._of_station.get(station, [])
        return [from_s, *sorted({booking.end_s for booking in others if booking.end_s > from_s})]

    def _is_free(self, booking: Booking, start_s: float, end_s: float) -> bool:
        """Whether antenna and beam are free of other bookings in an interval."""
        if end_s <= start_s:
            return True
        for other in self._of_satellite.get(booking.satellite, ()):
            if not self._same(other, booking) and other.start_s < end_s and start_s < other.end_s:
                return False
        held = sum(
            not self._same(other, booking) and other.start_s < end_s and start_s < other.end_s
            for other in self._of_station.get(booking.station, ())
        )
        return held < self._resources.beams_of(booking.station)

    @staticmethod
    def _same(first: Booking, other: Booking) -> bool:
        return (
            first.satellite == other.satellite
            and first.station == other.station
            and first.start_s == other.start_s
        )

    def _add(self, booking: Booking) -> None:
        self._of_satellite.setdefault(booking.satellite, []).append(booking)
        self._of_station.setdefault(booking.station, []).append(booking)


def _earlier(first: Booking | None, second: Booking) -> Booking:
    return second if first is None or second.data_s < first.data_s else first
