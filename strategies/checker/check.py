"""An independent judge of plans: derives from the workload what must happen, and names what does not, or cannot.

Nothing of the planner is imported but the form of a plan, of a workload and of where a round stands.  An activity is a
window in which its bytes or FLOPs are served; what a link or processor can serve within its windows, earliest deadline
first can.  Steps have no slack to hide in: for each the least time of every part of its round trip is known.
"""

from __future__ import annotations

import itertools

from orbit.contact_plan import ContactPlan
from strategies.checker import capacity, samples
from strategies.checker.answers import answers
from strategies.checker.case import Case, Violation
from strategies.checker.form import form, times, windows
from strategies.checker.sessions import antennas, lasers, still_pointed
from strategies.checker.steps import StepRules
from strategies.checker.summary import ends, label
from strategies.checker.weights import WeightRules
from strategies.problem.plan import Plan
from strategies.problem.round_state import RoundState, without
from strategies.problem.workload import ComputeRates, Resources, Workload


class InfeasiblePlanError(ValueError):
    """The plan cannot be flown; the message lists the first violations."""


def check_plan(
    plan: Plan,
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    state: RoundState | None = None,
) -> list[Violation]:
    """All violations of a plan, none for one that can be flown.

    ``state`` is where the round stood when it was planned; the beginning without.
    """
    state = state or RoundState()
    if state.lost:
        contact_plan, workload = without(contact_plan, state.lost), workload.without(state.lost)
    case = Case(plan, contact_plan, workload, rates, resources, state)
    steps, weights = StepRules(case), WeightRules(case)
    return list(
        itertools.chain(
            form(case),
            times(case),
            windows(case),
            antennas(case),
            lasers(case),
            still_pointed(case),
            samples.amounts(case),
            samples.delivery(case),
            samples.order(case),
            answers(case),
            steps.violations(),
            capacity.links(case, steps.timing.hops),
            capacity.computers(case),
            capacity.buffers(case),
            weights.violations(),
            ends(case, weights),
            label(case),
        )
    )


def require_feasible(
    plan: Plan,
    contact_plan: ContactPlan,
    workload: Workload,
    rates: ComputeRates,
    resources: Resources,
    state: RoundState | None = None,
) -> None:
    """Raises ``InfeasiblePlanError`` with the first violations of ``check_plan``, if there is any."""
    found = check_plan(plan, contact_plan, workload, rates, resources, state)
    if found:
        raise InfeasiblePlanError("; ".join(str(violation) for violation in found[:5]))
