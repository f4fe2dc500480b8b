"""The steps of the split in mission time: forward and backward passes on the ground, the small crossings between them.

A step begins when its features are on the ground.  The hidden states go up, the head answers with their gradient, and
when that is on the ground the backward pass ends the step.  A satellite's steps follow one another; those of a shared
adapter follow one another over all satellites, so that each waits for the round trip of the one before, unless several
satellites make one step together or a step may use an older adapter (see
:class:`strategies.problem.workload.Workload`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import numpy as np

from strategies.planner.split.answers import Answer, AnswerHop, AnswerLog, LinkState, Path, Window
from strategies.planner.split.chains import chains_of
from strategies.planner.split.further_sessions import FurtherSessions
from strategies.planner.split.round_network import RoundNetwork
from strategies.planner.split.shares import BURST_S, BusyTimes
from strategies.planner.split.transport import FeatureChunk
from strategies.problem.plan import STEP, Kind, activities
from strategies.problem.planning_problem import PlanningProblem

_QUEUED_S = 0.05  # a step that would wait longer for an uplink looks for another session
_NEVER: LinkState = (-math.inf, -math.inf, -math.inf, -math.inf)
_SPARE_S = (
    0.2  # an answer is over so long before its session must end: a little later than planned is no loss
)
_ALIKE = 0.25  # satellites share a backward pass whose round trips are longer by no more than this part
_TOGETHER = 32  # satellites whose chains of steps fill each other's waiting times


@dataclass(frozen=True, eq=False)
class Steps:
    """The end of each satellite's last step (``finish_s``, shape ``(N,)``), the steps done, and those that could not
    be.

    ``held_until_s[i]`` is when session ``i`` of ``sessions`` carries its last byte: those that were given, and after
    them the further ones that answers took.  ``beyond`` are the samples, shape ``(N,)``, for which those that were
    given did not suffice, and ``left`` those of them without connection.  ``order`` (dtype ``STEP``) are the steps in
    the order of the ground, which ends at ``end_s``.
    """

    finish_s: np.ndarray
    activities: np.ndarray
    _: KW_ONLY
    sessions: np.ndarray
    held_until_s: np.ndarray
    beyond: np.ndarray
    left: np.ndarray
    end_s: float
    order: np.ndarray = field(default_factory=lambda: np.empty(0, STEP))


def local_steps(
    problem: PlanningProblem, samples: np.ndarray, done: np.ndarray, sessions: np.ndarray
) -> Steps:
    """The head's training where all hidden states are on board already: nobody asks the ground.

    The first ``done[k]`` samples of satellite ``k`` have been passed.
    """
    satellites = np.flatnonzero(samples > done)
    workload, start_s = problem.workload, problem.start_s
    flops = (samples - done) * workload.epochs * workload.head_flops
    finish_s = start_s + flops / problem.rates.satellite_flops
    rows = activities(
        len(satellites),
        kind=Kind.HEAD,
        satellite=satellites,
        node=satellites,
        start_s=start_s,
        end_s=finish_s[satellites],
        flops=flops[satellites],
        first_sample=done[satellites],
        end_sample=samples[satellites],
    )
    end_s = float(finish_s.max(initial=start_s))
    return Steps(
        finish_s,
        rows,
        sessions=sessions,
        held_until_s=sessions["data_s"].copy(),
        beyond=np.zeros(len(samples), int),
        left=np.zeros(len(samples), int),
        end_s=end_s,
    )


def central_steps(
    problem: PlanningProblem,
    samples: np.ndarray,
    done: np.ndarray,
    sessions: np.ndarray,
    blocks: Sequence[FeatureChunk],
) -> Steps:
    """Training in one place: the first pass goes over samples as they arrive, later ones over those of all satellites.

    ``blocks`` hold all samples.  The ``done[k]`` first samples times passes of satellite ``k`` are finished.
    """
    workload, rates, start_s = problem.workload, problem.rates, problem.start_s
    pieces = _pieces(blocks, workload.micro_batch, done)
    block, count = pieces["block"], pieces["end"] - pieces["first"]
    # One after the other as they come: what is there when the computer is free is computed first.
    work_s = count * workload.ground_flops / rates.ground_flops
    waited_s = pieces["time_s"] - (np.cumsum(work_s) - work_s)
    ends_s = np.maximum.accumulate(waited_s) + np.cumsum(work_s)
    used = np.unique(block)
    first, end = np.full(len(blocks), np.iinfo(np.int64).max), np.zeros(len(blocks), np.int64)
    begin_s, end_s = np.full(len(blocks), np.inf), np.full(len(blocks), -np.inf)
    np.minimum.at(first, block, pieces["first"])
    np.maximum.at(end, block, pieces["end"])
    np.minimum.at(begin_s, block, ends_s - work_s)
    np.maximum.at(end_s, block, ends_s)
    rows = [
        activities(
            len(used), kind=Kind.BACKBONE, satellite=[blocks[index].satellite for index in used],
            start_s=begin_s[used], end_s=end_s[used], flops=(end - first)[used] * workload.ground_flops,
            first_sample=first[used], end_sample=end[used],
        )
    ]  # fmt: skip
    now_s = float(ends_s.max(initial=start_s))
    for epoch in range(1, workload.passes):
        first = np.clip(done - epoch * samples, 0, samples)
        satellites = np.flatnonzero(samples > first)
        flops = (samples - first) * workload.ground_flops
        over_s = now_s + float(flops.sum()) / rates.ground_flops
        rows.append(
            activities(
                len(satellites),
                kind=Kind.BACKBONE,
                satellite=satellites,
                start_s=now_s,
                end_s=over_s,
                flops=flops[satellites],
                first_sample=first[satellites],
                end_sample=samples[satellites],
                epoch=epoch,
            )
        )
        now_s = over_s
    finish_s = np.where(samples > 0, now_s, start_s)
    return Steps(
        finish_s,
        np.concatenate(rows),
        sessions=sessions,
        held_until_s=sessions["data_s"].copy(),
        beyond=np.zeros(len(samples), int),
        left=np.zeros(len(samples), int),
        end_s=now_s,
    )


def _pieces(blocks: Sequence[FeatureChunk], size: int, done: np.ndarray) -> np.ndarray:
    """The micro-batches of blocks that are not done, by the time at which each has come."""
    rows = []
    for index, block in enumerate(blocks):
        begun = int(done[block.satellite])
        pace_s = (block.last_s - block.first_s) / (block.end - block.first)
        for first in range(block.first, block.end, size):
            end = min(first + size, block.end)
            if end > begun:
                rows.append((index, max(first, begun), end, block.first_s + pace_s * (end - block.first)))
    pieces = np.array(rows, [("block", "<i8"), ("first", "<i8"), ("end", "<i8"), ("time_s", "<f8")])
    return pieces[np.argsort(pieces["time_s"], kind="stable")]


@dataclass(eq=False)
class _Member:
    """One satellite's part of a step."""

    satellite: int
    block: FeatureChunk
    _: KW_ONLY
    epoch: int
    first: int
    end: int
    answer: Answer | None = None


