"""Plans missions without rounds, event by event: train, send down, average, get the newest average, train again.

Whoever can use a beam first gets it. A member that has sent waits for an average newer than the one it trained from;
what would come down after the last average is not trained.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.asynchronous.bound import async_bound_s
from strategies.asynchronous.member_work import MemberWork
from strategies.asynchronous.mission import (
    ASYNC_UPDATE,
    RETURN,
    AsyncMission,
    AsyncSchedule,
    Buffer,
    Goal,
    Unit,
    members_of,
)
from strategies.asynchronous.sessions import OpenSessions, Piece
from strategies.asynchronous.slot_search import planned_averages_s
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, Plan, activities, collect_activities
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import InterOrbit, IntraOrbit, SpaceGround, StrategyConfig, WorkloadError


def plan_asynchronous(problem: PlanningProblem, schedule: AsyncSchedule, goal: Goal) -> AsyncMission:
    """Plan a mission to its goal, until all have the last average.

    Equal input gives an equal plan.

    Args:
        problem: What each update trains and moves: a round on board.
        schedule: Who delivers, and when the ground averages.
        goal: What ends it.

    Raises:
        NoRouteError: So many updates do not come within the contact plan, or the last average does not reach all.
        WorkloadError: Planes deliver, and samples are to be sent with the weights.
    """
    if schedule.unit is Unit.PLANE and problem.workload.c1_bytes:
        raise WorkloadError(
            f"c1_bytes: found {problem.workload.c1_bytes:g}, allowed is 0 where planes deliver sums of weights"
        )
    bound_s = async_bound_s(problem, schedule, goal)
    flight = _Flight(problem, schedule, goal=goal)
    flight.fly()
    return flight.mission(bound_s)


@dataclass(eq=False)
class _Member:
    """A member under way: what it holds, and the activities since its last update came down."""

    satellites: tuple[int, ...]
    _: KW_ONLY
    base: int = 0
    begin_s: float = 0.0
    gateway: int = -1
    down_bits: float = 0.0  # of an update
    left_bits: float = 0.0
    ready_s: float = 0.0
    pass_end_s: float = 0.0  # of the pass in which its average came
    received_s: dict[int, float] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)
    is_waiting: bool = False  # for a newer average
    has_returned: bool = False


class _Flight:
    """The mission run forward."""

    def __init__(self, problem: PlanningProblem, schedule: AsyncSchedule, *, goal: Goal) -> None:
        self._problem, self._schedule = problem, schedule
        self._work = MemberWork(problem)
        self._sessions = OpenSessions(problem.contact_plan, problem.resources, start_s=problem.start_s)
        members = members_of(problem.contact_plan, problem.workload, schedule.unit)
        self._members = [
            _Member(satellites, down_bits=8.0 * problem.workload.delivered_bytes(satellites[0]))
            for satellites in members
        ]
        self._goal = goal
        self._up_bits = problem.workload.update_bytes * 8.0
        self._queue: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._kept: list[np.ndarray] = []
        self._updates: list[tuple[int, int, float, float, int]] = []
        self._buffer: list[int] = []  # of updates that are in no average yet
        self._averaged_s: list[float] = []
        self._returns: list[tuple[int, float, float]] = []
        self._is_over = False

    def fly(self) -> None:
        """Run until all have the last average.

        Raises:
            NoRouteError: The contacts do not suffice.
        """
        start_s = self._problem.start_s
        for member in self._members:
            member.begin_s = start_s
            self._train(member, dict.fromkeys(member.satellites, start_s))
        if not isinstance(self._schedule.trigger, Buffer):
            for time_s in planned_averages_s(self._problem, self._schedule.trigger).tolist():
                self._at(time_s, lambda now_s: self._average(now_s) if self._buffer else None)
        while self._queue and not all(member.has_returned for member in self._members):
            now_s, _, act = heapq.heappop(self._queue)
            act(now_s)
        if not self._is_over:
            wanted = self._goal.least_updates(self._schedule.trigger, len(self._members))
            averaged = len(self._updates) - len(self._buffer)
            raise NoRouteError(
                f"of {wanted} updates, {averaged} are averaged, in {len(self._averaged_s)} averages, before the "
                "contact plan ends"
            )
        for member in self._members:
            if not member.has_returned:
                name = self._problem.contact_plan.nodes[member.satellites[0]].name
                raise NoRouteError(f"{name}: the last average does not come before the contact plan ends")

    def mission(self, bound_s: float) -> AsyncMission:
        """Return the mission that was run."""
        problem = self._problem
        end_s = max(received_s for _, _, received_s in self._returns)
        finish_s = np.full(len(problem.workload.samples), problem.start_s)
        for member in self._members:
            for satellite, received_s in member.received_s.items():
                finish_s[satellite] = received_s
        intra = IntraOrbit.PARALLEL if self._schedule.unit is Unit.PLANE else IntraOrbit.NONE
        plan = Plan(
            start_s=problem.start_s,
            end_s=end_s,
            lower_bound_s=bound_s,
            strategy_config=StrategyConfig(intra, SpaceGround.FIRST_CONTACT, inter_orbit=InterOrbit.NONE),
            activities=collect_activities([*self._kept, self._sessions.held()]),
            finish_s=finish_s,
            delivered_s=finish_s,
            names=tuple(node.name for node in problem.contact_plan.nodes),
        )
        averaged = [update for update in self._updates if update[-1]]
        return AsyncMission(
            plan,
            np.array(averaged, ASYNC_UPDATE),
            averaged_s=np.array(self._averaged_s),
            returns=np.array(sorted(self._returns), RETURN),
            members=tuple(member.satellites for member in self._members),
            goal=self._goal,
        )

    def _at(self, time_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._queue, (time_s, next(self._order), act))

    def _train(self, member: _Member, received_s: dict[int, float]) -> None:
        """All satellites of a member train on what they have got, then one of them brings the sum down."""
        member.received_s = received_s
        trained_s = {node: self._work.trained_s(node, from_s) for node, from_s in received_s.items()}
        if not self._schedule.trains_on:
            member.rows += [self._work.training(node, from_s) for node, from_s in received_s.items()]
        # Links are free of the average once it has reached all.
        free_s = max(member.pass_end_s if self._schedule.one_way else 0.0, *received_s.values())
        ready_s = max(free_s, *trained_s.values())
        gateway = self._first_to_send(member, LinkKind.DOWNLINK, ready_s, member.down_bits)
        if gateway is None:
            return
        sends, member.ready_s = self._work.summed(
            gateway, {node: max(free_s, time_s) for node, time_s in trained_s.items()}
        )
        member.rows.append(sends)
        member.gateway, member.left_bits = gateway, member.down_bits
        self._transfer(member, LinkKind.DOWNLINK)

    def _first_to_send(self, member: _Member, link: LinkKind, ready_s: float, bits: float) -> int | None:
        """Return the satellite whose antenna can begin first; None if no pass is left."""
        pieces = ((node, self._sessions.first(node, link, ready_s, bits)) for node in member.satellites)
        begins_s = {node: piece.data_s for node, piece in pieces if piece is not None}
        return min(begins_s, key=begins_s.__getitem__) if begins_s else None

    def _transfer(self, member: _Member, link: LinkKind) -> None:
        """Ask for the next piece of a transfer, and for it again when its set-up would begin."""
        piece = self._sessions.first(member.gateway, link, member.ready_s, member.left_bits)
        if piece is not None:
            self._at(piece.booking.start_s, lambda now_s: self._send(member, link, now_s))

    def _send(self, member: _Member, link: LinkKind, now_s: float) -> None:
        """Send a piece, if nobody else has taken its place since."""
        if self._is_over and link is LinkKind.DOWNLINK:
            return
        piece = self._sessions.first(member.gateway, link, member.ready_s, member.left_bits)
        if piece is None or piece.booking.start_s > now_s:
            self._transfer(member, link)
            return
        self._sessions.book(piece)
        down = link is LinkKind.DOWNLINK
        begins = member.left_bits == (member.down_bits if down else self._up_bits)
        if begins and not down:
            member.base = len(self._averaged_s)  # the newest when it goes
        if begins and down and self._schedule.trains_on:
            self._train_until(member, piece.data_s)
        member.rows.append(self._sent(piece, link))
        member.left_bits -= piece.bits
        member.pass_end_s = piece.pass_end_s
        member.ready_s = piece.end_s
        if member.left_bits > 0.0:
            self._transfer(member, link)
        elif down:
            self._at(piece.arrival_s, lambda now_s: self._deliver(member, now_s))
        else:
            self._at(piece.arrival_s, lambda now_s: self._receive(member, now_s))

    def _train_until(self, member: _Member, data_s: float) -> None:
        [(satellite, from_s)] = member.received_s.items()
        times = self._work.times_until(satellite, from_s, data_s)
        member.rows.append(self._work.training(satellite, from_s, times))

    def _sent(self, piece: Piece, link: LinkKind) -> np.ndarray:
        down = link is LinkKind.DOWNLINK
        satellite, station = piece.booking.satellite, piece.booking.station
        return activities(
            1, kind=Kind.REDUCE if down else Kind.UPDATE, link=link, satellite=satellite,
            node=satellite if down else station, peer=station if down else satellite,
            start_s=piece.data_s, end_s=piece.end_s, bytes=piece.bits / 8.0,
        )  # fmt: skip

    def _deliver(self, member: _Member, now_s: float) -> None:
        """An update is on the ground."""
        if self._is_over:
            return
        self._buffer.append(len(self._updates))
        self._updates.append((self._members.index(member), member.base, member.begin_s, now_s, 0))
        self._kept += member.rows
        member.rows, member.is_waiting = [], True
        goal, trigger = self._goal, self._schedule.trigger
        is_last = goal.updates > 0 and goal.is_reached(len(self._updates), len(self._averaged_s) + 1)
        if isinstance(trigger, Buffer) and (is_last or len(self._buffer) >= trigger.size(len(self._members))):
            self._average(now_s)
        elif len(self._averaged_s) > member.base:
            self._ask(member, now_s)

    def _average(self, now_s: float) -> None:
        """Make the next average of what has come; it goes to those that wait, and the last one to all."""
        self._averaged_s.append(now_s)
        for number in self._buffer:
            self._updates[number] = (*self._updates[number][:-1], len(self._averaged_s))
        self._buffer = []
        self._is_over = self._goal.is_reached(len(self._updates), len(self._averaged_s))
        if self._is_over:
            for member in self._members:
                member.rows, member.is_waiting = [], True
            self._queue = []
        for member in self._members:
            if member.is_waiting:
                self._ask(member, now_s)

    def _ask(self, member: _Member, now_s: float) -> None:
        """The newest average goes up to a member."""
        gateway = self._first_to_send(member, LinkKind.UPLINK, now_s, self._up_bits)
        if gateway is None:
            return
        member.is_waiting = False
        member.gateway, member.ready_s, member.left_bits = gateway, now_s, self._up_bits
        self._transfer(member, LinkKind.UPLINK)

    def _receive(self, member: _Member, now_s: float) -> None:
        """An average is on board of one satellite: all of its member get it, and train on it unless it is the last."""
        begin_s = min(float(rows["start_s"].min()) for rows in member.rows if len(rows))
        sends, received_s = self._work.spread(member.gateway, member.satellites, now_s)
        member.rows.append(sends)
        if not self._is_over:
            member.begin_s = begin_s
            self._train(member, received_s)
            return
        self._kept += member.rows
        member.received_s, member.has_returned = received_s, True
        number = self._members.index(member)
        self._returns.append((number, begin_s, max(received_s.values())))
