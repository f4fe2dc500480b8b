"""The checker finds what is wrong: good plans of every mode, one thing changed at a time, by name and drawn."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from synthetic_worlds import LADDER, RATES, RESOURCES, WORLD, make_workload

from benchmarks.plan_mutations import MUTATIONS, random_mutations
from strategies.checker.check import InfeasiblePlanError, check_plan, require_feasible
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Kind, Plan
from strategies.problem.round_state import RoundState
from strategies.problem.sunlight import Sunlight
from strategies.problem.workload import ComputeRates, Resources, StrategyConfig, Workload

_DAY = Sunlight(tuple(np.array([[0.0, 6.0], [9.0, np.inf]]) for _ in range(6)))
_POOLED = ComputeRates(RATES.satellite_flops, RATES.ground_flops, message_s=0.002)
_PENDING_UPDATES = RoundState(
    done=(96, 48, 0, 0, 0, 0), on_ground=(96, 64, 0, 0, 0, 0), pointed=frozenset({(0, 6)})
)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A round to be planned and checked."""

    workload: Workload
    strategy_config: StrategyConfig
    rates: ComputeRates = RATES
    resources: Resources = RESOURCES
    state: RoundState | None = None

    @functools.cached_property
    def plan(self) -> Plan:
        return plan_round(
            make_problem(WORLD, self.workload, rates=self.rates, resources=self.resources, state=self.state),
            self.strategy_config,
        )

    def rules(self, plan: Plan) -> set[str]:
        found = check_plan(
            plan,
            make_problem(
                WORLD,
                self.workload,
                plan.start_s,
                rates=self.rates,
                resources=self.resources,
                state=self.state,
            ),
        )
        return {violation.rule for violation in found}


def _lora(**changes: object) -> Workload:
    return make_workload(6, 64, **changes)


_GATHER = StrategyConfig.parse("all-gather", "topology-aware", "none")
_ONE_BY_ONE = StrategyConfig.parse("sequential", "topology-aware", "none")
_JOINT = {"shared_adapter": True, "satellites_per_step": 3, "gradient_delay": 1}
CASES = {
    "lora, own windows": Judged(_lora(), LADDER["b"]),
    "lora, all strategies": Judged(_lora(), LADDER["e"], rates=_POOLED),
    "lora, joint steps of an adapter each": Judged(_lora(satellites_per_step=4), LADDER["d"]),
    "lora, shared adapter": Judged(_lora(shared_adapter=True), LADDER["d"], rates=_POOLED),
    "lora, shared adapter, joint and delayed steps": Judged(_lora(**_JOINT), LADDER["e"]),
    "lora, steps in parts": Judged(_lora(**_JOINT, micro_batches=4), LADDER["d"], rates=_POOLED),
    "lora, shared head": Judged(_lora(shared_head=True), LADDER["e"]),
    "lora, two epochs": Judged(_lora(epochs=2, returned_tokens=197), LADDER["c"]),
    "lora, share on board": Judged(_lora(onboard_share=True), LADDER["e"]),
    "lora, features cached": Judged(_lora(cached_fraction=0.5), LADDER["d"]),
    "lora, copies round the plane": Judged(_lora(), _GATHER),
    "lora, one satellite at a time": Judged(_lora(), _ONE_BY_ONE),
    "lora, on sunlight": Judged(_lora(), LADDER["d"], resources=Resources(sunlight=_DAY)),
    "lora, under way": Judged(_lora(), LADDER["d"], state=_PENDING_UPDATES),
    "head": Judged(_lora(mode="head", epochs=3), LADDER["e"], rates=_POOLED),
    "images down": Judged(_lora(mode="downlink", epochs=2), LADDER["e"]),
    "features and labels down": Judged(
        dataclasses.replace(_lora(mode="features", epochs=2), update_bytes=31e3), LADDER["d"]
    ),
    "features and labels down, on sunlight": Judged(
        _lora(mode="features"), LADDER["e"], resources=Resources(sunlight=_DAY)
    ),
    "head on board": Judged(_lora(mode="onboard-head", epochs=2), LADDER["d"]),
    "on-board lora, own windows": Judged(_lora(mode="onboard-lora"), LADDER["b"]),
    "on-board lora, through the ground": Judged(_lora(mode="onboard-lora"), LADDER["d"]),
    "on-board lora, over lasers": Judged(_lora(mode="onboard-lora"), LADDER["e"]),
    "whole model on board": Judged(_lora(mode="onboard-full"), LADDER["d"]),
}
every_case = pytest.mark.parametrize("judged", CASES.values(), ids=CASES.keys())
# To these every mutation applies that there is, several times; the other cases have what is drawn, and all with `slow`.
MUTATED = (
    "lora, shared adapter, joint and delayed steps",
    "lora, share on board",
    "lora, copies round the plane",
    "lora, under way",
    "head",
    "features and labels down, on sunlight",
    "head on board",
    "on-board lora, over lasers",
    "whole model on board",
)


def test_a_plan_that_starts_at_another_time_than_asked_is_refused() -> None:
    judged = CASES["lora, all strategies"]
    problem = make_problem(WORLD, judged.workload, 60.0, rates=judged.rates)
    assert "time" in {violation.rule for violation in check_plan(judged.plan, problem)}


