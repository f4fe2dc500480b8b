"""A duration that no asynchronous mission can beat: every member by itself, no set-up, nobody in its way."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from strategies.asynchronous.mission import AsyncSchedule, Buffer, Goal, members_of
from strategies.problem.network import NoRouteError, carried_s, passes_of
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.sunlight import finished_s


def async_bound_s(problem: PlanningProblem, schedule: AsyncSchedule, goal: Goal) -> float:
    """Return the seconds until as many updates have come as the goal needs, and all have the last average.

    Each member trains, sends over all passes of its satellites at once, and gets a new average at once in the same way;
    the links of planes take no time. It waits for averages only as far as their number of updates makes it.

    Raises:
        NoRouteError: So many updates cannot come before the horizon.
    """
    members = members_of(problem.contact_plan, problem.workload, schedule.unit)
    alone = [_Alone(problem, member, one_way=schedule.one_way) for member in members]
    wanted = goal.least_updates(schedule.trigger, len(members))
    size = schedule.trigger.size(len(members)) if isinstance(schedule.trigger, Buffer) else 1
    queue = [(member.delivered_s(problem.start_s), number) for number, member in enumerate(alone)]
    heapq.heapify(queue)
    waiting: dict[int, list[int]] = {}  # members by the number of updates that make the average they wait for
    sent, last_s = [0] * len(members), problem.start_s
    for count in range(wanted):
        if not queue or not np.isfinite(queue[0][0]):
            raise NoRouteError(
                f"of {wanted} updates, {count} can come before the contact plan ends at "
                f"{problem.contact_plan.horizon_s:.0f} s"
            )
        last_s, number = heapq.heappop(queue)
        sent[number] += 1
        # Its next update is from a newer average than its last, so that one more has been made for each that it sent.
        waiting.setdefault(max(size * sent[number], count + 1), []).append(number)
        for ready in waiting.pop(count + 1, ()):
            heapq.heappush(queue, (alone[ready].delivered_s(alone[ready].received_s(last_s)), ready))
    end_s = max(member.received_s(last_s) for member in alone)
    if not np.isfinite(end_s):
        raise NoRouteError(
            f"the average of {last_s:.0f} s cannot come to all before the contact plan ends at "
            f"{problem.contact_plan.horizon_s:.0f} s"
        )
    return end_s - problem.start_s


class _Alone:
    """A member for whom nobody is in the way."""

    def __init__(self, problem: PlanningProblem, satellites: Sequence[int], *, one_way: bool) -> None:
        contact_plan = problem.contact_plan
        passes = passes_of(contact_plan, problem.start_s, contact_plan.horizon_s)
        self._passes = passes[np.isin(passes["satellite"], satellites)]
        self._down_bits = problem.workload.delivered_bytes(satellites[0]) * 8.0
        self._up_bits = problem.workload.update_bytes * 8.0
        self._problem, self._satellites = problem, satellites
        self._ends_s = np.sort(self._passes["end_s"]) if one_way else np.empty(0)
        once = problem.workload.epochs * problem.workload.onboard_flops / problem.rates.satellite_flops
        self._train_s = [problem.workload.samples[satellite] * once for satellite in satellites]

    def delivered_s(self, from_s: float) -> float:
        """Return when it can have trained and sent, with an average that all of it has at a time.

        Where it sends in a later pass, none ends sooner than the first to end after that time.
        """
        if not np.isfinite(from_s):
            return np.inf
        lit = self._problem.resources.sunlight
        trained = zip(self._satellites, self._train_s, strict=True)
        ready_s = max(finished_s(lit, satellite, from_s, train_s) for satellite, train_s in trained)
        if from_s > self._problem.start_s and len(self._ends_s):
            over = int(np.searchsorted(self._ends_s, from_s - float(self._passes["owlt_s"].max())))
            ready_s = max(ready_s, float(self._ends_s[over])) if over < len(self._ends_s) else np.inf
        return self._carried_s("down_bps", ready_s, self._down_bits)

    def received_s(self, from_s: float) -> float:
        """Return when one of its satellites can have an average that is there at a time."""
        return self._carried_s("up_bps", from_s, self._up_bits)

    def _carried_s(self, rate: str, from_s: float, bits: float) -> float:
        if not np.isfinite(from_s):
            return np.inf
        passes = self._passes[self._passes["end_s"] > from_s]
        if not len(passes):
            return np.inf
        start_s = np.maximum(passes["start_s"], from_s)
        over_s = carried_s(start_s, passes["end_s"], passes[rate], bits)
        return over_s + float(passes["owlt_s"].min())
