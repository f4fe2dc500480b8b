"""The plan of a mission without rounds as everybody follows it: planned, and replayed by the judge."""

from __future__ import annotations

from strategies.asynchronous.mission import AsyncMission, AsyncSchedule, Goal
from strategies.asynchronous.planner import plan_asynchronous
from strategies.asynchronous.replay import require_flyable
from strategies.problem.planning_problem import PlanningProblem


def checked_mission(problem: PlanningProblem, schedule: AsyncSchedule, goal: Goal) -> AsyncMission:
    """Return the mission that :func:`strategies.asynchronous.planner.plan_asynchronous` plans; none goes out unchecked.

    Raises:
        strategies.problem.network.NoRouteError: It does not end within the contact plan.
        strategies.checker.check.InfeasiblePlanError: It breaks a rule.
    """
    mission = plan_asynchronous(problem, schedule, goal)
    require_flyable(mission, problem, schedule)
    return mission
