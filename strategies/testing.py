"""Prove a strategy: a test kit for strategies of our own and of others.

    print(check_strategies(space_ground="most-need"))

The strategy is named as a scenario names it, so the package that registers it has to be installed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

import numpy as np

from orbit.contact_plan import LinkKind
from strategies.checker.check import InfeasiblePlanError
from strategies.doors import require_usable
from strategies.drawn_worlds import Drawn, draw
from strategies.planner.checked_plan import checked_plan
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState, state_at
from strategies.problem.workload import IntraOrbit, StrategyConfig

_PASSES = 80  # at most, besides late ones: so many that satellites compete for beams
_SCARCE = 0.05  # of the downlink, in every second world
_SAME = 1e-9  # relative, of times that are computed in two ways


@dataclass(frozen=True)
class Proof:
    """The findings of a proof.

    Attributes:
        worlds: Rounds that were planned, each checked, bounded and planned twice.
        rests: Rounds of which the second half was planned anew.
        followed: Rounds whose plan uses all of the strategies; in the others nothing had to cross such links.
        gap: Median distance of a plan to its lower bound; 0.1 is ten per cent.
    """

    worlds: int
    rests: int
    _: KW_ONLY
    followed: int
    gap: float

    def __str__(self) -> str:
        return (
            f"{self.worlds} rounds and the rests of {self.rests} planned, checked and above their bounds, "
            f"{100 * self.gap:.0f} % in the median; {self.followed} use the strategies asked for"
        )


def check_strategies(
    *,
    intra_orbit: str | None = None,
    space_ground: str | None = None,
    inter_orbit: str | None = None,
    worlds: int = 24,
    seed: int = 0,
) -> Proof:
    """Plan rounds of small drawn constellations, in all training modes, with the given strategies.

    Every plan has to pass the checker, to be no shorter than the lower bound, and to come out the same when it is made
    again; so has the plan of the second half of a round.

    Args:
        intra_orbit: As in a scenario; where none is given, one of ours is drawn for each world.
        space_ground: The same.
        inter_orbit: The same.
        worlds: How many constellations are drawn; those in which not even first contact gets everything through do not
            count.
        seed: Of the drawing.

    Raises:
        AssertionError: A plan is not as it must be, or none uses the strategies.
        strategies.registry.StrategyError: A strategy cannot be used, fails, or decides what is not possible.
        strategies.problem.workload.WorkloadError: There is no strategy of that name.
    """
    fields = {"intra_orbit": intra_orbit, "space_ground": space_ground, "inter_orbit": inter_orbit}
    return _proof({field: name for field, name in fields.items() if name is not None}, worlds, seed)


def check_round_planner(name: str, *, worlds: int = 24, seed: int = 0) -> Proof:
    """Plan the same rounds, with strategies of ours, by the planner of another package.

    What is asked of a plan, arguments and errors are as in :func:`check_strategies`.
    """
    return _proof({"planner": name}, worlds, seed)


def _proof(given: Mapping[str, str], worlds: int, seed: int) -> Proof:
    gaps, rests, followed = [], 0, 0
    for number in range(worlds):
        case = _drawn(np.random.default_rng([seed, number]), given)
        plan = _proven(case, number)
        if plan is None:
            continue
        gaps.append(plan.gap)
        followed += all(getattr(plan.strategy_config, field) == name for field, name in given.items())
        rests += _proven_rest(case, plan, number)
    assert followed, f"none of {worlds} plans uses {', '.join(given.values())}: draw more worlds"
    return Proof(len(gaps), rests, followed=followed, gap=float(np.median(gaps)))


def _drawn(rng: np.random.Generator, given: Mapping[str, str]) -> Drawn:
    case = draw(rng, _PASSES)
    ours = {
        "intra_orbit": str(rng.choice(["none", "parallel"])),
        "space_ground": "topology-aware",
        "inter_orbit": str(rng.choice(["none", "grid"])),
    }
    strategy_config = require_usable(StrategyConfig.parse(**{**ours, **given}))
    contact_plan, resources = case.world, case.resources
    if rng.integers(2):
        contacts = contact_plan.contacts.copy()
        contacts["rate_bps"][contacts["kind"] == LinkKind.DOWNLINK] *= _SCARCE
        contact_plan = dataclasses.replace(contact_plan, contacts=contacts)
    if strategy_config.intra_orbit == IntraOrbit.ALL_GATHER:  # the copies of a plane fit into no small buffer
        resources = dataclasses.replace(resources, buffer_bytes=math.inf)
    return dataclasses.replace(case, world=contact_plan, strategy_config=strategy_config, resources=resources)


def _proven(
    case: Drawn, number: int, *, start_s: float = 0.0, state: RoundState | None = None
) -> Plan | None:
    """The plan of a round, held against what it must be; None where contacts do not suffice for any."""
    what = f"world {number}, mode {case.workload.mode}, from {start_s:.1f} s"
    problem = case.problem(start_s, state)
    plans = []
    for _ in range(2):
        try:
            plans.append(checked_plan(problem, case.strategy_config))
        except InfeasiblePlanError as error:
            raise AssertionError(f"{what}: {error}") from error
        except NoRouteError as error:
            if not _passable(problem):
                return None
            raise AssertionError(f"{what}: not all gets through, though contacts suffice: {error}") from error
    plan, again = plans
    assert plan.makespan_s >= plan.lower_bound_s * (1.0 - _SAME), (
        f"{what}: takes {plan.makespan_s:.3f} s, less than the lower bound, {plan.lower_bound_s:.3f} s"
    )
    same = np.array_equal(plan.activities, again.activities) and np.array_equal(plan.steps, again.steps)
    assert same, f"{what}: planned again, it is another plan"
    return plan


def _passable(problem: PlanningProblem) -> bool:
    """Whether first contact, without links between satellites, gets everything through."""
    strategy_config = StrategyConfig.parse("none", "first-contact", "none")
    try:
        plan_round(problem, strategy_config)
    except NoRouteError:
        return False
    return True


def _proven_rest(case: Drawn, plan: Plan, number: int) -> bool:
    """Plan the second half of a round anew; False in modes in which that is not done."""
    workload = case.workload
    if workload.on_board or workload.onboard_share or workload.central:
        return False
    half_s = plan.start_s + plan.makespan_s / 2.0
    state = state_at(plan, workload, half_s, frozenset())
    return _proven(case, number, start_s=half_s, state=state) is not None
