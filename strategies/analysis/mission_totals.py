"""A whole mission of a case, round after round: hours, bytes over every kind of link, computing, and what binds.

Every case starts at the same time and ends at the same line: what is averaged is back on board of every satellite, and
a head that the ground has trained is there, too.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.asynchronous.checked_mission import checked_mission
from strategies.asynchronous.mission import AsyncMission, AsyncSchedule, Goal, members_of
from strategies.planner.checked_plan import checked_plan
from strategies.planner.plane_rounds import plan_plane_rounds
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, PowerDrawn, Resources, StrategyConfig, Workload
from strategies.uncertainty.outages import OutageModel

ON_BOARD, ON_GROUND = "computing on board", "computing on the ground"
DOWNLINK, UPLINK, ISL = "the downlink", "the uplink", "inter-satellite links"
CONTACTS, ROUND_TRIPS = "waiting for contacts", "round trips of the steps"
_BUSY = (ON_BOARD, ON_GROUND, DOWNLINK, UPLINK, ISL)
_BINDS = 0.5  # what is busy for so much of the time binds; below it, waiting does


@dataclass(frozen=True)
class Case:
    """A way to run the mission.

    Attributes:
        name: In words, as in JSON: ``split``, ``onboard-lora``.
        title: What it is, in a phrase.
        alias: The letter by which it was known, or "".
        workloads: Of each round, in their order; the mission has as many rounds.
        strategy_config: Its communication strategies.
        enrolment: What comes before round 1, where anything does.
        labels: How labels that are made on the ground go up after it, where they do.
        single: The round that stands for the case where only one is compared; the first by default.
        asynchronous: How the mission is run without rounds, where it is; it ends after as many updates of each member,
            in the mean, as there are workloads, each of which is the first of them.
        plane_rounds: Rounds of each plane by itself before all average; 0 averages over all in every round.
    """

    name: str
    title: str
    _: KW_ONLY
    alias: str = ""
    workloads: tuple[Workload, ...]
    strategy_config: StrategyConfig
    enrolment: Workload | None = None
    labels: Workload | None = None
    single: Workload | None = None
    asynchronous: AsyncSchedule | None = None
    plane_rounds: int = 0

    @property
    def one_round(self) -> Workload:
        """The round that stands for the case."""
        return self.single or self.workloads[0]

    @property
    def rounds(self) -> int:
        """Rounds of the mission."""
        return len(self.workloads)


@dataclass(frozen=True, eq=False)
class World:
    """Everything that all cases are planned with: plain data, so that another process can have it."""

    contact_plan: ContactPlan
    cases: tuple[Case, ...]
    _: KW_ONLY
    rates: ComputeRates
    resources: Resources
    outages: OutageModel | None = None  # what rounds are flown through where draws of them are asked for

    def problem(self, workload: Workload, start_s: float, state: RoundState | None = None) -> PlanningProblem:
        """Return a round in this world; without ``state`` it stands at its beginning."""
        return PlanningProblem(
            self.contact_plan,
            workload,
            rates=self.rates,
            resources=self.resources,
            start_s=start_s,
            state=state or RoundState(),
        )

    @cached_property
    def link_rates(self) -> LinkRates:
        """Rates of the contact plan's links."""
        return LinkRates(self.contact_plan)


