"""An independent judge of plans: replays one against the contact plan and names what cannot be.

Nothing of the planner is imported but the form of a plan and of where a round stands.  An activity is a window in which
its bytes or FLOPs are served; a link or processor can serve all its windows exactly if earliest deadline first can
(Liu and Layland, 1973; Horn, 1974).  Because the windows of small crossings stand for many micro-batches, a link may be
late by a few of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from orbit.contact_plan import ContactPlan
from strategies.checker_links import LinkRules
from strategies.checker_rules import Rules, Violation
from strategies.checker_samples import SampleRules
from strategies.checker_weights import WeightRules
from strategies.intervals import SLACK_S
from strategies.plan import Kind, Plan
from strategies.round_state import RoundState, without
from strategies.workload import ComputeRates, Resources, Workload


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
    case = (plan, contact_plan, workload, rates, resources, state)
    links, samples = LinkRules(*case), SampleRules(*case)
    return list(
        itertools.chain(
            _times(links),
            links.windows(),
            links.antennas(),
            links.lasers(),
            links.links(),
            links.processors(),
            links.buffers(),
            samples.delivery(),
            samples.order(),
            WeightRules(*case).average(),
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


def _times(case: Rules) -> Iterator[Violation]:
    rows = case.rows
    backwards = rows["end_s"] < rows["start_s"] - SLACK_S
    outside = (rows["start_s"] < case.plan.start_s - SLACK_S) | (rows["end_s"] > case.plan.end_s + SLACK_S)
    for row in rows[backwards | outside | ~np.isfinite(rows["end_s"])][:10]:
        yield Violation(
            "time", f"{Kind(row['kind']).name} {row['start_s']}–{row['end_s']} s is outside the round"
        )
    if case.plan.makespan_s < case.plan.lower_bound_s * (1.0 - 1e-6):
        yield Violation(
            "bound", f"{case.plan.makespan_s} s is below the lower bound, {case.plan.lower_bound_s} s"
        )
