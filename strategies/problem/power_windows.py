"""When satellites that live on a battery may compute, so that its charge never falls below the limit.

The windows hold for any plan: they are those in which a satellite may compute *all the time*, while its radio sends in
every contact with a station and its lasers in every contact with a satellite. A plan that computes and sends less has
more charge at every moment, in every round of a mission.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.problem.battery import Battery, counts, edges
from strategies.problem.network import PlanningError
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import PowerDrawn

# A pause lasts until the battery has so much computing to give, or half of what lies between its limit and full: short
# pauses would tear micro-batches, long ones lose what the panels give to a full battery.
_RESUME_S = 600.0
_SHORTEST_S = 1.0
_SAME_J = 1e-6


@dataclass(frozen=True, eq=False)
class PowerWindows:
    """The times in which the power of all satellites lets them work.

    Attributes:
        computing: When each may compute.
        time_s: Of each satellite, mission times in order.
        level_j: Its charge then at least.
    """

    computing: Sunlight
    time_s: tuple[NDArray[np.float64], ...]
    _: KW_ONLY
    level_j: tuple[NDArray[np.float64], ...]

    def least_j(self, satellite: int, time_s: float) -> float:
        """Return what the battery holds at least at a time."""
        return float(np.interp(time_s, self.time_s[satellite], self.level_j[satellite]))


@lru_cache(maxsize=8)
def power_windows(
    contact_plan: ContactPlan, battery: Battery, drawn: PowerDrawn, sunlight: Sunlight | None
) -> PowerWindows:
    """Return when satellites may compute.

    Args:
        contact_plan: Over whose horizon; behind it there is no limit.
        battery: Of each satellite.
        drawn: By computing and sending.
        sunlight: Where computing needs sunlight, whatever the battery holds.

    Raises:
        PlanningError: A battery falls below its limit without any computing; the satellite and the time are named.
    """
    contacts, horizon_s = contact_plan.contacts, contact_plan.horizon_s
    windows, times, levels = [], [], []
    for satellite in contact_plan.satellites.tolist():
        sends = contacts[contacts["source"] == satellite]
        down = _intervals(sends[sends["kind"] == LinkKind.DOWNLINK])
        isl = _intervals(sends[np.isin(sends["kind"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL))])
        lit = battery.lit.lit_s[satellite]
        allowed = lit if sunlight is None else sunlight.lit_s[satellite]
        time_s = edges(0.0, horizon_s, lit, allowed, down, isl)
        base_w = battery.solar_w * counts(time_s, *lit.T) - battery.idle_w
        base_w -= drawn.radio_w * (counts(time_s, *down.T) > 0) + drawn.isl_w * counts(time_s, *isl.T)
        time_s, base_w, needed_j = _needed_j(time_s, base_w, battery.lowest_j)
        if needed_j.max() > battery.capacity_j + _SAME_J:
            when = int(np.argmax(needed_j))
            raise PlanningError(
                f"power: {contact_plan.nodes[satellite].name} needs {needed_j[when] / 3600.0:.1f} Wh at "
                f"{time_s[when]:.0f} s to stay above the lowest charge without computing, with radio and lasers in "
                f"every contact; allowed: at most power.battery_wh = {battery.capacity_j / 3600.0:g}, by more solar_w, "
                "or less idle_w, radio_w, isl_w"
            )
        may = np.ones(len(base_w), bool)
        if sunlight is not None:
            may = counts(time_s, *allowed.T) > 0
        charging = _Charging(battery, drawn.compute_w).run(time_s, base_w, needed_j, may)
        windows.append(np.array([*charging.windows, (horizon_s, np.inf)]))
        times.append(np.array(charging.time_s))
        levels.append(np.array(charging.level_j))
    return PowerWindows(Sunlight(tuple(windows)), tuple(times), level_j=tuple(levels))


def _intervals(contacts: NDArray) -> NDArray[np.float64]:
    return np.column_stack([contacts["start_s"], contacts["end_s"]])


def _needed_j(
    time_s: NDArray[np.float64], base_w: NDArray[np.floating], lowest_j: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What the battery must hold at each time to get through what comes without computing, straight between the times.

    Times are added where it begins to rise; the power and the need are returned for these.
    """
    needed, times, power = [lowest_j], [float(time_s[-1])], list[float]()
    stretches = np.column_stack([time_s[:-1], time_s[1:], base_w])
    for start_s, end_s, watts in stretches[::-1].tolist():
        before_j = needed[-1] - watts * (end_s - start_s)
        if before_j < lowest_j < needed[-1]:
            times.append(end_s - (needed[-1] - lowest_j) / watts)
            needed.append(lowest_j)
            power.append(watts)
        times.append(start_s)
        needed.append(max(lowest_j, before_j))
        power.append(watts)
    return np.array(times[::-1]), np.array(power[::-1]), np.array(needed[::-1])