@dataclass(frozen=True)
class MissionTotals:
    """Time, bytes and energy of a mission.

    Attributes:
        name: Of the case.
        start_s: Mission time at which it starts.
        end_s: When the last round has ended.
        rounds: How many rounds it has, what comes before them not counted.
        planned: Rounds that were planned; the others were interpolated between them.
        down_bytes: From satellites to stations, weights included.
        up_bytes: From stations to satellites.
        isl_bytes: Over links between satellites; every hop counts.
        ground_compute_s: Seconds in which the ground's computers work, all together at their rate.
        onboard_compute_s: Seconds in which satellites compute, added up over them.
        onboard_energy_j: Joules that satellites draw for computing and sending, as far as it is known; else ``None``.
        binds: What most of the time goes to.
        round_ends_s: When each round ends, mission time.
    """

    name: str
    start_s: float
    _: KW_ONLY
    end_s: float
    rounds: int
    planned: int
    down_bytes: float
    up_bytes: float
    isl_bytes: float
    ground_compute_s: float
    onboard_compute_s: float
    onboard_energy_j: float | None
    binds: str
    round_ends_s: tuple[float, ...]

    @property
    def length_s(self) -> float:
        """Return the duration of the mission."""
        return self.end_s - self.start_s

    def to_json(self) -> dict[str, Any]:
        """The totals as JSON values, without the name."""
        fields = dataclasses.asdict(self)
        del fields["name"]
        return {**fields, "length_s": self.length_s, "round_ends_s": list(self.round_ends_s)}


@dataclass(frozen=True)
class PlanFigures:
    """Sums over a plan: bytes by link, computing, and how long the busiest unit of each kind is at work."""

    length_s: float
    down_bytes: float
    _: KW_ONLY
    up_bytes: float
    isl_bytes: float
    ground_flops: float
    onboard_flops: float
    down_s: float  # in which satellites send to stations, added up over them
    isl_s: float  # in which they send to each other
    busy_s: dict[str, float]
    unserved_s: float  # without a session for the satellite that is done last

    def towards(self, other: PlanFigures, part: float) -> PlanFigures:
        """The figures so far on the straight way to another's."""

        def between(first: float, second: float) -> float:
            return first + part * (second - first)

        fields = [field.name for field in dataclasses.fields(self) if field.name != "busy_s"]
        values = {name: between(getattr(self, name), getattr(other, name)) for name in fields}
        busy_s = {name: between(self.busy_s[name], other.busy_s[name]) for name in _BUSY}
        return PlanFigures(**values, busy_s=busy_s)


# By workload, start and state of a round, and whether it is one of the mission: its figures, and the state it leaves.
PlannedRounds = dict[tuple[Workload, float, RoundState, bool], tuple[PlanFigures, RoundState]]