@dataclass(eq=False)
class _Batch:
    """A batched step whose forward pass is made."""

    number: int
    members: list[_Member]
    _: KW_ONLY
    updates: int  # of a shared adapter, before its forward pass
    start_s: float
    computed_s: float  # its forward pass is over
    backward_s: float  # its backward pass may begin
    length_s: float  # of its backward pass


class GroundSteps:
    """The ground at work: one forward or backward pass after the other, of whichever satellites are ready.

    A step goes through the session that brought its features while that is held, else through another of the
    group.  ``busy`` knows when features are on an inter-satellite link (node, peer) or a downlink (session, "down").
    With ``urgent_first`` the satellites that have least time to spare before their sessions are over go first.
    """

    def __init__(
        self, network: RoundNetwork, sessions: np.ndarray, *, busy: BusyTimes, urgent_first: bool = False
    ) -> None:
        workload, rates = network.problem.workload, network.problem.rates
        self.workload, self.routes, self.start_s = workload, network.links.routes, network.problem.start_s
        self.up_bits, self.down_bits = workload.up_bytes * 8.0, workload.c3_bytes * 8.0
        self.chained, self.ordered = workload.chained, workload.shared_adapter
        # What features leave of a link for the small crossings of steps.
        self.down_share, self.isl_share = 1.0 - network.shares.downlink, 1.0 - network.shares.isl
        self.busy, self.urgent_first = busy, urgent_first
        self.forward_s = workload.backbone_forward_flops / rates.ground_flops
        self.backward_s = workload.backbone_backward_flops / rates.ground_flops
        self.message_s, self.micro_batches = rates.message_s, workload.micro_batches
        self.head_s = workload.head_flops / rates.satellite_flops if workload.chained else 0.0
        self.head_training_s = workload.epochs * workload.head_flops / rates.satellite_flops
        self.log = AnswerLog(workload, network.links.plane.tolist())
        self.order: list[tuple] = []
        self.free_s = self.start_s
        self.booked: dict[tuple, LinkState] = {}  # by session and way, or by node and peer
        self.paths: dict[tuple[int, int, float], Path | None] = {}
        # Of a session and satellite, the path that was asked for last: from when on it holds, and until when.
        self.last_path: dict[tuple[int, int], tuple[float, float, Path | None]] = {}
        self.alike: dict[Path, Path] = {}  # one object per path, however often it is found
        self.distance_s: dict[int, float] = {}  # light time of the way of a satellite's last answer
        self.latest: dict[int, int] = {}  # the session that answered a satellite last
        self.group = network.links.group.tolist()
        self.network = network
        self._hold_sessions(sessions)
        self.held_until_s = sessions["data_s"].copy()
        self.booked_over: list[tuple[tuple, LinkState]] = []  # links as they were before they were booked
        # Of the last step, from the end of its forward pass to the start of its backward pass.
        self.round_trip_s = 0.1

    def _hold_sessions(self, sessions: np.ndarray) -> None:
        """Send answers through these sessions."""
        self.sessions = sessions
        one_pass = self.network.contacts[sessions["pass_index"]]
        self.up_bps, self.down_bps = one_pass["up_bps"].tolist(), one_pass["down_bps"].tolist()
        self.owlt_s = one_pass["owlt_s"].tolist()
        self.gateway, self.station = sessions["satellite"].tolist(), sessions["station"].tolist()
        self.data_s, self.limit_s = sessions["data_s"].tolist(), sessions["limit_s"].tolist()
        # By data_s, of each group.
        self.sessions_of: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for label in np.unique(sessions["group"]).tolist():
            of_group = np.flatnonzero(sessions["group"] == label)
            of_group = of_group[np.argsort(sessions["data_s"][of_group], kind="stable")]
            self.sessions_of[label] = (sessions["data_s"][of_group], sessions["limit_s"][of_group], of_group)

    @cached_property
    def further(self) -> FurtherSessions:
        """Free antenna and beam time beside the given sessions."""
        contacts, links = self.network.contacts, self.network.links
        return FurtherSessions(
            contacts,
            links.group[contacts["satellite"]],
            sessions=self.sessions,
            resources=self.network.problem.resources,
        )

    def run(
        self, blocks: Sequence[FeatureChunk], done: np.ndarray, *, below_s: float = math.inf
    ) -> Steps | None:
        """All steps of ``blocks``, ``workload.passes`` times, less ``done[k]`` samples times passes.

        None as soon as the work that is left, done without a pause, would not end before
        ``below_s``.
        """
        self.chains = chains_of(blocks, self.workload.passes, self.workload.micro_batch, done)
        self.todo = sum(chain.left() for chain in self.chains.values())
        # What satellites have left, most first, as it was when each was last at the head of the queue: it only shrinks.
        self.longest = [(-chain.left(), satellite) for satellite, chain in self.chains.items()]
        heapq.heapify(self.longest)
        self.finish_s = np.full(len(done), self.start_s)
        self.beyond, self.left = np.zeros((2, len(done)), int)
        begun = sorted((chain.features_s(), satellite) for satellite, chain in self.chains.items())
        # They go so many at a time, first features first, so that satellites finish early; among those all
        # advance together, which keeps the ground busy to the end of the last.
        self.rank = {
            satellite: -((len(begun) - 1 - i) // _TOGETHER) for i, (_, satellite) in enumerate(begun)
        }
        self.waiting: list[tuple[float, int]] = begun
        self.ready: list[tuple] = []
        # Forward passes whose backward pass is to come: in order, or by when their gradients are there.
        self.flight: list[tuple[float, int, _Batch]] = []
        self.batches = 0
        sample_s = self.forward_s + self.backward_s
        while self.waiting or self.ready or self.flight:
            if self.free_s + self.todo * sample_s >= below_s:
                return None
            backward_s, forward_s = self._next_backward_s(), self._next_forward_s()
            if backward_s <= forward_s:
                self._backward(backward_s)
            else:
                self._forward(forward_s)
        head = self._train_heads() if not self.chained and self.workload.head_flops else activities(0)
        order = np.array(self.order, STEP) if self.order else np.empty(0, STEP)
        order = order[
            np.argsort(order["batch"], kind="stable")
        ]  # the ground answers members in the planned order
        return Steps(
            self.finish_s,
            np.concatenate([self.log.activities(), head]),
            sessions=self.sessions,
            held_until_s=self.held_until_s,
            beyond=self.beyond,
            left=self.left,
            end_s=max(self.free_s, float(self.finish_s.max(initial=self.start_s))),
            order=order,
        )

    def _next_backward_s(self) -> float:
        if not self.flight:
            return math.inf
        return max(self.free_s, self.flight[0][2].backward_s)

    def _next_forward_s(self) -> float:
        """When the next forward pass begins, as far as is known now."""
        if self.ordered and len(self.flight) > self.workload.gradient_delay:
            return math.inf
        while self.waiting and self.waiting[0][0] <= self.free_s:
            since_s, satellite = heapq.heappop(self.waiting)
            heapq.heappush(self.ready, (*self._precedence(satellite), since_s, satellite))
        if not self.ready:
            return self.waiting[0][0] if self.waiting else math.inf
        if not self.ordered or not self.waiting:
            return self.free_s
        return self._worth_waiting_s()

    def _precedence(self, satellite: int) -> tuple[float, ...]:
        """Return the sort key of a satellite in the queue; the smallest goes first.

        With ``urgent_first`` that is the satellite with the least slack, otherwise the one with the most samples left.
        For a shared adapter, ties go to the satellite farthest from the ground, so that satellites at similar distances
        share a step.
        """
        left = self.chains[satellite].left()
        if self.ordered:
            return -left, -self.distance_s.get(satellite, 0.0)
        if not self.urgent_first:
            return self.rank[satellite], -left
        return self.rank[satellite], self._over_s(satellite) - left * (self.forward_s + self.backward_s)

    def _over_s(self, satellite: int) -> float:
        """When the last session of a satellite's group has to be over."""
        held = self.sessions_of.get(self.group[satellite])
        return float(held[1].max()) if held else self.start_s

    def _worth_waiting_s(self) -> float:
        """When a step of a shared adapter is to begin, so that most samples are learnt from per second.

        Every step costs a round trip, however many satellites take part; waiting for one more costs time, too.
        """
        most = self._members_at_most()
        ready = len(self.ready)
        if ready >= most:
            return self.free_s
        computed_s = self.workload.micro_batch * (self.forward_s + self.backward_s) + 2.0 * self.message_s
        best_s, best = self.free_s, ready / (self.round_trip_s + ready * computed_s)
        for position, (since_s, _) in enumerate(heapq.nsmallest(most - ready, self.waiting), ready + 1):
            if since_s > self.free_s + self.round_trip_s:
                break
            rate = position / (since_s - self.free_s + self.round_trip_s + position * computed_s)
            if rate > best:
                best_s, best = since_s, rate
        return best_s

    def _members_at_most(self) -> int:
        """How many satellites a step takes: with a shared adapter no more than let all end together.

        There cannot be fewer steps than the satellite with most samples has. Where others have less, they are spread
        over all of them: a round whose last steps are those of one satellite alone learns worse.
        """
        most = self.workload.satellites_per_step
        if not self.ordered:
            return most
        return min(most, max(1, -(-self.todo // max(self._longest(), 1))))

    def _longest(self) -> int:
        """Samples times epochs that the satellite with most of them has left."""
        if not self.longest:
            return 1
        while -self.longest[0][0] > (left := self.chains[self.longest[0][1]].left()):
            heapq.heapreplace(self.longest, (-left, self.longest[0][1]))
        return -self.longest[0][0]

    def _forward(self, start_s: float) -> None:
        """Make the forward pass of the satellites that are ready at ``start_s``, and plan all up to the gradients."""
        self.free_s = start_s
        while self.waiting and self.waiting[0][0] <= start_s:
            since_s, satellite = heapq.heappop(self.waiting)
            heapq.heappush(self.ready, (*self._precedence(satellite), since_s, satellite))
        members: list[_Member] = []
        most = self._members_at_most()
        while self.ready and len(members) < most:
            satellite = heapq.heappop(self.ready)[-1]
            chain = self.chains[satellite]
            members.append(
                _Member(satellite, chain.block, epoch=chain.epoch, first=chain.first, end=chain.end)
            )
        members = self._answered(members, start_s)
        if not members:
            return
        computed_s = start_s + self._length_s(members, self.forward_s)
        for member in members:
            self._hold(member)
        length_s = self._length_s(members, self.backward_s)
        backward_s = max(self._backward_from_s(member, length_s) for member in members)
        batch = _Batch(
            self.batches,
            members,
            updates=self.batches - len(self.flight),
            start_s=start_s,
            computed_s=computed_s,
            backward_s=backward_s,
            length_s=length_s,
        )
        self.batches += 1
        self.free_s = computed_s
        if not self.chained:
            self._end(batch, batch.backward_s, computed_s)
        else:
            due_s = 0.0 if self.ordered else batch.backward_s
            heapq.heappush(self.flight, (due_s, batch.number, batch))

    def _backward(self, start_s: float) -> None:
        batch = heapq.heappop(self.flight)[2]
        end_s = start_s + batch.length_s
        self.free_s = end_s
        self.round_trip_s = start_s - batch.computed_s
        self._end(batch, end_s, end_s)

    def _end(self, batch: _Batch, end_s: float, next_s: float) -> None:
        """The step is over at ``end_s``; the satellites may begin their next at ``next_s``."""
        for member in batch.members:
            satellite, chain, count = (
                member.satellite,
                self.chains[member.satellite],
                member.end - member.first,
            )
            assert member.answer is not None
            over_s = end_s if self.chained else member.answer.head[0]
            ground = (batch.start_s, end_s if self.chained else next_s)
            self.log.add(
                satellite, member.block, member.epoch, member.first, member.end, ground, member.answer
            )
            self.order.append(
                (
                    batch.number, satellite, chain.step, member.first, member.end, member.epoch,
                    member.answer.path.gateway, member.answer.path.station,
                    batch.updates if self.ordered else 0, batch.start_s, over_s,
                )
            )  # fmt: skip
            self.finish_s[satellite] = max(self.finish_s[satellite], over_s)
            self.todo -= count
            if chain.advance():
                heapq.heappush(self.waiting, (max(next_s, chain.features_s()), satellite))

    def _train_heads(self) -> np.ndarray:
        """In mode head every satellite trains its head when its last hidden states are on board."""
        finished = np.array([k for k in sorted(self.chains) if not self.left[k]], int)
        samples = np.array([self.chains[k].samples for k in finished.tolist()], int)
        begin_s = self.finish_s[finished]
        self.finish_s[finished] = begin_s + samples * self.head_training_s
        return activities(
            len(finished),
            kind=Kind.HEAD,
            satellite=finished,
            node=finished,
            start_s=begin_s,
            end_s=self.finish_s[finished],
            flops=samples * self.workload.head_flops * self.workload.epochs,
            end_sample=samples,
        )

    def _length_s(self, members: Sequence[_Member], sample_s: float) -> float:
        """How long a forward or backward pass takes the ground, messages included."""
        count = 0
        for member in members:
            count += member.end - member.first
        return count * sample_s + self.message_s * len(members) * self.micro_batches

    def _answered(self, members: list[_Member], start_s: float) -> list[_Member]:
        """Those of a step from ``start_s`` on whom the ground can answer, with their answers; the others wait."""
        before = len(self.booked_over)
        while members:
            length_s = self._length_s(members, self.forward_s)
            for member in members:
                retry_s = self._answer(member, start_s, length_s)
                if retry_s is None:
                    continue
                if math.isinf(retry_s):
                    retry_s = self._further_s(self.group[member.satellite], start_s)
                if math.isfinite(retry_s):
                    heapq.heappush(self.waiting, (max(retry_s, start_s + 1e-3), member.satellite))
                else:
                    self.left[member.satellite] = self.chains[member.satellite].left()
                    self.todo -= self.left[member.satellite]
                # Without it the pass is shorter, and all answers leave sooner.
                members = [other for other in members if other is not member]
                self._roll_back(before)
                break
            else:
                slow = self._slow(members, start_s)
                if not slow:
                    break
                self._roll_back(before)
                members = [member for member in members if member not in slow]
                for member in slow:
                    satellite = member.satellite
                    heapq.heappush(self.ready, (*self._precedence(satellite), start_s, satellite))
        self.booked_over.clear()
        return members

    def _further_s(self, label: int, from_s: float) -> float:
        """Take a further session for a group and return from when on it carries data; infinity where there is none."""
        sample_s = self.forward_s + self.backward_s
        least_s = self.round_trip_s + self.workload.micro_batch * sample_s + _SPARE_S
        left = []
        for satellite, chain in self.chains.items():
            if self.group[satellite] == label:
                left.append(chain.left())
                self.beyond[satellite] = self.beyond[satellite] or chain.left()
        wanted_s = max(sum(left) * sample_s, max(left) / self.workload.micro_batch * least_s)
        taken = self.further.take(label, from_s, least_s=least_s, wanted_s=wanted_s)
        if not len(taken):
            return math.inf
        self._hold_sessions(np.concatenate([self.sessions, taken]))
        self.held_until_s = np.concatenate([self.held_until_s, taken["data_s"]])
        return float(taken["data_s"][0])

    def _slow(self, members: Sequence[_Member], start_s: float) -> list[_Member]:
        """Those of a step whose gradients come much later than the first, where they need not share one."""
        if self.ordered or not self.chained or len(members) == 1:
            return []
        there_s = [member.answer.parts_s[-1] for member in members if member.answer is not None]
        latest_s = min(there_s) + _ALIKE * (min(there_s) - start_s)
        return [member for member, end_s in zip(members, there_s, strict=True) if end_s > latest_s]

    def _roll_back(self, length: int) -> None:
        """Undo what was booked on links since this list had such a length."""
        while len(self.booked_over) > length:
            key, value = self.booked_over.pop()
            self.booked[key] = value

    def _answer(self, member: _Member, start_s: float, length_s: float) -> float | None:
        """Find and book a member's answer; None, or when to try again where there is none (infinity: never)."""
        block, satellite = member.block, member.satellite
        label = self.group[satellite]
        tried = set()
        best: Answer | None = None
        if block.session >= 0 or satellite in self.latest:
            for session in dict.fromkeys((block.session, self.latest.get(satellite, block.session))):
                tried.add(session)
                answer = self._within(session, member, start_s, length_s)
                if answer is not None and answer.uplink[0] <= start_s + length_s + _QUEUED_S:
                    self._book(member, answer)
                    return None
                best = _sooner(best, answer)
        live, retry_s = self._live(label, start_s)
        flight_s = [self.routes.tree(self.gateway[s], start_s).flight_s[satellite] for s in live]
        for position in np.argsort(flight_s, kind="stable").tolist():
            if live[position] in tried:
                continue
            answer = self._within(live[position], member, start_s, length_s)
            best = _sooner(best, answer)
            if answer is not None and answer.uplink[0] <= start_s + length_s + _QUEUED_S:
                break
        if best is None:
            return retry_s
        self._book(member, best)
        return None

    def _book(self, member: _Member, answer: Answer) -> None:
        member.answer = answer
        for key, state in answer.booked:
            self.booked_over.append((key, self.booked.get(key, _NEVER)))
            self.booked[key] = state

    def _hold(self, member: _Member) -> None:
        """The session is held until the answer is over."""
        answer = member.answer
        assert answer is not None
        session = answer.path.session
        self.distance_s[member.satellite] = answer.path.light_s
        if session != member.block.session:
            self.latest[member.satellite] = session
        self.held_until_s[session] = max(self.held_until_s[session], answer.downlink[1], answer.uplink[1])

    def _backward_from_s(self, member: _Member, length_s: float) -> float:
        """When a backward pass of ``length_s`` may begin, so that all parts of a member's gradients come in time."""
        assert member.answer is not None
        parts = member.answer.parts_s
        if len(parts) == 1:
            return parts[0]
        return max(there_s - length_s * part / len(parts) for part, there_s in enumerate(parts))

    def _live(self, label: int, now_s: float) -> tuple[list[int], float]:
        """The sessions that a group holds now, and when to ask again if none of them will do."""
        if label not in self.sessions_of:
            return [], math.inf
        data_s, limit_s, index = self.sessions_of[label]
        begun = int(np.searchsorted(data_s, now_s, side="right"))
        live = np.flatnonzero(limit_s[:begun] > now_s)
        retry_s = float(data_s[begun]) if begun < len(data_s) else np.inf
        if (limit_s[live] > self.routes.until_s(now_s)).any():
            retry_s = min(retry_s, self.routes.until_s(now_s))
        return index[live].tolist(), retry_s

    def _within(self, session: int, member: _Member, start_s: float, length_s: float) -> Answer | None:
        """The answer through a session, if that is held from the forward pass to the end of the answer."""
        if session < 0 or not self.data_s[session] <= start_s < self.limit_s[session]:
            return None
        answer = self._travel(session, member, start_s, length_s)
        if answer is None or max(answer.downlink[1], answer.uplink[1]) > self.limit_s[session] - _SPARE_S:
            return None
        return answer

    def _path(self, session: int, satellite: int, time_s: float) -> Path | None:
        last = self.last_path.get((session, satellite))
        if last is None or not last[0] <= time_s < last[1]:
            path = self._path_since(session, satellite, time_s)
            last = self.routes.since_s(time_s), self.routes.until_s(time_s), path
            self.last_path[session, satellite] = last
        return last[2]

    def _path_since(self, session: int, satellite: int, time_s: float) -> Path | None:
        key = (session, satellite, self.routes.since_s(time_s))
        if key not in self.paths:
            tree = self.routes.tree(self.gateway[session], time_s)
            self.paths[key] = None
            if np.isfinite(tree.flight_s[satellite]):
                nodes = tree.path(satellite)
                path = Path(
                    session,
                    self.gateway[session],
                    station=self.station[session],
                    down=self._hops(nodes, time_s),
                    up=self._hops(nodes[::-1], time_s),
                    ground_owlt_s=self.owlt_s[session],
                )
                self.paths[key] = self.alike.setdefault(path, path)
        return self.paths[key]

    def _stored(self, session: int, satellite: int, time_s: float, bits: float) -> Path | None:
        """A way to a satellite on which messages wait for links to open."""
        gateway = self.gateway[session]
        sent_s = time_s + self.owlt_s[session]
        hops = self.routes.foremost(
            gateway, satellite, sent_s, bits, lambda node, peer: self.booked.get((node, peer), _NEVER)[0]
        )
        if not hops:
            return None
        up = tuple(self._hop(node, peer, begin_s, since_s=begin_s) for node, peer, begin_s in hops)
        path = Path(
            session,
            gateway,
            station=self.station[session],
            down=(),
            up=up,
            ground_owlt_s=self.owlt_s[session],
        )
        return self.alike.setdefault(path, path)

    def _hops(self, nodes: Sequence[int], time_s: float) -> tuple[AnswerHop, ...]:
        return tuple(self._hop(node, peer, time_s) for node, peer in itertools.pairwise(nodes))

    def _hop(self, node: int, peer: int, time_s: float, *, since_s: float = -math.inf) -> AnswerHop:
        """Return the link of a pair as it is at ``time_s``."""
        rate_bps, owlt_s, until_s = self.routes.link(node, peer, time_s)
        return AnswerHop(node, peer, rate_bps=rate_bps, owlt_s=owlt_s, until_s=until_s, since_s=since_s)

    def _travel(self, session: int, member: _Member, start_s: float, length_s: float) -> Answer | None:
        """There and back through a session, or None where links are shut on one of the ways.

        A message takes a link at its full rate, ahead of features; the next one waits until what features leave of the
        link has carried both.
        """
        count = member.end - member.first
        parts = min(self.micro_batches, count)
        up_bits, down_bits = count * self.up_bits / parts, count * self.down_bits / parts
        head_s = self.message_s + count * self.head_s / parts if self.chained else 0.0
        booked: dict[tuple, LinkState] = {}
        uplink, head, downlink = list[Window](), list[Window](), list[Window]()  # of each part
        up_hops, down_hops = list[list[Window]](), list[list[Window]]()
        there_s: list[float] = []
        path = back = None
        trained_s = -math.inf  # the head takes one part after the other
        for part in range(1, parts + 1):
            time_s = start_s + length_s * part / parts
            uplink.append(self._send((session, "up"), time_s, up_bits, self.up_bps[session], 1.0, booked))
            time_s = uplink[-1][1]
            if path is None:
                path = self._path(session, member.satellite, time_s)
                if path is None and not self.chained:
                    path = self._stored(session, member.satellite, time_s, up_bits)
                if path is None:
                    return None
            time_s = self._relay(path.up, up_hops, time_s + path.ground_owlt_s, up_bits, booked)
            if time_s == math.inf:
                return None
            board_s = time_s if time_s > trained_s else trained_s
            time_s = trained_s = board_s + head_s
            head.append((board_s, time_s))
            if not self.chained:
                there_s.append(board_s)
                continue
            if back is None:
                back = self._path(session, member.satellite, time_s)
                if back is None:
                    return None
            time_s = self._relay(back.down, down_hops, time_s, down_bits, booked)
            if time_s == math.inf:
                return None
            link = (session, "down")
            share = self.down_share if self.busy.at(link, time_s) else 1.0
            downlink.append(self._send(link, time_s, down_bits, self.down_bps[session], share, booked))
            there_s.append(downlink[-1][1] + back.ground_owlt_s)
        assert path is not None
        trained = _spanned(head)
        return Answer(
            path, back or path, uplink=_spanned(uplink), up_hops=_spanned_hops(up_hops), head=trained,
            down_hops=_spanned_hops(down_hops), downlink=_spanned(downlink or [(trained[0], trained[0])]),
            parts_s=tuple(there_s), booked=tuple(booked.items()),
        )  # fmt: skip

    def _relay(
        self,
        hops: Sequence[AnswerHop],
        windows: list[list[Window]],
        time_s: float,
        bits: float,
        booked: dict[tuple, LinkState],
    ) -> float:
        """When a message that is at the first node of ``hops`` is at the last; infinite where a link has shut.

        When it takes each of them is appended to ``windows``.
        """
        taken: list[Window] = []
        for hop in hops:
            key = hop.key
            share = self.isl_share if self.busy.at(key, time_s) else 1.0
            window = self._send(
                key, hop.since_s if hop.since_s > time_s else time_s, bits, hop.rate_bps, share, booked
            )
            if window[1] > hop.until_s:
                return math.inf
            taken.append(window)
            time_s = window[1] + hop.owlt_s
        windows.append(taken)
        return time_s

    def _send(
        self,
        key: tuple,
        ready_s: float,
        bits: float,
        rate_bps: float,
        share: float,
        booked: dict[tuple, LinkState],
    ) -> Window:
        """When a message takes a link: from when its turn comes, at the full rate.

        Messages go as they come, also before those that were booked first and come later: they fit into the latest time
        in which the link was left free.  All together get no more than their ``share`` of the link, but for bursts of
        ``BURST_S``.
        """
        # The hottest lines of the planner: comparisons cost a third of what ``max`` does.
        free_s, virtual_s, gap_s, until_s = booked.get(key) or self.booked.get(key, _NEVER)
        length_s = bits / rate_bps if bits else 0.0
        begin_s = gap_s if gap_s > ready_s else ready_s
        if virtual_s - BURST_S > begin_s:
            begin_s = virtual_s - BURST_S
        end_s = begin_s + length_s
        if end_s <= until_s:
            gap_s = end_s
        else:
            if free_s > begin_s:
                begin_s = free_s
            end_s = begin_s + length_s
            if begin_s > free_s:
                gap_s, until_s = free_s, begin_s
            free_s = end_s
        virtual_s = (virtual_s if virtual_s > begin_s else begin_s) + length_s / share
        booked[key] = free_s, virtual_s, gap_s, until_s
        return begin_s, end_s


def _spanned(windows: Sequence[Window]) -> Window:
    """From the start of the first to the end of the last."""
    if len(windows) == 1:
        return windows[0]
    return min(begin_s for begin_s, _ in windows), max(end_s for _, end_s in windows)


def _spanned_hops(parts: Sequence[Sequence[Window]]) -> tuple[Window, ...]:
    """Of each hop, the windows of all parts together."""
    return tuple(parts[0]) if len(parts) == 1 else tuple(map(_spanned, zip(*parts, strict=True)))


def _sooner(first: Answer | None, second: Answer | None) -> Answer | None:
    if first is None or second is None:
        return first or second
    return second if second.parts_s[-1] < first.parts_s[-1] else first
