"""What the parts of a split round share: the problem, the links and contacts of its window, how links are divided."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from strategies.planner.space_links import SpaceLinks
from strategies.planner.split.shares import LinkShares
from strategies.problem.planning_problem import PlanningProblem


@dataclass(frozen=True, eq=False)
class RoundNetwork:
    """A round and the stretch of the contact plan that it is planned over.

    Attributes:
        problem: What is to be planned.
        links: The inter-satellite links that may be used, and the groups that they join.
        contacts: Contacts with stations in the stretch, as ``strategies.problem.network.passes_of`` gives them.
        shares: What features get of a link while small crossings are on it.
    """

    problem: PlanningProblem
    links: SpaceLinks
    _: KW_ONLY
    contacts: np.ndarray
    shares: LinkShares
