"""Plans missions at their start, or far ahead, and hands out the stretch between two averages as a round."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from mission.schema import Scenario
from server_app.planning.round_planner import RoundPlanner
from strategies.asynchronous.checked_mission import checked_mission
from strategies.asynchronous.mission import AsyncMission, AsyncSchedule, Buffer, Goal, PlannedSlots, Unit
from strategies.asynchronous.stretches import counting, part_of, starting, stretch
from strategies.planner.plane_rounds import PlaneRounds, plan_plane_rounds
from strategies.problem.plan import Plan
from strategies.problem.round_state import RoundState
from strategies.problem.workload import Workload


class PlannerAhead(RoundPlanner):
    """Plans what comes before the mission, and then more than a round at a time; see :class:`.RoundPlanner`."""

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


class MissionPlanner(PlannerAhead):
    """Plans all averages of a mission without rounds at the same time."""

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


class PlaneRoundsPlanner(PlannerAhead):
    """Plans the rounds that planes have by themselves up to the next average over all, with that average."""

    @cached_property
    def _stages(self) -> list[PlaneRounds]:
        return []

    def __call__(self, number: int, start_s: float) -> Plan:
        """Return the plan from the end of every plane's round before to the end of its round ``number``.

        Raises:
            strategies.problem.network.PlanningError: A plane does not get so far before the horizon.
        """
        del start_s  # planes go on at their own
        stage, place = divmod(number - 1, self._scenario.strategy.plane_rounds)
        planned = self._stage(stage)
        from_s = planned.ended_s[place - 1] if place else planned.plan.start_s
        to_s = planned.plan.end_s if self.all_average(number) else planned.ended_s[place]
        return part_of(planned.plan, from_s, to_s)

    def all_average(self, number: int) -> bool:
        """Return whether planes average with each other at the end of a round."""
        return number % self._scenario.strategy.plane_rounds == 0 or number == self._scenario.training.rounds

    def _stage(self, wanted: int) -> PlaneRounds:
        """The plan up to an average over all, from 0; after a resume those before it are planned again."""
        rounds, each = self._scenario.training.rounds, self._scenario.strategy.plane_rounds
        while len(self._stages) <= wanted:
            first = len(self._stages) * each + 1
            workloads = [self.workload(number) for number in range(first, min(first + each, rounds + 1))]
            begin_s = self._stages[-1].plan.end_s if self._stages else self._begin_s
            problem = self._problem(workloads[0], begin_s)
            self._stages.append(plan_plane_rounds(problem, self._strategy_config, workloads))
        return self._stages[wanted]


def schedule_of(scenario: Scenario) -> AsyncSchedule:
    """Return who delivers and when the ground averages, in a scenario without rounds."""
    strategy = scenario.strategy
    if strategy.averaging == "slots":
        return AsyncSchedule(Unit.SATELLITE, PlannedSlots(seed=scenario.seed), one_way=True)
    if strategy.averaging == "buffered-planes":
        return AsyncSchedule(Unit.PLANE, Buffer(strategy.buffer_updates))
    return AsyncSchedule(Unit.SATELLITE, Buffer(strategy.buffer_updates), one_way=True)
