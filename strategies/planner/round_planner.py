"""The round planner: contact plan, workload, rates and switches in, a plan of the round out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

from orbit.contact_plan import LinkKind
from strategies.bound.lower_bound import RoundBounds
from strategies.planner.onboard_round import plan_onboard
from strategies.planner.split_round import NEAR, SplitRound, sooner
from strategies.problem.network import NoRouteError, PlanningError
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import InterOrbit, IntraOrbit, SpaceGround, StrategyConfig

_FAR = 1.2  # sessions that promise a round so much longer will not do for a good one; their fluid is often too long
_SHARES_TRIED = 3  # splits between ground and on-board compute


def plan_round(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
    """Plan one round; equal input gives an equal plan.

    A richer strategy keeps the poorer ones as candidates, so that it is never worse than they are; the plan says which
    of them it follows.

    Raises:
        NoRouteError: Samples or weights of a satellite cannot get through before the horizon.
        PayloadTooLargeError: One micro-batch fits into no buffer, or into no window.
        PlanningError: The workload does not fit the contact plan, or a share on board the state of a round.
    """
    _require_plannable(problem)
    if problem.workload.on_board:
        return plan_onboard(problem, strategy_config)

    attempts = _Attempts(problem.without_lost())
    bound_s = attempts.bound_s(strategy_config)
    candidates, first, near_s = attempts.candidates(strategy_config)
    best: Plan | None = None
    failure: PlanningError | None = None
    for place, candidate in enumerate(candidates):
        try:
            if best is not None and best.makespan_s <= near_s and place >= first:
                break
            if best is not None and not attempts.may_end_by(candidate, best.end_s):
                continue
            # Its own bound, not that of the richer: a candidate is planned as it would be if asked for by itself.
            candidate_s = attempts.bound_s(candidate)
            if best is not None and candidate_s >= best.makespan_s:
                continue
            plan = attempts.plan(candidate, candidate_s, math.inf if best is None else best.end_s)
        except PlanningError as error:
            failure = failure or error
        else:
            best = sooner(best, plan)
    if best is None:
        assert failure is not None
        raise failure
    return dataclasses.replace(_as_used(best, problem), lower_bound_s=bound_s)


def _require_plannable(problem: PlanningProblem) -> None:
    """Raise ``PlanningError`` for a workload, a start or a state that no plan can be made for."""
    contact_plan, workload, state = problem.contact_plan, problem.workload, problem.state
    satellites = len(contact_plan.satellites)
    if len(workload.samples) != satellites:
        raise PlanningError(
            f"samples: found {len(workload.samples)}, the contact plan has {satellites} satellites"
        )
    if not 0.0 <= problem.start_s < contact_plan.horizon_s:
        raise NoRouteError(
            f"start_s: found {problem.start_s}, the contact plan ends at {contact_plan.horizon_s} s"
        )
    if not workload.on_board and workload.onboard_share and (state.done or state.on_ground):
        raise PlanningError("onboard_share: a round under way is planned anew without a share on board")


def _as_used(plan: Plan, problem: PlanningProblem) -> Plan:
    """The plan with the strategies that it uses: links over which nothing goes are not among them.

    Lasers that it does not use stay where they point.
    """
    rows, strategy_config, pointed = plan.activities, plan.strategy_config, plan.pointed
    used = rows["link"][rows["bytes"] > 0]
    if not (used == LinkKind.INTRA_ISL).any():
        strategy_config = dataclasses.replace(strategy_config, intra_orbit=IntraOrbit.NONE)
    if not (used == LinkKind.INTER_ISL).any():
        strategy_config = dataclasses.replace(strategy_config, inter_orbit=InterOrbit.NONE)
        rows = rows[rows["kind"] != Kind.ISL_POINTING]
        rows.flags.writeable = False
        satellites = len(plan.finish_s)
        pointed = frozenset(pair for pair in pointed if max(pair) >= satellites)
        pointed |= _standing_lasers(problem, plan.end_s)
    return dataclasses.replace(plan, strategy_config=strategy_config, activities=rows, pointed=pointed)


def _standing_lasers(problem: PlanningProblem, end_s: float) -> frozenset[tuple[int, int]]:
    """The lasers that point at each other when a round starts, and whose contact lasts beyond its end."""
    contacts = problem.contact_plan.of_kind(LinkKind.INTER_ISL)
    lasts = contacts[(contacts["start_s"] <= problem.start_s) & (contacts["end_s"] > end_s)]
    pairs = set(zip(lasts["source"].tolist(), lasts["target"].tolist(), strict=True))
    return frozenset(pair for pair in problem.state.pointed if pair in pairs)


def _window_s(bound_s: float) -> float:
    """Return the length of the first planning window for a round with this lower bound, in seconds."""
    return 1.5 * bound_s + 1200.0


@dataclass(frozen=True, eq=False)
class _Attempts:
    problem: PlanningProblem
    _: KW_ONLY
    # By switches and end: rounds whose sessions were looked at, and that may still be planned.
    looked_at: dict[tuple[StrategyConfig, float], SplitRound] = field(default_factory=dict)

    @cached_property
    def bounds(self) -> RoundBounds:
        """Bounds of the problem, by the groups that links join."""
        return RoundBounds(self.problem)

    @cached_property
    def powered(self) -> PlanningProblem:
        """The problem with computing when batteries allow it; the bound goes without them."""
        return self.problem.powered()

    def bound_s(self, strategy_config: StrategyConfig) -> float:
        """The lower bound where every inter-satellite link that the switches allow and that ever opens may be used."""
        return self.bounds.lower_bound_s(self.bounds.group_of(strategy_config))

    def candidates(self, strategy_config: StrategyConfig) -> tuple[tuple[StrategyConfig, ...], int, float]:
        """Return the strategies to try in this order, how many at least, and the makespan at which the search may end.

        Where own windows of planes might end almost at the bound, they go first and are good enough if they do: the
        richer ones would have nothing to gain.  If their sessions promise far less, and less than those of the poorest
        other, they come second, and end as soon as it is clear that they are later.  Then every richer strategy tries
        what the poorer one has tried before, in the same order, and is never later.
        """
        contained = strategy_config.contained()
        of_planes = dataclasses.replace(
            strategy_config, space_ground=SpaceGround.OWN_WINDOW, inter_orbit=InterOrbit.NONE
        )
        if strategy_config.intra_orbit is IntraOrbit.NONE or of_planes not in contained[1:]:
            return contained, 0, -math.inf
        near_s = NEAR * self.bound_s(strategy_config)
        try:
            if self.bound_s(of_planes) > near_s:
                return contained, 0, -math.inf
        except NoRouteError:
            return contained, 0, -math.inf
        place = contained.index(of_planes)
        poorer_first = (*reversed(contained[:place]), *contained[place + 1 :])
        promised_s = self._promised_s(of_planes)
        is_first = promised_s <= self.problem.start_s + _FAR * near_s or (
            promised_s <= self._promised_s(poorer_first[0])
        )
        before = 0 if is_first else 1
        return (*poorer_first[:before], of_planes, *poorer_first[before:]), before + 1, near_s

    def _promised_s(self, strategy_config: StrategyConfig) -> float:
        """Return when the round ends by the fluid model with these switches; inf where it does not."""
        try:
            bound_s = self.bound_s(strategy_config)
            end_s = min(self.problem.start_s + _window_s(bound_s), self.problem.contact_plan.horizon_s)
            split_round = SplitRound(self.powered, strategy_config, end_s=end_s, bound_s=bound_s)
            promised_s = split_round.promised_s()
        except NoRouteError:
            return math.inf
        self.looked_at[strategy_config, end_s] = split_round
        return promised_s

    def may_end_by(self, strategy_config: StrategyConfig, end_s: float) -> bool:
        """False where no plan with these switches ends before ``end_s``: a question that costs less than the bound."""
        return self.bounds.may_end_by(self.bounds.group_of(strategy_config), end_s)

    def plan(self, strategy_config: StrategyConfig, bound_s: float, below_s: float) -> Plan | None:
        """Plan with exactly these switches; where samples may stay on board, as many as end with the others.

        None where it is clear that the round does not end before ``below_s``.
        """
        best: Plan | None = None
        if self.problem.workload.onboard_share:
            length_s = 1.05 * bound_s
            plans: dict[tuple[int, ...], Plan] = {}
            for _ in range(_SHARES_TRIED):
                aboard = self._aboard(length_s)
                try:
                    plan = plans.get(aboard) or self._over_growing_window(
                        strategy_config, bound_s, below_s, aboard
                    )
                except NoRouteError:  # a satellite would train past its last pass
                    length_s /= 2.0
                    continue
                if plan is None:
                    break
                plans[aboard] = plan
                best = sooner(best, plan)
                length_s += (plan.makespan_s - length_s) / 2.0
        if best is not None:
            below_s = min(below_s, best.end_s)
        return sooner(best, self._over_growing_window(strategy_config, bound_s, below_s, ()))

    def _aboard(self, length_s: float) -> tuple[int, ...]:
        """Samples of each satellite that it can train itself in ``length_s``, in whole micro-batches."""
        workload = self.problem.workload
        fits = int(length_s * self.problem.rates.satellite_flops / (workload.onboard_flops * workload.epochs))
        fits = fits // workload.micro_batch * workload.micro_batch
        # One micro-batch at least takes the split way: it keeps a satellite's adapter in step with the ground's.
        return tuple(max(0, min(fits, count - workload.micro_batch)) for count in workload.samples)

    def _over_growing_window(
        self, strategy_config: StrategyConfig, bound_s: float, below_s: float, aboard: tuple[int, ...]
    ) -> Plan | None:
        """Plan over a stretch of the contact plan that grows until the round fits into it."""
        window_s = _window_s(bound_s)
        while True:
            end_s = min(self.problem.start_s + window_s, self.problem.contact_plan.horizon_s)
            try:
                return self._in_window(strategy_config, bound_s, below_s, aboard, end_s)
            except NoRouteError:
                if end_s >= self.problem.contact_plan.horizon_s:
                    raise
                window_s *= 3.0

    def _in_window(
        self,
        strategy_config: StrategyConfig,
        bound_s: float,
        below_s: float,
        aboard: tuple[int, ...],
        end_s: float,
    ) -> Plan | None:
        """Plan with the contacts up to ``end_s``; where the dark may hold up embedding, waiting for its end or not.

        Raises ``NoRouteError`` where the contacts do not suffice.
        """
        best: Plan | None = None
        failures: list[NoRouteError] = []
        variants = (False,) if self.powered.resources.sunlight is None else (False, True)
        for embedded_first in variants:
            split_round = None
            if not aboard and not embedded_first:
                split_round = self.looked_at.pop((strategy_config, end_s), None)
            split_round = split_round or SplitRound(
                self.powered,
                strategy_config,
                end_s=end_s,
                bound_s=bound_s,
                aboard=aboard,
                embedded_first=embedded_first,
            )
            try:
                best = sooner(best, split_round.plan(below_s if best is None else min(below_s, best.end_s)))
            except NoRouteError as error:
                failures.append(error)
        if len(failures) == len(variants):
            raise failures[0]
        return best
