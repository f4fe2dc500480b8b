"""The rule of the checker for batteries: what the plan draws leaves every satellite the charge that it has to keep.

Computers and links work as soon as they may: what a satellite computes is served in the order in which its windows
begin, within the times at which it has power, and what it sends in that order on each link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orbit.contact_plan import LinkKind
from strategies.checker.judged_plan import JudgedPlan, Violation
from strategies.problem.battery import counts, edges, levels_j
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.power_windows import power_windows

_SLACK_J = 1.0


@dataclass(frozen=True, eq=False)
class Charge:
    """A satellite's battery in a round.

    Attributes:
        time_s: Mission times, shape (M,).
        level_j: Charge then at least, shape (M,).
        drawn_j: What computing and sending take of it.
    """

    time_s: NDArray[np.float64]
    level_j: NDArray[np.float64]
    drawn_j: float


def charge(judged: JudgedPlan) -> Iterator[Violation]:
    """No battery falls below its limit."""
    battery = judged.problem.resources.battery
    if battery is None:
        return
    for satellite in range(judged.satellites):
        found = charge_of(judged, satellite)
        worst = int(np.argmin(found.level_j))
        if found.level_j[worst] < battery.lowest_j - _SLACK_J:
            yield Violation(
                "battery", f"{judged.name(satellite)} is down to {found.level_j[worst] / 3600.0:.3f} Wh at "
                f"{found.time_s[worst]:.0f} s, allowed are {battery.lowest_j / 3600.0:.3f}"
            )  # fmt: skip


def least_charge(plan: Plan, problem: PlanningProblem) -> float | None:
    """Return the share that is left in the emptiest battery at its lowest in a round; None without batteries."""
    battery = problem.resources.battery
    if battery is None:
        return None
    judged = JudgedPlan(plan, problem.without_lost())
    return min(
        float(charge_of(judged, satellite).level_j.min()) / battery.capacity_j
        for satellite in range(judged.satellites)
    )


def charge_of(judged: JudgedPlan, satellite: int) -> Charge:
    """Return the charge of a satellite over the round, from what it holds at least when the round begins."""
    resources, plan, rows = judged.problem.resources, judged.plan, judged.rows
    battery, drawn = resources.battery, resources.drawn
    assert battery is not None
    start = power_windows(judged.contact_plan, battery, drawn, resources.sunlight)
    mine = rows["node"] == satellite
    computing = mine & np.isin(rows["kind"], (Kind.EMBED, Kind.TRAIN))
    computed = _within(
        start.computing.lit_s[satellite],
        rows["start_s"][computing],
        rows["flops"][computing] / judged.rates.satellite_flops,
    )
    sent_s = rows["bytes"] * 8.0 / judged.rate_bps
    down = mine & (rows["link"] == LinkKind.DOWNLINK)
    radio = _one_by_one(rows["start_s"][down], sent_s[down])
    isl = mine & np.isin(rows["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL)) & (rows["bytes"] > 0)
    lasers = [np.empty((0, 2))]
    for peer in np.unique(rows["peer"][isl]).tolist():
        to_peer = isl & (rows["peer"] == peer)
        lasers.append(_one_by_one(rows["start_s"][to_peer], sent_s[to_peer]))
    laser = np.concatenate(lasers)
    lit = battery.lit.lit_s[satellite]
    time_s = edges(plan.start_s, max(plan.end_s, plan.start_s), lit, computed, radio, laser)
    loads_w = (
        drawn.compute_w * counts(time_s, *computed.T)
        + drawn.radio_w * counts(time_s, *radio.T)
        + drawn.isl_w * counts(time_s, *laser.T)
    )
    net_w = battery.solar_w * counts(time_s, *lit.T) - battery.idle_w - loads_w
    level_j = levels_j(
        time_s, net_w, start_j=start.least_j(satellite, plan.start_s), capacity_j=battery.capacity_j
    )
    return Charge(time_s, level_j, drawn_j=float(loads_w @ np.diff(time_s)))


def _one_by_one(start_s: NDArray[np.float64], work_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """When something that serves one after another is busy, shape (n, 2), with work that comes at these times."""
    order = np.argsort(start_s, kind="stable")
    busy: list[tuple[float, float]] = []
    for begin_s, length_s in zip(start_s[order].tolist(), work_s[order].tolist(), strict=True):
        begin_s = max(begin_s, busy[-1][1]) if busy else begin_s
        if length_s > 0.0:
            busy.append((begin_s, begin_s + length_s))
    return np.array(busy).reshape(-1, 2)


def _within(
    windows: NDArray[np.float64], start_s: NDArray[np.float64], work_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same where it is served in windows (n, 2) only."""
    lengths_s = windows[:, 1] - windows[:, 0]
    before_s = np.concatenate([[0.0], np.cumsum(lengths_s)[:-1]])  # seconds with power before each window
    powered_s = (np.clip(start_s[:, None], windows[:, 0], windows[:, 1]) - windows[:, 0]).sum(axis=1)
    parts = [np.empty((0, 2))]
    for begin_s, end_s in _one_by_one(powered_s, work_s).tolist():
        first = np.clip(begin_s - before_s, 0.0, lengths_s)
        last = np.clip(end_s - before_s, 0.0, lengths_s)
        in_it = last > first
        parts.append(np.column_stack([windows[in_it, 0] + first[in_it], windows[in_it, 0] + last[in_it]]))
    return np.concatenate(parts)
