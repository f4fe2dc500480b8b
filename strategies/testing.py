"""Prove a strategy: a test kit for strategies of our own and of others.

    print(check_strategies(space_ground="most-need"))

The strategy is named as a scenario names it, so the package that registers it has to be installed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from strategies.checker import check_plan
from strategies.doors import require_usable
from strategies.drawn_worlds import Drawn, draw
from strategies.network import NoRouteError
from strategies.plan import Plan
from strategies.planner import plan_round
from strategies.round_state import RoundState, state_at
from strategies.workload import IntraOrbit, Switches

_SAME = 1e-9  # relative, of times that are computed in two ways


@dataclass(frozen=True)
class Proof:
    """What has been shown.

    Attributes:
        worlds: Rounds that were planned, each checked, bounded and planned twice.
        rests: Rounds of which the second half was planned anew.
        followed: Rounds whose plan uses all of the strategies; in the others nothing had to cross such links.
        gap: Median distance of a plan to its lower bound; 0.1 is ten per cent.
    """

    worlds: int
    rests: int
    followed: int
    gap: float

    def __str__(self) -> str:
        return (
            f"{self.worlds} rounds and the rests of {self.rests} planned, checked and above their bounds, "
            f"{100 * self.gap:.0f} % in the median; {self.followed} use the strategies asked for"
        )


def check_strategies(
    *,
    intra_orbit: str = "parallel",
    space_ground: str = "topology-aware",
    inter_orbit: str = "grid",
    worlds: int = 24,
    seed: int = 0,
) -> Proof:
    """Plan rounds of small drawn constellations, in all training modes, with the given strategies.

    Every plan has to pass the checker, to be no shorter than the lower bound, and to come out the same when it is made
    again; so has the plan of the second half of a round.

    Args:
        intra_orbit: As in a scenario.
        space_ground: As in a scenario.
        inter_orbit: As in a scenario.
        worlds: How many constellations are drawn. In each everything can get through, late at the latest.
        seed: Of the drawing.

    Raises:
        AssertionError: A plan is not as it must be, or none uses the strategies.
        strategies.registry.StrategyError: A strategy cannot be used, fails, or decides what is not possible.
        strategies.workload.WorkloadError: There is no strategy of that name.
    """
    switches = require_usable(Switches.parse(intra_orbit, space_ground, inter_orbit))
    gaps, rests, followed = [], 0, 0
    for number in range(worlds):
        case = _drawn(np.random.default_rng([seed, number]), switches)
        plan = _proven(case, number)
        gaps.append(plan.gap)
        followed += plan.switches == switches
        rests += _proven_rest(case, plan, number)
    assert followed, f"none of {worlds} plans uses {switches}: draw more worlds"
    return Proof(worlds, rests, followed, float(np.median(gaps)))


def _drawn(rng: np.random.Generator, switches: Switches) -> Drawn:
    case = dataclasses.replace(draw(rng), switches=switches)
    if switches.intra_orbit == IntraOrbit.ALL_GATHER:  # the copies of a plane fit into no small buffer
        case = dataclasses.replace(
            case, resources=dataclasses.replace(case.resources, buffer_bytes=float("inf"))
        )
    return case


def _proven(case: Drawn, number: int, *, start_s: float = 0.0, state: RoundState | None = None) -> Plan:
    what = f"world {number}, mode {case.workload.mode}, from {start_s:.1f} s"
    plans = []
    for _ in range(2):
        try:
            plans.append(
                plan_round(
                    case.world,
                    case.workload,
                    case.rates,
                    case.resources,
                    case.switches,
                    start_s=start_s,
                    state=state,
                )
            )
        except NoRouteError as error:
            raise AssertionError(f"{what}: not all gets through, though contacts suffice: {error}") from error
    plan, again = plans
    violations = check_plan(plan, case.world, case.workload, case.rates, case.resources, state)
    assert not violations, f"{what}: {'; '.join(str(one) for one in violations[:3])}"
    assert plan.makespan_s >= plan.lower_bound_s * (1.0 - _SAME), (
        f"{what}: takes {plan.makespan_s:.3f} s, less than the lower bound, {plan.lower_bound_s:.3f} s"
    )
    same = np.array_equal(plan.activities, again.activities) and np.array_equal(plan.steps, again.steps)
    assert same, f"{what}: planned again, it is another plan"
    return plan


def _proven_rest(case: Drawn, plan: Plan, number: int) -> bool:
    """Plan the second half of a round anew; False in modes in which that is not done."""
    workload = case.workload
    if workload.on_board or workload.onboard_share or workload.central:
        return False
    half_s = plan.start_s + plan.makespan_s / 2.0
    state = state_at(plan, workload, half_s, frozenset())
    _proven(case, number, start_s=half_s, state=state)
    return True
