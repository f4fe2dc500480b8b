"""The planning problem: everything that a plan of one round depends on, apart from the strategies."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass, field

from orbit.contact_plan import ContactPlan
from strategies.problem.power_windows import power_windows
from strategies.problem.round_state import RoundState, without
from strategies.problem.storage import Storage
from strategies.problem.workload import ComputeRates, Resources, Workload


@dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A round to be planned; planner, lower bound and checker are given the same one.

    Attributes:
        contact_plan: All contacts of the horizon.
        workload: What the round moves and computes.
        rates: How fast satellites and ground compute.
        resources: Beams, terminals, buffers, sunlight.
        start_s: Mission time at which the round, or what is left of it, starts.
        state: What has been done already and what is lost; by default nothing.
        storage: Of images that come as satellites fly; without it all of a round's are there.
    """

    contact_plan: ContactPlan
    workload: Workload
    _: KW_ONLY
    rates: ComputeRates
    resources: Resources
    start_s: float = 0.0
    state: RoundState = field(default_factory=RoundState)
    storage: Storage | None = None

    def __post_init__(self) -> None:
        # Times in arrays that start with a whole number would be cut to whole seconds.
        object.__setattr__(self, "start_s", float(self.start_s))

    def powered(self) -> PlanningProblem:
        """Return the problem whose satellites compute when their batteries allow it, instead of whenever they could.

        Raises:
            strategies.problem.network.PlanningError: A battery falls below its limit without any computing.
        """
        resources = self.resources
        if resources.battery is None:
            return self
        windows = power_windows(
            self.contact_plan, resources.battery, resources.drawn, resources.sunlight
        ).computing
        return dataclasses.replace(self, resources=dataclasses.replace(resources, sunlight=windows))

    def without_lost(self) -> PlanningProblem:
        """Return the same problem without the contacts and the samples of the nodes that are lost."""
        lost = self.state.lost
        if not lost:
            return self
        return dataclasses.replace(
            self, contact_plan=without(self.contact_plan, lost), workload=self.workload.without(lost)
        )
