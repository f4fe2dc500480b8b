"""An independent judge of asynchronous missions: replays every update, and names what cannot be.

Antennas, beams, windows, links and computers are judged as those of a round are; what a round does not have is judged
here: which average each update was trained from, and what each average is made of.  Nothing is taken from the planner
but the mission itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.asynchronous.mission import (
    AsyncMission,
    AsyncSchedule,
    Buffer,
    Unit,
    linked_groups,
    members_of,
)
from strategies.checker import capacity
from strategies.checker.check import refuse
from strategies.checker.form import form, times, windows
from strategies.checker.judged_plan import SAME, SLACK_S, JudgedPlan, Violation
from strategies.checker.sessions import antennas
from strategies.checker.steps import Hops
from strategies.problem.plan import Kind
from strategies.problem.planning_problem import PlanningProblem

_SGL = (LinkKind.DOWNLINK, LinkKind.UPLINK)


def check_mission(
    mission: AsyncMission, problem: PlanningProblem, schedule: AsyncSchedule
) -> list[Violation]:
    """Return all violations of a mission, none for one that solves the problem by its schedule and can be flown."""
    judged = JudgedPlan(mission.plan, problem)
    replay = _Replay(judged, mission, schedule=schedule)
    return list(
        itertools.chain(
            form(judged),
            times(judged),
            windows(judged),
            antennas(judged),
            capacity.links(judged, Hops.of([])),
            capacity.computers(judged),
            capacity.charge(judged),
            replay.members(),
            replay.averages(),
            replay.cycles(),
            replay.end(),
        )
    )


def require_flyable(mission: AsyncMission, problem: PlanningProblem, schedule: AsyncSchedule) -> None:
    """Raise ``InfeasiblePlanError`` with the first violations of ``check_mission``, if there is any."""
    refuse(check_mission(mission, problem, schedule))


@dataclass(frozen=True, eq=False)
class _Cycle:
    """The activities of one update, or of the way up of the last average (``delivered_s`` is None)."""

    satellites: Sequence[int]
    rows: np.ndarray  # indices
    _: KW_ONLY
    base: int
    base_s: float  # when that average was made
    delivered_s: float | None


@dataclass(frozen=True, eq=False)
class _Replay:
    judged: JudgedPlan
    mission: AsyncMission
    _: KW_ONLY
    schedule: AsyncSchedule

    def members(self) -> Iterator[Violation]:
        """Members are those of the problem, and each row of the tables is of one of them."""
        problem = self.judged.problem
        if self.mission.members != members_of(problem.contact_plan, problem.workload, self.schedule.unit):
            yield Violation("member", "the members are not the satellites with images, alone or by plane")
        for table in (self.mission.updates, self.mission.returns):
            if len(table) and not (
                0 <= table["member"].min() <= table["member"].max() < len(self.mission.members)
            ):
                yield Violation("member", "a row is of a member that there is not")
        if sorted(self.mission.returns["member"].tolist()) != list(range(len(self.mission.members))):
            yield Violation("average", "the last average goes up to each member once")

    def averages(self) -> Iterator[Violation]:
        """Each update is part of the first average after it came; averages are made when the schedule says so."""
        updates, made_s = self.mission.updates, self.mission.averaged_s
        came_s, version = updates["delivered_s"], updates["version"]
        if (np.diff(made_s) < 0).any() or (np.diff(came_s) < 0).any():
            yield Violation("average", "averages or updates are not in the order of time")
        first = np.searchsorted(made_s, came_s - SLACK_S) + 1
        for index in np.flatnonzero((version < first) | (version > len(made_s)))[:10]:
            yield Violation("average", f"update {index} is part of average {version[index]}, before it came")
        if (np.diff(version) < 0).any() or sorted(set(version.tolist())) != list(range(1, len(made_s) + 1)):
            yield Violation(
                "average", "an update is left over for a later average, or an average is made of nothing"
            )
        counts = np.bincount(version, minlength=len(made_s) + 1)[1:]
        goal, averages = self.mission.goal, len(made_s)
        before = goal.is_reached(int(counts[:-1].sum()), averages - 1)
        if before or not goal.is_reached(int(counts.sum()), averages):
            yield Violation(
                "average",
                f"the mission ends after {counts.sum()} updates in {averages} averages, wanted {goal}",
            )
        trigger = self.schedule.trigger
        if isinstance(trigger, Buffer):
            size = trigger.size(len(self.mission.members))
            is_cut = len(updates) == goal.updates  # the last takes what there is
            for index in np.flatnonzero((counts[:-1] if is_cut else counts) != size)[:10]:
                yield Violation(
                    "average", f"average {index + 1} is of {counts[index]} updates, wanted {size}"
                )
            last_s = np.array(
                [came_s[version == number].max(initial=-np.inf) for number in range(1, len(counts) + 1)]
            )
            late = np.abs(last_s - made_s) > SLACK_S
        else:
            slot = (made_s - self.judged.plan.start_s) / trigger.slot_s
            late = np.abs(slot - np.round(slot)) * trigger.slot_s > SLACK_S
        for index in np.flatnonzero(late)[:10]:
            yield Violation(
                "average", f"average {index + 1} is made at {made_s[index]:.3f} s, which is not its time"
            )

    def cycles(self) -> Iterator[Violation]:
        """Every update is trained from its average and comes down; the last average goes up; nothing else happens."""
        rows, of_member = self.judged.rows, self._owner[self.judged.rows["satellite"]]
        acting = rows["kind"] != Kind.SESSION
        for member, satellites in enumerate(self.mission.members):
            own = np.flatnonzero(acting & (of_member == member))
            yield from self._of_member(member, satellites, own)
        for row in rows[acting & (of_member < 0)][:10]:
            yield Violation("member", f"{self.judged.words(row)} is of no member")

    @cached_property
    def _owner(self) -> np.ndarray:
        """The member that a satellite belongs to, or relays for in its plane; -1 for none, and for the last entry."""
        owner, group = np.full(self.judged.satellites + 1, -1), linked_groups(self.judged.contact_plan)
        for member, satellites in enumerate(self.mission.members):
            owner[list(satellites)] = member
            if self.schedule.unit is Unit.PLANE:
                owner[:-1][group == group[satellites[0]]] = member
        return owner

    def end(self) -> Iterator[Violation]:
        """The mission ends when all have the last average."""
        received_s = float(self.mission.returns["received_s"].max(initial=-np.inf))
        if abs(received_s - self.mission.plan.end_s) > SLACK_S:
            yield Violation("end", f"the mission ends at {self.mission.plan.end_s} s, wanted {received_s} s")

    def _of_member(self, member: int, satellites: Sequence[int], own: np.ndarray) -> Iterator[Violation]:
        updates = self.mission.updates[self.mission.updates["member"] == member]
        back = self.mission.returns[self.mission.returns["member"] == member]
        if len(back) != 1:
            return  # see members
        begin_s = np.concatenate([updates["begin_s"], back["begin_s"]])
        base = np.append(updates["base"], len(self.mission.averaged_s))
        name = self.judged.name(satellites[0])
        if (np.diff(begin_s) < 0).any() or (np.diff(base) <= 0).any() or base[0] < 0:
            yield Violation("average", f"{name}: it does not train from a newer average each time")
            return
        if (updates["delivered_s"] > begin_s[1:] + SLACK_S).any():
            yield Violation("average", f"{name}: an average goes up before the update before it is down")
        cycle_of = np.searchsorted(begin_s - SLACK_S, self.judged.rows["start_s"][own], side="right") - 1
        for row in self.judged.rows[own[cycle_of < 0]][:5]:
            yield Violation("average", f"{self.judged.words(row)} is of no update")
        for number in range(len(begin_s)):
            is_update = number < len(updates)
            cycle = _Cycle(
                satellites, own[cycle_of == number], base=int(base[number]),
                base_s=self._made_s(int(base[number])),
                delivered_s=float(updates["delivered_s"][number]) if is_update else None,
            )  # fmt: skip
            received_s = yield from self._way_up(cycle)
            if is_update:
                yield from self._way_down(cycle, received_s)
            elif abs(max(received_s.values()) - back["received_s"][0]) > SLACK_S:
                yield Violation(
                    "end", f"{name}: has the last average at {max(received_s.values())} s, not as it says"
                )

    def _made_s(self, version: int) -> float:
        return float(self.mission.averaged_s[version - 1]) if version else self.judged.plan.start_s

    def _arrival_s(self, index: np.ndarray) -> np.ndarray:
        return self.judged.rows["end_s"][index] + self.judged.owlt_s[index]

    def _is(self, cycle: _Cycle, kind: Kind, sgl: bool) -> np.ndarray:
        rows = self.judged.rows[cycle.rows]
        return cycle.rows[(rows["kind"] == kind) & (np.isin(rows["link"], _SGL) == sgl)]

    def _way_up(self, cycle: _Cycle) -> Generator[Violation, None, dict[int, float]]:
        """The average comes to all satellites of a member; returns when each has it."""
        rows, up, outward = (
            self.judged.rows,
            self._is(cycle, Kind.UPDATE, True),
            self._is(cycle, Kind.UPDATE, False),
        )
        if cycle.base == 0:
            if len(up) or len(outward):
                yield Violation("average", f"{self.judged.name(cycle.satellites[0])}: what all have goes up")
            return dict.fromkeys(cycle.satellites, cycle.base_s)
        yield from self._amount(up, self.judged.workload.update_bytes)
        if (rows["start_s"][up] < cycle.base_s - SLACK_S).any():
            yield Violation(
                "average", f"{self.judged.words(rows[up[0]])} begins before average {cycle.base} is made"
            )
        has_s = dict.fromkeys(cycle.satellites, np.inf)
        if len(up):
            has_s[int(rows["peer"][up[0]])] = float(self._arrival_s(up).max())
        if len(np.unique(rows["peer"][up])) > 1:
            yield Violation(
                "average", f"{self.judged.words(rows[up[0]])} and others: one average goes to several"
            )
        for index in outward[np.argsort(rows["start_s"][outward], kind="stable")]:
            row = rows[index]
            yield from self._amount(np.array([index]), self.judged.workload.update_bytes)
            if row["start_s"] < has_s.get(int(row["node"]), np.inf) - SLACK_S:
                yield Violation(
                    "average", f"{self.judged.words(row)} begins before its satellite has the average"
                )
            arrival_s = float(self._arrival_s(np.array([index]))[0])
            has_s[int(row["peer"])] = min(has_s.get(int(row["peer"]), np.inf), arrival_s)
        for satellite in cycle.satellites:
            if not np.isfinite(has_s[satellite]):
                yield Violation("average", f"{self.judged.name(satellite)} does not get average {cycle.base}")
        return {satellite: has_s[satellite] for satellite in cycle.satellites}

    def _way_down(self, cycle: _Cycle, received_s: dict[int, float]) -> Iterator[Violation]:
        """All train on their average; what they have summed goes down as a whole, from one satellite."""
        complete_s = yield from self._trained(cycle, received_s)
        rows, due = self.judged.rows, self.judged.workload.aggregate_bytes
        inward, down = self._is(cycle, Kind.REDUCE, False), self._is(cycle, Kind.REDUCE, True)
        holds = {satellite: {satellite} for satellite in cycle.satellites}  # whose weights are in its sum
        sent: set[int] = set()
        for index in inward[np.argsort(rows["start_s"][inward], kind="stable")]:
            row, node, peer = rows[index], int(rows["node"][index]), int(rows["peer"][index])
            yield from self._amount(np.array([index]), due)
            if row["start_s"] < complete_s.get(node, np.inf) - SLACK_S or node in sent:
                yield Violation("average", f"{self.judged.words(row)}: it has not heard all, or sends twice")
            sent.add(node)
            holds[peer] = holds.get(peer, set()) | holds.get(node, set())
            arrival_s = float(self._arrival_s(np.array([index]))[0])
            complete_s[peer] = max(complete_s.get(peer, -np.inf), arrival_s)
        with_samples = self.judged.workload.c1_bytes * sum(
            self.judged.workload.samples[satellite] for satellite in cycle.satellites
        )
        yield from self._amount(down, due + with_samples)
        gateways = np.unique(rows["node"][down]).tolist()
        name = self.judged.name(cycle.satellites[0])
        if (
            len(gateways) != 1
            or gateways[0] in sent
            or holds.get(gateways[0], set()) != set(cycle.satellites)
        ):
            yield Violation("average", f"{name}: what goes down is not the sum of all")
            return
        over_s = self._pass_end_s(cycle) if self.schedule.one_way else -np.inf
        if rows["start_s"][down].min() < over_s - SLACK_S:
            yield Violation(
                "average", f"{self.judged.words(rows[down[0]])} begins in the pass of its average"
            )
        if rows["start_s"][down].min() < complete_s[gateways[0]] - SLACK_S:
            yield Violation("average", f"{self.judged.words(rows[down[0]])} begins before all is summed")
        arrival_s = float(self._arrival_s(down).max())
        if abs(arrival_s - (cycle.delivered_s or 0.0)) > SLACK_S:
            yield Violation(
                "end", f"{name}: an update is down at {arrival_s} s, which is not what the table says"
            )

    def _pass_end_s(self, cycle: _Cycle) -> float:
        """When the pass in which an average came is over: either direction of its link."""
        up = self._is(cycle, Kind.UPDATE, True)
        if not len(up):
            return -np.inf
        contacts = self.judged.contact_plan.contacts
        own = contacts[self.judged.contact[up[np.argmax(self.judged.rows["end_s"][up])]]]
        back = contacts[
            (contacts["source"] == own["target"]) & (contacts["target"] == own["source"])
            & (contacts["start_s"] < own["end_s"]) & (contacts["end_s"] > own["start_s"])
        ]  # fmt: skip
        return float(min(own["end_s"], back["end_s"].min(initial=np.inf)))

    def _trained(
        self, cycle: _Cycle, received_s: dict[int, float]
    ) -> Generator[Violation, None, dict[int, float]]:
        """Each satellite trains once, in whole rounds of its images; returns when each has its own weights."""
        rows, workload = self.judged.rows, self.judged.workload
        training = cycle.rows[rows["kind"][cycle.rows] == Kind.TRAIN]
        trained_s = dict.fromkeys(cycle.satellites, np.inf)
        for satellite in cycle.satellites:
            own = training[rows["node"][training] == satellite]
            times = float(rows["flops"][own].sum()) / (
                workload.samples[satellite] * workload.epochs * workload.onboard_flops
            )
            wanted = max(1, round(times)) if self.schedule.trains_on else 1
            if len(own) != 1 or abs(times - wanted) > SAME * wanted:
                yield Violation(
                    "amount",
                    f"{self.judged.name(satellite)}: {len(own)} trainings of {times:.6g} rounds, wanted one",
                )
                continue
            if rows["start_s"][own[0]] < received_s[satellite] - SLACK_S:
                yield Violation(
                    "average", f"{self.judged.words(rows[own[0]])} begins before its average is there"
                )
            trained_s[satellite] = float(rows["end_s"][own[0]])
        return trained_s

    def _amount(self, index: np.ndarray, due: float) -> Iterator[Violation]:
        sent = float(self.judged.rows["bytes"][index].sum())
        if not np.isclose(sent, due, rtol=SAME):
            yield Violation("amount", f"found {sent:.6g} bytes of weights, wanted {due:.6g}")