class LinkRates:
    """The mean rate of each ordered pair of nodes of a contact plan."""

    def __init__(self, contact_plan: ContactPlan) -> None:
        contacts = contact_plan.contacts
        self._nodes = len(contact_plan.nodes)
        pairs = contacts["source"].astype(np.int64) * self._nodes + contacts["target"]
        self._pairs, index = np.unique(pairs, return_inverse=True)
        self._mean_bps = np.bincount(index, contacts["rate_bps"]) / np.maximum(np.bincount(index), 1)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The rate in bit/s of the link of each activity, all of which must have one."""
        pairs = rows["node"].astype(np.int64) * self._nodes + rows["peer"]
        return self._mean_bps[np.searchsorted(self._pairs, pairs)]


def plan_mission(
    world: World,
    case: Case,
    start_s: float,
    *,
    most_planned: int | None = None,
    most_waiting: int | None = None,
    planned_before: PlannedRounds | None = None,
) -> MissionTotals:
    """Plan a mission round by round, each plan checked, each round beginning when the one before has ended.

    Antennas and lasers that point at each other at the end of a round need no set-up in the next.

    With ``most_planned`` no more than about so many rounds are planned: of every kind of round the first, and others
    spread over the mission. The rounds between two planned ones of a kind are interpolated over the bytes that cross,
    where these are the same over what is computed, and where that is, too, over the number of the round; see
    docs/conformance.md. Before a round that follows others which are passed over, the last of these is planned, too, so
    that antennas and lasers point as it would leave them; its own length depends on where they pointed before, and does
    not count.

    Rounds that wait for contacts are not alike, whatever crosses in them: with ``most_waiting``, about so many are
    planned where most of the time until the end of the first goes to that, and as many as there are would end within
    the contact plan if all took as long as the first.

    ``planned_before`` keeps the rounds of a case that were planned, for missions of the same case in the same world.

    Raises:
        strategies.problem.network.PlanningError: A round does not end within the contact plan.
    """
    rates = world.rates
    link_rates = LinkRates(world.contact_plan)
    state = RoundState()
    now_s = start_s
    planned_before = {} if planned_before is None else planned_before

    def figures_of(workload: Workload, *, is_round: bool = True) -> PlanFigures:
        nonlocal state
        key = workload, now_s, state, is_round
        if key not in planned_before:
            problem = world.problem(workload, now_s, state)
            plan = _planned(problem, case) if is_round else checked_plan(problem, case.strategy_config)
            planned_before[key] = plan_figures(plan, link_rates, rates), RoundState(pointed=plan.pointed)
        figures, state = planned_before[key]
        return figures

    before: list[PlanFigures] = []
    for workload in filter(None, (case.enrolment, case.labels)):
        before.append(figures_of(workload, is_round=False))
        now_s += before[-1].length_s
    if case.asynchronous is not None:
        return _asynchronous_totals(world, case, start_s, before)
    known = {0: figures_of(case.workloads[0])}
    now_s += known[0].length_s
    waits = what_binds([*before, known[0]], case.workloads[0]) == CONTACTS
    would_end_s = now_s + (case.rounds - 1) * known[0].length_s
    if most_waiting is not None and waits and would_end_s <= world.contact_plan.horizon_s:
        most_planned = most_waiting
    for number, following in itertools.pairwise(rounds_to_plan(case.workloads, most_planned)):
        if (passed_over := following - number - 1) > 0:
            if passed_over > 1:
                # All but the last are taken for as long as this one.
                now_s += known[number].length_s * (passed_over - 1)
                state = RoundState()  # those who were pointed at a while ago have left
            before_it = figures_of(case.workloads[following - 1])
            now_s += before_it.length_s
            if passed_over == 1:
                known[following - 1] = before_it
        known[following] = figures_of(case.workloads[following])
        now_s += known[following].length_s
    figures = [_of_round(number, case.workloads, known) for number in range(case.rounds)]
    lengths_s = np.array([round_figures.length_s for round_figures in [*before, *figures]])
    ends_s = start_s + np.cumsum(lengths_s)
    every = [*before, *figures]
    return _totals(
        world, case, start_s, every, planned=len(known), round_ends_s=ends_s[len(before) :].tolist()
    )


def plan_one_round(world: World, case: Case, start_s: float) -> Plan:
    """Return the checked plan of the round that stands for a case; without rounds, of one update of each in the mean.

    Raises:
        strategies.problem.network.PlanningError: It does not end within the contact plan.
    """
    if case.asynchronous is not None:
        return asynchronous_mission(world, case, start_s, rounds=1).plan
    return _planned(world.problem(case.one_round, start_s), case)


def _planned(problem: PlanningProblem, case: Case) -> Plan:
    """The checked plan of a round of a case."""
    if case.plane_rounds:
        return plan_plane_rounds(problem, case.strategy_config, [problem.workload] * case.plane_rounds).plan
    return checked_plan(problem, case.strategy_config)


def asynchronous_mission(
    world: World, case: Case, start_s: float, *, rounds: int | None = None
) -> AsyncMission:
    """Return the checked mission of a case without rounds, of so many updates of each member in the mean.

    By default as many as the case has rounds.

    Raises:
        strategies.problem.network.PlanningError: It does not end within the contact plan.
    """
    assert case.asynchronous is not None
    problem, unit = world.problem(case.workloads[0], start_s), case.asynchronous.unit
    members = len(members_of(problem.contact_plan, problem.workload, unit))
    goal = Goal(updates=(case.rounds if rounds is None else rounds) * members)
    return checked_mission(problem, case.asynchronous, goal)


def _asynchronous_totals(
    world: World, case: Case, start_s: float, before: Sequence[PlanFigures]
) -> MissionTotals:
    """The totals of a mission without rounds; a round has ended when as many updates are averaged."""
    mission = asynchronous_mission(world, case, start_s + sum(part.length_s for part in before))
    figures = plan_figures(mission.plan, LinkRates(world.contact_plan), world.rates)
    ends_s = [mission.reached_s((number + 1) * len(mission.members)) for number in range(case.rounds)]
    ends_s[-1] = mission.plan.end_s
    return _totals(world, case, start_s, [*before, figures], planned=case.rounds, round_ends_s=ends_s)


def _totals(
    world: World, case: Case, start_s: float, figures: Sequence[PlanFigures], *, planned: int,
    round_ends_s: Sequence[float],
) -> MissionTotals:  # fmt: skip
    rates, drawn = world.rates, world.resources.drawn
    return MissionTotals(
        name=case.name,
        start_s=start_s,
        end_s=float(round_ends_s[-1]),
        rounds=case.rounds,
        planned=planned,
        down_bytes=sum(part.down_bytes for part in figures),
        up_bytes=sum(part.up_bytes for part in figures),
        isl_bytes=sum(part.isl_bytes for part in figures),
        ground_compute_s=sum(part.ground_flops for part in figures) / rates.ground_flops,
        onboard_compute_s=sum(part.onboard_flops for part in figures) / rates.satellite_flops,
        onboard_energy_j=energy_j(figures, rates, drawn) if drawn.known else None,
        binds=what_binds(figures, case.workloads[0]),
        round_ends_s=tuple(round_ends_s),
    )


def energy_j(figures: Sequence[PlanFigures], rates: ComputeRates, drawn: PowerDrawn) -> float:
    """Return what satellites draw in these rounds while they compute and send; not what they draw while they wait."""
    return sum(
        round_figures.onboard_flops / rates.satellite_flops * drawn.compute_w
        + round_figures.down_s * drawn.radio_w
        + round_figures.isl_s * drawn.isl_w
        for round_figures in figures
    )


def plan_figures(plan: Plan, link_rates: LinkRates, rates: ComputeRates) -> PlanFigures:
    """Return the totals of a plan."""
    rows = plan.activities
    size: dict[str, float] = {}
    busy_s, total_s = dict.fromkeys(_BUSY, 0.0), dict.fromkeys(_BUSY, 0.0)
    for name, kinds, end in (
        (DOWNLINK, (LinkKind.DOWNLINK,), "peer"),
        (UPLINK, (LinkKind.UPLINK,), "node"),
        (ISL, (LinkKind.INTRA_ISL, LinkKind.INTER_ISL), "node"),
    ):
        sent = rows[np.isin(rows["link"], kinds) & (rows["bytes"] > 0)]
        size[name] = float(sent["bytes"].sum())
        if len(sent):
            sent_s = sent["bytes"] * 8.0 / link_rates.of(sent)
            busy_s[name] = float(np.bincount(sent[end], sent_s).max())
            total_s[name] = float(sent_s.sum())
    computing = rows[rows["flops"] > 0]
    ground = computing["kind"] == Kind.BACKBONE
    ground_flops = float(computing["flops"][ground].sum())
    onboard = computing[~ground]
    busy_s[ON_GROUND] = ground_flops / rates.ground_flops
    if len(onboard):
        busy_s[ON_BOARD] = float(np.bincount(onboard["node"], onboard["flops"]).max()) / rates.satellite_flops
    return PlanFigures(
        length_s=plan.makespan_s,
        down_bytes=size[DOWNLINK],
        up_bytes=size[UPLINK],
        isl_bytes=size[ISL],
        ground_flops=ground_flops,
        onboard_flops=float(onboard["flops"].sum()),
        down_s=total_s[DOWNLINK],
        isl_s=total_s[ISL],
        busy_s=busy_s,
        unserved_s=_unserved_s(plan),
    )


def what_binds(figures: Sequence[PlanFigures], workload: Workload) -> str:
    """Return the bottleneck of these rounds: a computer or a link that is hardly ever idle, or waiting."""
    length_s = sum(round_figures.length_s for round_figures in figures)
    busy_s = {name: sum(round_figures.busy_s[name] for round_figures in figures) for name in _BUSY}
    busiest = max(_BUSY, key=busy_s.__getitem__)
    if busy_s[busiest] >= _BINDS * length_s:
        return busiest
    if workload.chained and sum(round_figures.unserved_s for round_figures in figures) < _BINDS * length_s:
        return ROUND_TRIPS
    return CONTACTS


def rounds_to_plan(workloads: Sequence[Workload], most: int | None) -> list[int]:
    """Indices of the rounds to plan, in order: all, or the first and last of every kind and about ``most`` together.

    Rounds are of a kind where the same sorts of things cross in them: features or none, an average or none.
    """
    numbers = range(len(workloads))
    if most is None or most >= len(workloads):
        return list(numbers)
    kinds: dict[tuple[bool, float, float], list[int]] = {}
    for number in numbers:
        kinds.setdefault(_kind(workloads[number]), []).append(number)
    chosen = {of_kind[0] for of_kind in kinds.values()}
    for of_kind in kinds.values():
        first, last = workloads[of_kind[0]], workloads[of_kind[-1]]
        if not _on_links(first) and first == last:
            continue  # where nothing crosses, one is like the other
        room = most - len(kinds) + 1
        if room > 1:
            # The first has antennas to set up that later ones find pointed.
            last_place = len(of_kind) - 1
            places = np.round(np.linspace(min(1, last_place), last_place, max(room - 1, 2))).astype(int)
            chosen |= {of_kind[place] for place in places.tolist()}
        elif first != last:
            chosen.add(of_kind[-1])
    return sorted(chosen)


def _kind(workload: Workload) -> tuple[bool, float, float]:
    return workload.c1_bytes > 0, workload.aggregate_bytes, workload.update_bytes


def _on_links(workload: Workload) -> bool:
    return _crossing(workload) + workload.aggregate_bytes + workload.update_bytes > 0


def _crossing(workload: Workload) -> float:
    """Bytes that cross of a sample in a round, both ways."""
    return (workload.down_bytes + workload.up_bytes) * workload.passes


def _computing(workload: Workload) -> float:
    """FLOPs of a sample in a round, wherever they are computed."""
    passes = workload.ground_flops * workload.passes + workload.onboard_flops * workload.epochs
    return workload.embedding_flops + passes


def _of_round(number: int, workloads: Sequence[Workload], known: dict[int, PlanFigures]) -> PlanFigures:
    if number in known:
        return known[number]
    alike = [other for other in known if _kind(workloads[other]) == _kind(workloads[number])]
    before = max(other for other in alike if other < number)
    after = min((other for other in alike if other > number), default=before)
    part = (number - before) / max(after - before, 1)
    for measure in (_crossing, _computing):
        first, here, last = (measure(workloads[other]) for other in (before, number, after))
        if first != last:
            part = min(max((here - first) / (last - first), 0.0), 1.0)
            break
    return known[before].towards(known[after], part)


def _unserved_s(plan: Plan) -> float:
    """Seconds of a round without a session for the satellite that is done last."""
    if not len(plan.finish_s):
        return plan.makespan_s
    last = int(np.argmax(plan.finish_s))
    through = plan.gateways().get(last, ())
    sessions = plan.of_kind(Kind.SESSION)
    if through:
        sessions = sessions[np.isin(sessions["node"], through)]
    served_s, reached_s = 0.0, plan.start_s
    for start_s, end_s in sorted(zip(sessions["start_s"].tolist(), sessions["end_s"].tolist(), strict=True)):
        served_s += max(0.0, end_s - max(start_s, reached_s))
        reached_s = max(reached_s, end_s)
    return plan.makespan_s - served_s