@every_case
def test_an_unchanged_plan_breaks_no_rule(judged) -> None:
    found = check_plan(
        judged.plan,
        make_problem(
            WORLD,
            judged.workload,
            judged.plan.start_s,
            rates=judged.rates,
            resources=judged.resources,
            state=judged.state,
        ),
    )
    assert [str(violation) for violation in found] == []


@pytest.mark.parametrize(
    "judged",
    [
        pytest.param(judged, id=name, marks=() if name in MUTATED else pytest.mark.slow)
        for name, judged in CASES.items()
    ],
)
def test_every_mutation_that_applies_to_a_plan_is_found(judged) -> None:
    broken = {mutation.name: mutation.change(judged.plan, WORLD) for mutation in MUTATIONS}
    missed = [name for name, plan in broken.items() if plan is not None and not judged.rules(plan)]
    assert missed == []


def test_there_are_forty_mutations_and_each_applies_to_some_plan() -> None:
    assert len(MUTATIONS) >= 40
    idle = [
        mutation.name
        for mutation in MUTATIONS
        if all(mutation.change(CASES[name].plan, WORLD) is None for name in MUTATED)
    ]
    assert idle == []


@every_case
def test_drawn_mutations_are_found(judged) -> None:
    drawn = random_mutations(judged.plan, WORLD, np.random.default_rng(len(judged.plan.activities)))
    missed = [what for what, plan in itertools.islice(drawn, 6) if not judged.rules(plan)]
    assert missed == []


_ALL = CASES["lora, all strategies"]


def rules_of(judged: Judged, **changes: object) -> set[str]:
    """What breaks where the world is not what a plan was made for."""
    return dataclasses.replace(judged, **changes).rules(judged.plan)


def test_slower_computers_than_planned_are_noticed() -> None:
    slow_ground = ComputeRates(RATES.satellite_flops, RATES.ground_flops / 4.0)
    slow_satellites = ComputeRates(RATES.satellite_flops / 4.0, RATES.ground_flops)
    assert {"ground", "step"} & rules_of(_ALL, rates=slow_ground)
    assert "compute" in rules_of(_ALL, rates=slow_satellites)


def test_messages_that_take_longer_than_planned_are_noticed() -> None:
    slow = ComputeRates(RATES.satellite_flops, RATES.ground_flops, message_s=0.01)
    assert {"ground", "step"} & rules_of(_ALL, rates=slow)


def test_a_longer_set_up_or_acquisition_than_planned_is_noticed() -> None:
    assert "session" in rules_of(_ALL, resources=Resources(setup_s=20.0))
    assert "isl pointing" in rules_of(_ALL, resources=Resources(acquisition_s=20.0))


def test_antennas_that_were_not_pointed_are_noticed() -> None:
    judged = CASES["lora, under way"]
    assert "session" in rules_of(judged, state=dataclasses.replace(_PENDING_UPDATES, pointed=frozenset()))


def test_a_smaller_buffer_than_planned_is_noticed() -> None:
    assert "buffer" in rules_of(_ALL, resources=Resources(buffer_bytes=1e5))


def test_darkness_that_was_not_planned_is_noticed() -> None:
    dark = Sunlight(tuple(np.array([[30.0, np.inf]]) for _ in range(6)))
    assert "compute" in rules_of(_ALL, resources=Resources(sunlight=dark))


def test_fewer_satellites_in_a_step_or_less_delay_than_planned_are_noticed() -> None:
    # With all features on the ground, steps wait for nothing but each other.
    dense = {"cached_fraction": 1.0, "epochs": 2}
    judged = Judged(_lora(**_JOINT, **dense), LADDER["d"])
    assert judged.rules(judged.plan) == set()
    assert "step" in rules_of(judged, workload=_lora(**{**_JOINT, "satellites_per_step": 2}, **dense))
    delayed = Judged(_lora(shared_adapter=True, gradient_delay=1, **dense), LADDER["d"])
    assert delayed.rules(delayed.plan) == set()
    assert "step" in rules_of(delayed, workload=_lora(shared_adapter=True, **dense))


def test_an_adapter_for_each_is_no_plan_for_a_shared_one() -> None:
    judged = Judged(_lora(cached_fraction=1.0), LADDER["d"])
    assert "step" in rules_of(judged, workload=_lora(cached_fraction=1.0, shared_adapter=True))


@pytest.mark.parametrize(
    "lost", [("epochs", 2), ("micro_batch", 8), ("cached_fraction", 0.2), ("head_bytes", 62e3)]
)
def test_a_plan_for_another_workload_is_noticed(lost) -> None:
    name, value = lost
    assert rules_of(_ALL, workload=_lora(**{name: value}))


def test_an_infeasible_plan_is_refused_with_satellite_link_and_time_of_its_first_violations() -> None:
    judged, rows = _ALL, _ALL.plan.activities
    broken = dataclasses.replace(judged.plan, activities=rows[rows["kind"] != Kind.SESSION])
    with pytest.raises(
        InfeasiblePlanError, match=r"over downlink sat-\d-\d → station-\d, [\d.]+–[\d.]+ s has no session"
    ):
        require_feasible(
            broken,
            make_problem(
                WORLD, judged.workload, broken.start_s, rates=judged.rates, resources=judged.resources
            ),
        )
