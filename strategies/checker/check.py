"""An independent judge of plans: derives from the workload what must happen, and names what does not, or cannot.

Nothing of the planner is imported but the form of a plan, of a workload and of where a round stands.  An activity is a
window in which its bytes or FLOPs are served; what a link or processor can serve within its windows, earliest deadline
first can.  Steps have no slack to hide in: for each the least time of every part of its round trip is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from strategies.checker import capacity, samples
from strategies.checker.answers import answers
from strategies.checker.form import form, times, windows
from strategies.checker.judged_plan import JudgedPlan, Violation
from strategies.checker.sessions import antennas, lasers, still_pointed
from strategies.checker.steps import StepRules
from strategies.checker.summary import ends, label
from strategies.checker.weights import WeightRules
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem


class InfeasiblePlanError(ValueError):
    """The plan cannot be flown; the message lists the first violations."""


def check_plan(plan: Plan, problem: PlanningProblem) -> list[Violation]:
    """Return all violations of a plan, none for one that solves the problem and can be flown."""
    judged = JudgedPlan(plan, problem.without_lost())
    steps, weights = StepRules(judged), WeightRules(judged)
    return list(
        itertools.chain(
            form(judged),
            times(judged),
            windows(judged),
            antennas(judged),
            lasers(judged),
            still_pointed(judged),
            samples.amounts(judged),
            samples.delivery(judged),
            samples.order(judged),
            answers(judged),
            steps.violations(),
            capacity.links(judged, steps.timing.hops),
            capacity.computers(judged),
            capacity.buffers(judged),
            capacity.charge(judged),
            capacity.storage(judged),
            weights.violations(),
            ends(judged, weights),
            label(judged),
        )
    )


def require_feasible(plan: Plan, problem: PlanningProblem) -> None:
    """Raise ``InfeasiblePlanError`` with the first violations of ``check_plan``, if there is any."""
    refuse(check_plan(plan, problem))


def refuse(violations: Sequence[Violation]) -> None:
    """Raise ``InfeasiblePlanError`` with the first of these violations, if there is any."""
    if violations:
        raise InfeasiblePlanError("; ".join(str(violation) for violation in violations[:5]))