class _Charging:
    """A battery run forward, computing whenever it may and pausing when only what is needed later is left."""

    def __init__(self, battery: Battery, compute_w: float) -> None:
        self.capacity_j, self.compute_w = battery.capacity_j, compute_w
        self.resume_j = min(_RESUME_S * compute_w, (battery.capacity_j - battery.lowest_j) / 2.0)
        self.windows: list[tuple[float, float]] = []
        self.time_s, self.level_j = [0.0], [battery.capacity_j]
        self._computing = True

    def run(
        self,
        time_s: NDArray[np.float64],
        base_w: NDArray[np.float64],
        needed_j: NDArray[np.float64],
        may: NDArray[np.bool_],
    ) -> _Charging:
        stretches = zip(time_s, time_s[1:], base_w, needed_j, needed_j[1:], may, strict=False)
        for start_s, end_s, watts, before_j, after_j, allowed in stretches:
            self._stretch(
                float(start_s), float(end_s), float(watts), float(before_j), float(after_j), bool(allowed)
            )
        return self

    def _stretch(
        self, start_s: float, end_s: float, base_w: float, needed_j: float, then_j: float, may: bool
    ) -> None:
        """From one time to the next; what is needed goes from ``needed_j`` to ``then_j``."""
        if end_s <= start_s:
            return
        rise_w = (then_j - needed_j) / (end_s - start_s)
        now_s, level_j = start_s, self.level_j[-1]
        while now_s < end_s:
            spare_j = level_j - (needed_j + rise_w * (now_s - start_s))
            is_full = level_j >= self.capacity_j - _SAME_J
            if self._computing and spare_j <= _SAME_J and self._falls(base_w, rise_w, is_full):
                self._computing = False
            elif not self._computing and (
                spare_j >= self.resume_j - _SAME_J or (is_full and spare_j >= _SHORTEST_S * self.compute_w)
            ):
                self._computing = True
            computes = may and self._computing
            net_w = base_w - (self.compute_w if computes else 0.0)
            net_w = min(net_w, 0.0) if is_full else net_w
            spare_w = net_w - rise_w
            until_s = end_s
            if net_w > 0.0:
                until_s = min(until_s, now_s + (self.capacity_j - level_j) / net_w)
            if computes and spare_w < 0.0:
                until_s = min(until_s, now_s + spare_j / -spare_w)
            if not self._computing and spare_w > 0.0:
                until_s = min(until_s, now_s + (self.resume_j - spare_j) / spare_w)
            until_s = min(max(until_s, now_s + 1e-6), end_s)  # rounding must not stop the clock
            level_j = min(level_j + net_w * (until_s - now_s), self.capacity_j)
            if computes:
                self._note(now_s, until_s)
            now_s = until_s
            self.time_s.append(now_s)
            self.level_j.append(level_j)

    def _falls(self, base_w: float, rise_w: float, is_full: bool) -> bool:
        net_w = base_w - self.compute_w
        return (min(net_w, 0.0) if is_full else net_w) < rise_w

    def _note(self, start_s: float, end_s: float) -> None:
        if self.windows and self.windows[-1][1] >= start_s:
            self.windows[-1] = (self.windows[-1][0], end_s)
        else:
            self.windows.append((start_s, end_s))
