"""Round planners of other packages: proven by the kit, compared, run, and never followed unchecked."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installed_example import install
from synthetic_worlds import WORLD, make_workload
from typer.testing import CliRunner

from mission import entry_points as named
from mission.scenario import ScenarioError, load_scenario
from orbit.contact_plan import LinkKind
from server_app.planning.round_planner import strategy_config_of
from skysplit.cli import app
from strategies.analysis.cases import standard_cases
from strategies.analysis.plan_words import answer, round_facts
from strategies.drawn_worlds import make_problem
from strategies.planner.checked_plan import checked_plan
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Plan
from strategies.problem.workload import Mode, StrategyConfig, WorkloadError
from strategies.registry import StrategyError
from strategies.testing import check_round_planner

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-parts"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package, installed."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", EXAMPLE)))
    yield
    sys.modules.pop("own_planner", None)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], StrategyConfig]:
    """Register an object as the planner ``mine``; returns the strategies with it."""
    theirs = types.ModuleType("theirs")
    monkeypatch.setitem(sys.modules, "theirs", theirs)
    entries = [EntryPoint("mine", "theirs:planner", named.ROUND_PLANNERS)]
    monkeypatch.setattr(named, "entry_points", lambda group: [e for e in entries if e.group == group])

    def register(value: Any) -> StrategyConfig:
        theirs.planner = value  # type: ignore[attr-defined]
        return StrategyConfig.parse("parallel", "topology-aware", "none", "mine")

    return register


def isl_bytes(plan: Plan) -> float:
    between = np.isin(plan.activities["link"], (LinkKind.INTRA_ISL, LinkKind.INTER_ISL))
    return float(plan.activities["bytes"][between].sum())


def test_the_kit_accepts_the_example(example: None) -> None:
    proof = check_round_planner("frugal", worlds=2)
    assert proof.followed == proof.worlds > 0


def test_the_example_takes_a_tenth_longer_for_fewer_bytes_between_satellites(example: None) -> None:
    """The world is one in which links between satellites save less than a tenth of the time."""
    problem = make_problem(WORLD, make_workload(6, mode=Mode.HEAD))
    strategy_config = StrategyConfig.parse("parallel", "topology-aware", "none")
    ours = checked_plan(problem, strategy_config)
    theirs = checked_plan(problem, dataclasses.replace(strategy_config, planner="frugal"))
    assert theirs.makespan_s <= 1.1 * ours.makespan_s
    assert isl_bytes(theirs) <= isl_bytes(ours)
    assert 0.0 < theirs.lower_bound_s <= ours.makespan_s


def test_a_planner_has_a_case_of_its_own_with_all_strategies(example: None) -> None:
    cases = {
        case.name: case for case in standard_cases(lambda variant: (make_workload(6, mode=variant.mode),))
    }
    case = cases["split-frugal"]
    assert case.title == "split, frugal instead of our planner"
    assert case.strategy_config == dataclasses.replace(cases["split"].strategy_config, planner="frugal")


def test_a_plan_says_whose_it_is(example: None) -> None:
    problem = make_problem(WORLD, make_workload(6, mode=Mode.HEAD))
    for planner, said in (("ours", []), ("frugal", ["frugal"])):
        plan = checked_plan(problem, StrategyConfig.parse("parallel", "topology-aware", "none", planner))
        assert plan.summary()["planner"] == planner
        facts = round_facts(plan, answer(plan, problem, datetime(2026, 1, 1, tzinfo=UTC)))
        assert [value for name, value in facts if name == "planner"] == said


def test_a_scenario_names_it_and_an_unknown_one_is_refused_with_what_is_allowed(example: None) -> None:
    scenario = load_scenario("walker-12", {"strategy.planner": "frugal"})
    assert strategy_config_of(scenario).planner == "frugal"
    with pytest.raises(ScenarioError, match=r"strategy\.planner: found 'lavish', allowed: ours, frugal"):
        load_scenario("walker-12", {"strategy.planner": "lavish"})
    with pytest.raises(WorkloadError, match="planner: found 'lavish', allowed: ours, frugal"):
        StrategyConfig.parse("none", "own-window", "none", "lavish")


def hurried(problem: Any, strategy_config: StrategyConfig) -> Plan:
    """A plan that claims to be over before it is."""
    plan = plan_round(problem, strategy_config)
    return dataclasses.replace(plan, end_s=plan.end_s - 1.0)


@pytest.mark.parametrize(
    ("planner", "message"),
    [
        (lambda problem, strategy_config: 1 / 0, "failed: ZeroDivisionError"),
        (
            lambda problem, strategy_config: None,
            "returned a NoneType; allowed: a strategies.problem.plan.Plan",
        ),
        (hurried, "its plan breaks a rule: .*outside the round|its plan breaks a rule: .*end"),
        ("text", "theirs:planner is a str; allowed: a function"),
    ],
)
def test_a_plan_that_no_round_can_follow_is_one_error_that_names_the_planner(
    register: Callable[[Any], StrategyConfig], planner: Any, message: str
) -> None:
    strategy_config = register(planner)
    problem = make_problem(WORLD, make_workload(6, mode=Mode.LORA))
    with pytest.raises(StrategyError, match=message):
        checked_plan(problem, strategy_config)


def test_a_planner_that_finds_no_route_says_so_as_ours_does(
    register: Callable[[Any], StrategyConfig],
) -> None:
    def never(problem: Any, strategy_config: Any) -> Plan:
        raise NoRouteError("sat-0-00: no contact")

    strategy_config = register(never)
    with pytest.raises(NoRouteError, match="sat-0-00: no contact"):
        checked_plan(make_problem(WORLD, make_workload(6, mode=Mode.LORA)), strategy_config)
    with pytest.raises(AssertionError, match="not all gets through, though contacts suffice"):
        check_round_planner("mine", worlds=2)


def test_a_planner_that_cannot_be_used_ends_a_run_before_it_begins(
    register: Callable[[Any], StrategyConfig],
) -> None:
    register("text")
    done = CliRunner().invoke(app, ["run", "demo", "--set", "strategy.planner=mine"])
    assert done.exit_code == 1
    assert "theirs:planner is a str; allowed: a function" in " ".join(done.output.split())
