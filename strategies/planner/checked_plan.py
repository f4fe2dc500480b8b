"""The plan of a round as everybody follows it: made by the planner that is asked for, and checked."""

from __future__ import annotations

import dataclasses

from orbit.contact_plan import LinkKind
from strategies.bound.lower_bound import RoundBounds
from strategies.checker.check import InfeasiblePlanError, require_feasible
from strategies.planner.round_planner import plan_round
from strategies.problem.network import PlanningError, groups_of
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.storage import Drop, course_in
from strategies.problem.workload import OUR_PLANNER, StrategyConfig
from strategies.registry import StrategyError, registered_planner


def checked_plan(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
    """Return the plan of a round by ``strategy_config.planner``; no plan goes out unchecked.

    The lower bound of a plan by another package's planner is over all inter-satellite links, whichever it was asked to
    use.

    Raises:
        PlanningError: The round cannot be planned; see :func:`strategies.planner.round_planner.plan_round`. Or
            storage of which nothing may be dropped is full before its end.
        StrategyError: The planner of another package cannot be used, fails, or returns what no round can follow.
        InfeasiblePlanError: A plan of ours breaks a rule.
    """
    if strategy_config.planner != OUR_PLANNER:
        return _planned_by_another(problem, strategy_config)
    plan = plan_round(problem, strategy_config)
    _require_room(plan, problem)
    require_feasible(plan, problem)
    return plan


def _require_room(plan: Plan, problem: PlanningProblem) -> None:
    """Raise ``PlanningError`` where images come, until the round ends, for which there is no room and none may go."""
    storage = problem.storage
    if storage is None or storage.drop is not Drop.REFUSE:
        return
    for satellite in range(len(problem.workload.samples)):
        dropped = storage.dropped(satellite, plan.start_s)
        dropped += course_in(plan, problem.workload, storage, satellite).dropped
        if dropped:
            raise PlanningError(
                f"imaging.storage_gb: found {storage.capacity_bytes / 1e9:g}, room for {storage.room:.0f} images, with "
                f'drop = "refuse"; {problem.contact_plan.nodes[satellite].name} has {dropped} more by the end of the '
                f"round at {plan.end_s:.0f} s; allowed: more storage, fewer images, or another imaging.drop"
            )


def _planned_by_another(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
    """Ask the planner of another package, and hold its plan against the rules and the bound."""
    name = strategy_config.planner
    planner, words = registered_planner(name), f"strategy.planner {name!r}"
    try:
        plan = planner(problem, dataclasses.replace(strategy_config, planner=OUR_PLANNER))
    except (PlanningError, StrategyError):
        raise
    except Exception as error:  # whatever a package's code does
        raise StrategyError(f"{words}: failed: {type(error).__name__}: {error}") from error
    if not isinstance(plan, Plan):
        raise StrategyError(
            f"{words}: returned a {type(plan).__name__}; allowed: a strategies.problem.plan.Plan"
        )
    plan = dataclasses.replace(
        plan,
        lower_bound_s=_bound_s(problem),
        strategy_config=dataclasses.replace(plan.strategy_config, planner=name),
    )
    _require_room(plan, problem)
    try:
        require_feasible(plan, problem)
    except InfeasiblePlanError as error:
        raise StrategyError(f"{words}: its plan breaks a rule: {error}") from error
    return plan


def _bound_s(problem: PlanningProblem) -> float:
    """The lower bound over all inter-satellite links that ever open."""
    if problem.workload.on_board:
        problem = dataclasses.replace(problem, state=RoundState(pointed=problem.state.pointed))
    else:
        problem = problem.without_lost()
    links = problem.contact_plan.of_kind(LinkKind.INTRA_ISL, LinkKind.INTER_ISL)
    group = groups_of(links[links["end_s"] > problem.start_s], len(problem.workload.samples))
    return RoundBounds(problem).lower_bound_s(group)
