"""Sessions of an asynchronous mission: each transfer takes the first room left, in as many pieces as it needs."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.planner.antennas import Antennas, Booking, sessions_of
from strategies.problem.network import passes_of
from strategies.problem.workload import Resources

_LEAST_S = 1.0  # a shorter piece is not worth a session
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Piece:
    """Part of a transfer in one session: data from ``data_s`` to ``end_s``, there at ``arrival_s``."""

    booking: Booking
    bits: float
    _: KW_ONLY
    data_s: float
    end_s: float
    arrival_s: float
    pass_end_s: float


class OpenSessions:
    """The antennas and beams that are held, booked one piece after another."""

    def __init__(self, contact_plan: ContactPlan, resources: Resources, *, start_s: float) -> None:
        self._passes = passes_of(contact_plan, start_s, contact_plan.horizon_s)
        self._antennas = Antennas([], resources)
        self._setup_s = resources.setup_s
        self._of_satellite: dict[int, tuple[list[int], list[float]]] = {}
        for satellite in np.unique(self._passes["satellite"]).tolist():
            index = np.flatnonzero(self._passes["satellite"] == satellite)
            over_s = np.maximum.accumulate(self._passes["end_s"][index])  # when all up to it are over
            self._of_satellite[satellite] = index.tolist(), over_s.tolist()

    def first(self, satellite: int, link: LinkKind, ready_s: float, bits: float) -> Piece | None:
        """Return the piece of ``bits`` that can begin first, of what is there at ``ready_s``; None if no pass is left.

        It is all of them if the pass has the time for it.
        """
        rate_bps = self._passes["down_bps" if link is LinkKind.DOWNLINK else "up_bps"]
        best: Piece | None = None
        passes, over_s = self._of_satellite.get(satellite, ([], []))
        for index in passes[bisect_right(over_s, ready_s) :]:
            one_pass = self._passes[index]
            if one_pass["end_s"] <= ready_s or rate_bps[index] <= 0:
                continue
            if best is not None and one_pass["start_s"] >= best.data_s:
                break
            piece = self._in_pass(index, float(rate_bps[index]), ready_s, bits)
            if piece is not None and (best is None or piece.data_s < best.data_s):
                best = piece
        return best

    def book(self, piece: Piece) -> None:
        """Hold antenna and beam for a piece that :meth:`first` has found."""
        self._antennas.book(piece.booking)

    def held(self) -> np.ndarray:
        """Return the sessions as activities."""
        return sessions_of(self._antennas.bookings())

    def _in_pass(self, index: int, rate_bps: float, ready_s: float, bits: float) -> Piece | None:
        one_pass = self._passes[index]
        whole_s = bits / rate_bps
        room_s = float(one_pass["end_s"]) - max(float(one_pass["start_s"]), ready_s) - _ROUNDING_S
        for length_s in (whole_s, min(whole_s, room_s), min(whole_s, room_s - self._setup_s)):
            # A shorter piece is the whole where no more is left.
            if length_s < min(_LEAST_S, whole_s):
                continue
            booking = self._antennas.first(one_pass, index, ready_s, length_s)
            if booking is not None:
                begin_s = booking.data_s  # of this piece, whenever the session began
                return Piece(
                    booking, bits if length_s == whole_s else length_s * rate_bps, data_s=begin_s,
                    end_s=begin_s + length_s, arrival_s=begin_s + length_s + float(one_pass["owlt_s"]),
                    pass_end_s=float(one_pass["end_s"]),
                )  # fmt: skip
        return None
