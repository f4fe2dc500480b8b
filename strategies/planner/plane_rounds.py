"""Rounds of planes by themselves, and then one average over all: hierarchical averaging without a server.

Each part is a round that is checked like any other; together they are one plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.bound.lower_bound import RoundBounds
from strategies.checker.check import require_feasible
from strategies.planner.checked_plan import checked_plan
from strategies.planner.onboard_round import OnboardRound
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, Plan, collect_activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.sunlight import finished_s
from strategies.problem.workload import InterOrbit, StrategyConfig, Workload


@dataclass(frozen=True, eq=False)
class PlaneRounds:
    """Rounds of planes by themselves and the average over all, as one plan.

    ``ended_s`` is when the last plane has ended each of its own rounds.
    """

    plan: Plan
    ended_s: tuple[float, ...]


def plan_plane_rounds(
    problem: PlanningProblem, strategy_config: StrategyConfig, workloads: Sequence[Workload]
) -> PlaneRounds:
    """Plan a round of each of ``workloads`` of every plane by itself, then an average over all planes.

    The lower bound is that of one part after the other, each from when the one before it can be over at the soonest: a
    part that starts later is one that waits. In its own rounds a plane trains, and each of its satellites receives the
    average over all of its links at once.

    Raises:
        NoRouteError: The links of a plane do not join it, or the last average does not come before the horizon.
    """
    inside = dataclasses.replace(strategy_config, inter_orbit=InterOrbit.NONE)
    parts: list[Plan] = []
    soonest_s, ended_s = problem.start_s, [problem.start_s] * len(workloads)
    for plane in _planes(problem):
        others = set(range(len(problem.workload.samples))) - set(plane)
        now_s = bound_s = problem.start_s
        for number, workload in enumerate(workloads):
            alone = dataclasses.replace(
                problem, workload=workload.without(others), state=RoundState(), start_s=now_s
            )
            part = OnboardRound(alone.powered(), inside, over_time=False).plan()
            if np.isin(part.activities["link"], (LinkKind.DOWNLINK, LinkKind.UPLINK)).any():
                name = problem.contact_plan.nodes[plane[0]].name
                raise NoRouteError(f"{name}: the links of its plane do not join it at {now_s:.0f} s")
            require_feasible(part, alone)
            parts.append(part)
            now_s, bound_s = part.end_s, _soonest_s(alone, plane, bound_s)
            ended_s[number] = max(ended_s[number], now_s)
        soonest_s = max(soonest_s, bound_s)
    untrained = dataclasses.replace(problem.workload, onboard_flops=0.0)
    exchange = dataclasses.replace(problem, workload=untrained, state=RoundState(), start_s=ended_s[-1])
    last = checked_plan(exchange, strategy_config)
    bounds = RoundBounds(dataclasses.replace(exchange, start_s=soonest_s))
    soonest_s += bounds.lower_bound_s(bounds.group_of(strategy_config))
    sends = last.activities[last.activities["kind"] != Kind.TRAIN]  # nothing is trained any more
    plan = dataclasses.replace(
        last,
        start_s=problem.start_s,
        lower_bound_s=soonest_s - problem.start_s,
        activities=collect_activities([*(part.activities for part in parts), sends]),
    )
    return PlaneRounds(plan, tuple(ended_s))


def _soonest_s(problem: PlanningProblem, plane: Sequence[int], from_s: float) -> float:
    """When a plane can have trained and averaged at the soonest, from the average that it has at a time."""
    workload, links = problem.workload, problem.contact_plan.of_kind(LinkKind.INTRA_ISL)
    once_s = workload.epochs * workload.onboard_flops / problem.rates.satellite_flops
    lit = problem.resources.sunlight
    trained_s = max(finished_s(lit, node, from_s, workload.samples[node] * once_s) for node in plane)
    if len(plane) == 1:
        return trained_s
    into = [links[links["target"] == node] for node in plane]
    rates_bps = [
        sum(
            float(to_node["rate_bps"][to_node["source"] == source].max())
            for source in np.unique(to_node["source"])
        )
        for to_node in into
    ]
    return trained_s + workload.aggregate_bytes * 8.0 / max(min(rates_bps), 1.0)


def _planes(problem: PlanningProblem) -> list[list[int]]:
    """The satellites with images, by plane."""
    planes: dict[int, list[int]] = {}
    for satellite in np.flatnonzero(problem.workload.samples).tolist():
        planes.setdefault(problem.contact_plan.nodes[satellite].plane, []).append(satellite)
    return list(planes.values())
