"""The work inside a member: its training, and the links that sum its weights and distribute an average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.planner.foremost import Journey, broadcast, gather, weight_sends
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.routes import Routes
from strategies.problem.sunlight import finished_s


class MemberWork:
    """Training and the links of planes, for any member of a mission.

    Args:
        problem: The round that each update is, with its contacts; computing when batteries allow it.
    """

    def __init__(self, problem: PlanningProblem) -> None:
        self._problem = problem.powered()
        contact_plan = problem.contact_plan
        links = contact_plan.of_kind(LinkKind.INTRA_ISL)
        links = links[(links["rate_bps"] > 0) & (links["end_s"] > problem.start_s)]
        self._routes = Routes(links, len(contact_plan.satellites))
        self._plane = np.array([contact_plan.nodes[node].plane for node in contact_plan.satellites])
        workload = problem.workload
        self._bits = workload.aggregate_bytes * 8.0
        self._flops = np.asarray(workload.samples) * workload.epochs * workload.onboard_flops

    def trained_s(self, satellite: int, from_s: float, times: int = 1) -> float:
        """Return when a satellite has trained so many times on all of its images."""
        work_s = times * float(self._flops[satellite]) / self._problem.rates.satellite_flops
        return finished_s(self._problem.resources.sunlight, satellite, from_s, work_s)

    def times_until(self, satellite: int, from_s: float, until_s: float) -> int:
        """Return how often it can have trained by then, at least once."""
        once_s = float(self._flops[satellite]) / self._problem.rates.satellite_flops
        low, high = 1, max(2, int((until_s - from_s) / once_s) + 2)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if self.trained_s(satellite, from_s, middle) <= until_s else (low, middle)
            )
        return low

    def training(self, satellite: int, from_s: float, times: int = 1) -> np.ndarray:
        """Return the activity of so many trainings."""
        return activities(
            1, kind=Kind.TRAIN, satellite=satellite, node=satellite, start_s=from_s,
            end_s=self.trained_s(satellite, from_s, times), flops=times * self._flops[satellite],
            end_sample=self._problem.workload.samples[satellite],
        )  # fmt: skip

    def summed(self, root: int, trained_s: Mapping[int, float]) -> tuple[np.ndarray, float]:
        """Return the sends of partial sums to ``root``, and when it has them all.

        Raises:
            NoRouteError: The links of the plane do not join them in time.
        """
        if len(trained_s) == 1:
            return activities(0), max(trained_s.values())
        horizon_s = self._problem.contact_plan.horizon_s
        journey = gather(self._routes, root, trained_s, self._bits, horizon_s)
        if journey is None:
            raise NoRouteError(
                f"{self._name(root)}: the weights of its plane do not meet by {horizon_s:.0f} s"
            )
        return self._sends(journey, Kind.REDUCE), journey.done_s

    def spread(
        self, root: int, satellites: Sequence[int], from_s: float
    ) -> tuple[np.ndarray, dict[int, float]]:
        """Return the sends of an average from ``root``, and when each satellite has it.

        Raises:
            NoRouteError: The links of the plane do not reach all of them.
        """
        if len(satellites) == 1:
            return activities(0), {satellites[0]: from_s}
        journey = broadcast(self._routes, {root: from_s}, set(satellites), self._bits)
        if journey is None:
            raise NoRouteError(f"{self._name(root)}: an average does not reach all of its plane in time")
        arrival_s, _ = self._routes.journeys({root: from_s}, self._bits)
        return self._sends(journey, Kind.UPDATE), {node: arrival_s[node] for node in satellites}

    def _sends(self, journey: Journey, kind: Kind) -> np.ndarray:
        return weight_sends(journey, kind, self._plane, self._bits / 8.0)

    def _name(self, node: int) -> str:
        return self._problem.contact_plan.nodes[node].name
