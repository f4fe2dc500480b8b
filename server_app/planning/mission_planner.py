"""Plans a mission without rounds at its start, and hands out the stretch between two averages as a round."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from mission.schema import Scenario
from server_app.planning.round_planner import RoundPlanner
from strategies.asynchronous.checked_mission import checked_mission
from strategies.asynchronous.mission import AsyncMission, AsyncSchedule, Buffer, Goal, PlannedSlots, Unit
from strategies.asynchronous.stretches import counting, starting, stretch
from strategies.problem.plan import Plan
from strategies.problem.round_state import RoundState
from strategies.problem.workload import Workload


class MissionPlanner(RoundPlanner):
    """Plans the enrolment, and then all averages of a mission at the same time; see :class:`.RoundPlanner`."""

    _begin_s = 0.0

    def _before_round_1(self, workload: Workload, start_s: float) -> Plan:
        """Plan what comes before the mission; it begins when that is over."""
        plan = super()._before_round_1(workload, start_s)
        self._begin_s, self.carry_over = plan.end_s, RoundState()
        return plan

    def resume(self, carry_over: RoundState, late_since: Mapping[str, int]) -> None:
        """Go on after an average: the mission is planned again as it was, from the end of what came before it."""
        del carry_over, late_since
        self.enrolment(0.0)
        self.labels(self._begin_s)

    def __call__(self, number: int, start_s: float) -> Plan:
        """Return the plan from the average before to average ``number``.

        Raises:
            strategies.problem.network.PlanningError: The mission does not end before the horizon.
        """
        del start_s  # the mission is planned from its own
        return stretch(self.mission, number)

    @cached_property
    def mission(self) -> AsyncMission:
        """All of the mission."""
        schedule = schedule_of(self._scenario)
        problem = self._problem(self.workload(1), self._begin_s)
        return checked_mission(problem, schedule, Goal(averages=self._scenario.training.rounds))

    def starting(self, number: int) -> frozenset[str]:
        """Return the names of the satellites that start before average ``number``."""
        return frozenset(self.mission.plan.names[satellite] for satellite in starting(self.mission, number))

    def counting(self, number: int) -> frozenset[tuple[str, int]]:
        """Return what average ``number`` is of: names, each with the round in which the satellite started."""
        names = self.mission.plan.names
        return frozenset((names[satellite], started) for satellite, started in counting(self.mission, number))


def schedule_of(scenario: Scenario) -> AsyncSchedule:
    """Return who delivers and when the ground averages, in a scenario without rounds."""
    strategy = scenario.strategy
    if strategy.averaging == "slots":
        return AsyncSchedule(Unit.SATELLITE, PlannedSlots(seed=scenario.seed), one_way=True)
    if strategy.averaging == "buffered-planes":
        return AsyncSchedule(Unit.PLANE, Buffer(strategy.buffer_updates))
    return AsyncSchedule(Unit.SATELLITE, Buffer(strategy.buffer_updates), one_way=True)
