"""A round planner of one's own."""

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError

LATER = 1.1  # than the soonest plan, at most


def frugal(problem, strategy_config):
    """Plan with the strategies asked for and with fewer; of what ends soon, keep what loads the lasers least."""
    plans, failure = [], None
    for candidate in strategy_config.contained():
        try:
            plans.append(plan_round(problem, candidate))
        except NoRouteError as error:
            failure = failure or error
    if not plans:
        raise failure
    soonest_s = min(plan.makespan_s for plan in plans)
    return min((plan for plan in plans if plan.makespan_s <= LATER * soonest_s), key=isl_bytes)


def isl_bytes(plan):
    """Return the bytes that cross links between satellites."""
    between = np.isin(plan.activities["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL))
    return plan.activities["bytes"][between].sum()
