"""A round flown through outages that its plan did not know: planned anew each time one interrupts it, or held up."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import ContactPlan, LinkKind
from strategies.planner.checked_plan import checked_plan
from strategies.problem.network import NoRouteError, PlanningError
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState, state_at
from strategies.problem.workload import StrategyConfig, Workload
from strategies.uncertainty.outages import Outages, Resource, resources_of

# Antennas that are booked already are kept where a plan with them alone ends within so much of the soonest one.
_KEPT_AT_THE_COST_OF = 0.05


@dataclass(frozen=True, eq=False)
class FlownPart:
    """A plan that was followed up to a time.

    Attributes:
        plan: With the contacts that were expected when it was made.
        until_s: When an outage ended it, or its own end.
    """

    plan: Plan
    until_s: float


@dataclass(frozen=True, eq=False)
class FlownRound:
    """A round as it went.

    Attributes:
        end_s: When it ended, mission time; infinite where it does not before the horizon.
        parts: The plans that were followed, one after the other.
        booked: Sessions still to come whenever an outage interrupted a plan, counted each time.
        kept: How many of them the next plan had.
    """

    end_s: float
    parts: tuple[FlownPart, ...]
    _: KW_ONLY
    booked: int = 0
    kept: int = 0

    @property
    def interruptions(self) -> int:
        """Number of plans that an outage cut short."""
        return len(self.parts) if math.isinf(self.end_s) else len(self.parts) - 1


def may_be_flown(workload: Workload) -> bool:
    """Return whether a round can resume half-way: only one in which every sample is trained over the split."""
    return not (workload.on_board or workload.onboard_share or workload.central)


def fly(
    plan: Plan,
    problem: PlanningProblem,
    strategy_config: StrategyConfig,
    outages: Outages,
    *,
    notice_s: float | None,
) -> FlownRound:
    """Fly a round whose ``plan`` knew no outages.

    What was done when a transfer meets an outage stays done.  From ``notice_s`` later the rest is planned anew, around
    all that is out then, and once more when what interrupted it is back, if that ends sooner.  With ``None`` nobody
    plans around anything: the steps that the outage holds up go on when that link is back, and so does what waits for
    them.

    Raises:
        PlanningError: The workload is none that goes on from the middle; see :func:`may_be_flown`.
    """
    if not may_be_flown(problem.workload):
        raise PlanningError(
            "a round is flown through outages in modes head and lora, with labels on board only"
        )
    flight = _Flight(problem, strategy_config, outages=outages)
    stage: _Stage | None = _Stage(plan, problem.state)
    parts: list[FlownPart] = []
    booked = kept = 0
    while stage is not None:
        plan, met_s = stage.plan, outages.first_met_s(stage.plan.activities)
        hit_s = float(met_s.min(initial=math.inf))
        after = None if notice_s is None else flight.once_back(stage, met_s, notice_s)
        if after is None and math.isinf(hit_s):
            parts.append(FlownPart(plan, plan.end_s))
            return FlownRound(plan.end_s, tuple(parts), booked=booked, kept=kept)
        if after is None:
            after = flight.after_hit(stage, met_s, hit_s, notice_s)
        if after is not None:
            to_come = _sessions_after(plan, after.plan.start_s)
            booked += len(to_come)
            kept += sum(_is_held(session, after.plan) for session in to_come)
        parts.append(FlownPart(plan, hit_s if after is None else min(hit_s, after.plan.start_s)))
        stage = after
    return FlownRound(math.inf, tuple(parts), booked=booked, kept=kept)


@dataclass(frozen=True, eq=False)
class _Stage:
    """A plan that is followed, the state that it was made from, and what interrupted the one before."""

    plan: Plan
    before: RoundState
    _: KW_ONLY
    interrupted_by: frozenset[Resource] = frozenset()


@dataclass(frozen=True, eq=False)
class _Flight:
    problem: PlanningProblem
    strategy_config: StrategyConfig
    _: KW_ONLY
    outages: Outages

    def after_hit(
        self, stage: _Stage, met_s: np.ndarray, hit_s: float, notice_s: float | None
    ) -> _Stage | None:
        """The plan after a transfer has met an outage; None where the rest does not end before the horizon."""
        hit = frozenset(resources_of(stage.plan.activities[met_s == hit_s]))
        contact_plan = self.problem.contact_plan
        if notice_s is None:
            resume_s = max(self.outages.over_s(resource, hit_s) for resource in hit)
        else:
            resume_s = hit_s + notice_s
            contact_plan = self.outages.as_expected(contact_plan, resume_s)
        rest = self._rest(stage, met_s, resume_s, contact_plan)
        try:
            return _Stage(_planned(stage.plan, rest, self.strategy_config), rest.state, interrupted_by=hit)
        except NoRouteError:
            return None

    def once_back(self, stage: _Stage, met_s: np.ndarray, notice_s: float) -> _Stage | None:
        """The plan from when what interrupted the one before is back; None where that ends no sooner."""
        plan = stage.plan
        back_s = max(
            (self.outages.over_s(resource, plan.start_s) for resource in stage.interrupted_by),
            default=math.inf,
        )
        resume_s = back_s + notice_s
        if back_s <= plan.start_s or resume_s >= min(met_s.min(initial=math.inf), plan.end_s):
            return None
        expected = self.outages.as_expected(self.problem.contact_plan, resume_s)
        rest = self._rest(stage, met_s, resume_s, expected)
        try:
            after = _planned(plan, rest, self.strategy_config)
        except NoRouteError:
            return None
        return _Stage(after, rest.state) if after.end_s < plan.end_s else None

    def _rest(
        self, stage: _Stage, met_s: np.ndarray, resume_s: float, contact_plan: ContactPlan
    ) -> PlanningProblem:
        """What is left of the round when it goes on, with the contacts that are expected then."""
        state = _state_when_resumed(stage.plan, self.problem.workload, met_s, resume_s, before=stage.before)
        since_s = min(float(met_s.min(initial=math.inf)), resume_s)
        pointed = frozenset(pair for pair in state.pointed if _stood(pair, self.outages, since_s, resume_s))
        state = dataclasses.replace(state, pointed=pointed)
        return dataclasses.replace(self.problem, contact_plan=contact_plan, start_s=resume_s, state=state)


def _planned(plan: Plan, rest: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
    """The rest of a round, over the sessions that are booked already where that costs little time."""
    soonest = checked_plan(rest, strategy_config)
    if all(_is_held(session, soonest) for session in _sessions_after(plan, rest.start_s)):
        return soonest
    booked = dataclasses.replace(rest, contact_plan=_booked_only(plan, rest))
    try:
        standing = checked_plan(booked, strategy_config)
    except NoRouteError:
        return soonest
    return standing if standing.makespan_s <= (1.0 + _KEPT_AT_THE_COST_OF) * soonest.makespan_s else soonest


def _booked_only(plan: Plan, rest: PlanningProblem) -> ContactPlan:
    """The expected contacts without passes that the plan holds no antenna in."""
    contacts = rest.contact_plan.contacts
    sessions = _sessions_after(plan, rest.start_s)
    to_ground = np.isin(contacts["kind"], (LinkKind.DOWNLINK, LinkKind.UPLINK))
    kept = ~to_ground
    low, high = (
        np.minimum(contacts["source"], contacts["target"]),
        np.maximum(contacts["source"], contacts["target"]),
    )
    for session in sessions:
        kept |= (
            to_ground & (low == session["node"]) & (high == session["peer"])
            & (contacts["start_s"] < session["end_s"]) & (contacts["end_s"] > session["start_s"])
        )  # fmt: skip
    return dataclasses.replace(rest.contact_plan, contacts=contacts[kept])


def _sessions_after(plan: Plan, time_s: float) -> np.ndarray:
    sessions = plan.of_kind(Kind.SESSION)
    return sessions[sessions["end_s"] > time_s]


def _is_held(session: np.void, plan: Plan) -> bool:
    """Whether a plan holds the antennas of a session in a part of its time."""
    held = plan.of_kind(Kind.SESSION)
    same = (held["node"] == session["node"]) & (held["peer"] == session["peer"])
    return bool((same & (held["start_s"] < session["end_s"]) & (held["end_s"] > session["start_s"])).any())


def _state_when_resumed(
    plan: Plan, workload: Workload, met_s: np.ndarray, resume_s: float, *, before: RoundState
) -> RoundState:
    """Where the round stands when it goes on: satellites that met no outage have gone on by the plan until then.

    With a shared adapter the steps are one sequence, and all stop with the first. So do sums and averages.
    """
    since_s = min(float(met_s.min(initial=math.inf)), resume_s)
    stopped_s = np.full(len(plan.finish_s), resume_s)
    if workload.shared_adapter:
        stopped_s[:] = since_s
    else:
        own = plan.activities["satellite"] >= 0
        np.minimum.at(stopped_s, plan.activities["satellite"][own], met_s[own])
    done, on_ground = (np.zeros(len(stopped_s), int) for _ in range(2))
    for time_s in np.unique(stopped_s):
        state, members = state_at(plan, workload, float(time_s), before=before), stopped_s == time_s
        done[members] = np.array(state.done)[members]
        on_ground[members] = np.array(state.on_ground)[members]
    average = state_at(plan, workload, since_s, before=before).average
    pointed = state_at(plan, workload, resume_s, before=before).pointed
    return RoundState(tuple(done.tolist()), tuple(on_ground.tolist()), average=average, pointed=pointed)


def _stood(pair: tuple[int, int], outages: Outages, from_s: float, to_s: float) -> bool:
    """Whether the link of a pair was in service all the time, so that its antennas or lasers need no set-up."""
    node, peer = pair
    ends: tuple[Resource, Resource] = (max(node, peer), (min(node, peer), max(node, peer)))
    return all(outages.stands(end, from_s, to_s) for end in ends)
