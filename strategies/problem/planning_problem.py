"""What is asked of the planner."""

from __future__ import annotations

from dataclasses import dataclass

from orbit.contact_plan import ContactPlan
from strategies.problem.workload import ComputeRates, Resources, Workload


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A round to be planned: all contacts, what it moves and computes and with what, and when it starts."""

    contact_plan: ContactPlan
    workload: Workload
    rates: ComputeRates
    resources: Resources
    start_s: float
