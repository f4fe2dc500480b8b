"""Plans rounds that train on what is on board when they begin, for satellites that take images as they fly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mission.schema import Scenario
from orbit.contact_plan import ContactPlan
from orbit.imaging.numbered_images import ImageRange
from server_app.planning.imaging import storage_of
from server_app.planning.round_planner import RoundPlanner
from server_app.planning.workloads import PlaceInMission
from splitmodel.costs.published import Profile
from strategies.problem.network import PlanningError
from strategies.problem.plan import Plan
from strategies.problem.workload import Workload


class ArrivingPlanner(RoundPlanner):
    """Plans the rounds of a scenario with ``[imaging]``; see :class:`.RoundPlanner`, also for the arguments.

    :attr:`taken` has the images of every round so far, by satellite; a run that resumes goes on with them.
    """

    def __init__(
        self,
        scenario: Scenario,
        contact_plan: ContactPlan,
        *,
        costs: Profile,
        samples: Sequence[int],
        summed_on_board: bool = False,
        signature_bytes: int = 0,
    ) -> None:
        super().__init__(
            scenario,
            contact_plan,
            costs=costs,
            samples=samples,
            summed_on_board=summed_on_board,
            signature_bytes=signature_bytes,
            storage=storage_of(scenario, costs),
        )
        self.taken: list[tuple[ImageRange, ...]] = []
        self._most = list(samples)
        self._sent_images = self._workloads.sent_images(self._variant.mode, self.taken)

    def __call__(self, number: int, start_s: float) -> Plan:
        """See :meth:`.RoundPlanner.__call__`.

        Raises:
            strategies.problem.network.PlanningError: Also where a satellite has no image yet.
        """
        self.taken[number - 1 :] = [self._on_board(start_s)]
        return super().__call__(number, start_s)

    def workload(self, number: int) -> Workload:
        """Return the data and the computation of round ``number``, whose images are known."""
        workloads = dataclasses.replace(
            self._workloads, samples=[count for _, count in self.taken[number - 1]]
        )
        traffic = None if self._sent_images is None else self._sent_images.in_round(number)
        return workloads.of_round(self._variant, PlaceInMission(traffic))

    def images(self, number: int) -> Mapping[str, Sequence[ImageRange]]:
        """Return the images of each satellite in rounds 1 to ``number``."""
        rounds = self.taken[:number]
        names = [self._contact_plan.nodes[satellite].name for satellite in self._contact_plan.satellites]
        return {name: [ranges[index] for ranges in rounds] for index, name in enumerate(names)}

    def _on_board(self, start_s: float) -> tuple[ImageRange, ...]:
        assert self._storage is not None
        ranges = tuple(
            self._storage.newest(satellite, start_s, most) for satellite, most in enumerate(self._most)
        )
        for satellite, (_, count) in enumerate(ranges):
            if self._most[satellite] and not count:
                raise PlanningError(
                    f"imaging: {self._contact_plan.nodes[satellite].name} has no image when the round begins, at "
                    f"{start_s:.0f} s; allowed: imaging.on_board above 0, or more images_per_min"
                )
        return ranges
