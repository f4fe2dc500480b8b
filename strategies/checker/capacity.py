"""Rules of the checker for what serves one thing after another, or fills up: links, processors, memory, batteries.

A link or processor can serve all that is asked of it within its windows exactly if preemptive earliest deadline first
can (Horn, "Some simple scheduling algorithms", Naval Research Logistics Quarterly 21, 1974). What they draw of a
battery they draw as soon as they may: what a satellite computes in the order in which its windows begin, at the times
at which it has power, and what it sends in that order on each link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from orbit.contact_plan import LinkKind
from strategies.checker.intervals import lateness_s, parts, served
from strategies.checker.judged_plan import COMPUTES, MOVES, JudgedPlan, Violation
from strategies.checker.steps import Hops
from strategies.problem.battery import counts, edges, levels_j
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.power_windows import power_windows
from strategies.problem.storage import Drop, course_in

_SLACK_S = 1e-3
_SLACK_J = 1.0


def links(judged: JudgedPlan, hops: Hops) -> Iterator[Violation]:
    """Each directed link serves everything that crosses it at its rate; small crossings step by step."""
    by_step = np.zeros(len(judged.rows), bool)
    by_step[hops.row] = True
    whole = np.flatnonzero(np.isin(judged.rows["kind"], MOVES) & (judged.contact >= 0) & ~by_step)
    contained = judged.contact[hops.row] >= 0
    row = np.concatenate([whole, hops.row[contained]])
    start_s = np.concatenate([judged.rows["start_s"][whole], hops.release_s[contained]])
    due_s = np.concatenate([judged.rows["end_s"][whole], hops.due_s[contained]])
    work_s = np.concatenate(
        [judged.rows["bytes"][whole] * 8.0 / judged.rate_bps[whole], hops.work_s[contained]]
    )
    contact = judged.contact[row]
    order = np.argsort(contact, kind="stable")
    for part in parts(contact[order]):
        of_link = order[part]
        late_s = lateness_s(start_s[of_link], due_s[of_link], work_s[of_link])
        if late_s > _SLACK_S:
            first_row = judged.rows[row[of_link[0]]]
            yield Violation(
                "capacity", f"{judged.words(first_row)} and others: the link is {late_s:.3f} s late"
            )


def computers(judged: JudgedPlan) -> Iterator[Violation]:
    """Each satellite computes all its windows at its rate; the ground where it trains by itself."""
    rows = judged.rows[np.isin(judged.rows["kind"], COMPUTES)]
    rows = rows[rows["kind"] != Kind.BACKBONE] if judged.demand.has_steps else rows
    for node in np.unique(rows["node"]):
        of_node = rows[rows["node"] == node]
        rate = judged.rates.ground_flops if node < 0 else judged.rates.satellite_flops
        # The head's steps need no sunlight: they are a trifle, which is left out where it is the condition.
        lit = judged.resources.sunlight is not None and node >= 0
        of_node = of_node[of_node["kind"] != Kind.HEAD] if lit else of_node
        start_s, end_s = (_powered_s(judged, int(node), of_node[edge]) for edge in ("start_s", "end_s"))
        late_s = lateness_s(start_s, end_s, of_node["flops"] / rate)
        # Heads' steps go before whatever else a satellite computes, whose windows leave no room for them.
        heads = of_node["kind"] == Kind.HEAD
        trifle_s = float(of_node["flops"][heads].sum()) / rate if judged.workload.chained else 0.0
        if late_s > _SLACK_S + trifle_s:
            yield Violation("compute", f"{judged.name(node)} is {late_s:.3f} s late with its computation")


def _powered_s(judged: JudgedPlan, node: int, time_s: np.ndarray) -> np.ndarray:
    """How long a computer has had power by a time: always, or while its satellite was in sunlight."""
    if judged.resources.sunlight is None or node < 0:
        return time_s
    lit_s = judged.resources.sunlight.lit_s[node]
    return (np.clip(time_s[:, None], lit_s[:, 0], lit_s[:, 1]) - lit_s[:, 0]).sum(axis=1)


def buffers(judged: JudgedPlan) -> Iterator[Violation]:
    """Check that the data that a satellite has received and not yet sent fit its buffer."""
    if not np.isfinite(judged.resources.buffer_bytes):
        return
    features = judged.rows[judged.rows["kind"] == Kind.FEATURES]
    copied = judged.rows[judged.rows["kind"] == Kind.GATHER]
    relays = features["peer"][features["peer"] < judged.satellites]
    for node in np.unique(np.concatenate([relays, copied["peer"]])):
        copies = copied[copied["peer"] == node]  # kept: what leaves from them frees nothing
        came = np.concatenate([features[features["peer"] == node], copies])
        went = features[(features["node"] == node) & (features["satellite"] != node)]
        went = went[~np.isin(went["satellite"], copies["satellite"])]
        time_s = np.unique(np.concatenate([came["start_s"], came["end_s"], went["start_s"], went["end_s"]]))
        held = served(came, time_s) - served(went, time_s)
        if held.max(initial=0.0) > judged.resources.buffer_bytes * (1.0 + 1e-6) + 1.0:
            when_s = float(time_s[np.argmax(held)])
            yield Violation(
                "buffer", f"{judged.name(node)} holds {held.max():.0f} bytes of others at {when_s:.3f} s, allowed are "
                f"{judged.resources.buffer_bytes:.0f}"
            )  # fmt: skip


def storage(judged: JudgedPlan) -> Iterator[Violation]:
    """Images are on board when the round begins, and where none may be dropped there is room for all that come."""
    held = judged.problem.storage
    if held is None:
        return
    start_s = judged.plan.start_s
    for satellite, trained in enumerate(judged.workload.samples):
        on_board = held.on_board(satellite, start_s)
        if trained > on_board:
            yield Violation(
                "storage",
                f"{judged.name(satellite)} trains on {trained} images, {on_board} are on board at {start_s:.3f} s",
            )
        if held.drop is not Drop.REFUSE:
            continue
        dropped = held.dropped(satellite, start_s)
        dropped += course_in(judged.plan, judged.workload, held, satellite).dropped
        if dropped:
            yield Violation(
                "storage",
                f"{judged.name(satellite)} has no room for {dropped} images by {judged.plan.end_s:.3f} s, allowed are "
                f"{held.room:.0f} on board",
            )


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
    _: KW_ONLY
    drawn_j: float


def charge(judged: JudgedPlan) -> Iterator[Violation]:
    """No battery falls below its limit."""
    battery = judged.problem.resources.battery
    if battery is None:
        return
    for satellite in range(judged.satellites):
        charge_wh = charge_of(judged, satellite)
        worst = int(np.argmin(charge_wh.level_j))
        if charge_wh.level_j[worst] < battery.lowest_j - _SLACK_J:
            yield Violation(
                "battery", f"{judged.name(satellite)} is down to {charge_wh.level_j[worst] / 3600.0:.3f} Wh at "
                f"{charge_wh.time_s[worst]:.0f} s, allowed are {battery.lowest_j / 3600.0:.3f}"
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
    of_satellite = rows["node"] == satellite
    computing = of_satellite & np.isin(rows["kind"], (Kind.EMBED, Kind.TRAIN))
    computed = _within(
        start.computing.lit_s[satellite],
        rows["start_s"][computing],
        rows["flops"][computing] / judged.rates.satellite_flops,
    )
    sent_s = rows["bytes"] * 8.0 / judged.rate_bps
    down = of_satellite & (rows["link"] == LinkKind.DOWNLINK)
    radio = _one_by_one(rows["start_s"][down], sent_s[down])
    isl = of_satellite & np.isin(rows["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL)) & (rows["bytes"] > 0)
    lasers = [np.empty((0, 2))]
    for peer in np.unique(rows["peer"][isl]).tolist():
        to_peer = isl & (rows["peer"] == peer)
        lasers.append(_one_by_one(rows["start_s"][to_peer], sent_s[to_peer]))
    isls = np.concatenate(lasers)
    lit = battery.lit.lit_s[satellite]
    time_s = edges(plan.start_s, max(plan.end_s, plan.start_s), lit, computed, radio, isls)
    loads_w = (
        drawn.compute_w * counts(time_s, *computed.T)
        + drawn.radio_w * counts(time_s, *radio.T)
        + drawn.isl_w * counts(time_s, *isls.T)
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
