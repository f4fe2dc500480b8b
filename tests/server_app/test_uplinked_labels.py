"""Labels that are made on the ground go up before round 1: planned, checked, bounded and counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_missions import SMALL

from benchmarks.plan_replay import replay
from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import ScenarioError, load_scenario
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan, LinkKind
from server_app.planning.round_planner import RoundPlanner, framing_of, problem_of, rates_of, resources_of
from server_app.planning.workloads import MissionWorkloads
from skysplit.planning_inputs import cases_of
from splitmodel.costs.published import published
from strategies.analysis.mission_totals import World, plan_mission
from strategies.checker.check import check_plan
from strategies.problem.plan import Kind
from strategies.problem.workload import Workload

SAMPLES = [40, 25, 0, 9_000]
COSTS = dataclasses.replace(
    published("Prithvi-EO-2.0-tiny-TL (T1)"), tokens=65, hidden=64, head_params=10 * 65
)
UPLINKED = SMALL | {"training.labels": "uplinked"}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("walker-12", UPLINKED)


@pytest.fixture(scope="module")
def contacts(scenario: Scenario) -> ContactPlan:
    return contact_plan_of(scenario, constellation_of(scenario))


def workload_in(scenario: Scenario, contacts: ContactPlan) -> Workload:
    workload = MissionWorkloads(scenario, COSTS, samples=SAMPLES, framing=framing_of(contacts)).labels()
    assert workload is not None
    return workload


def test_every_label_goes_up_once_and_its_satellite_has_it_before_round_1(scenario, contacts) -> None:
    planner = RoundPlanner(scenario, contacts, costs=COSTS, samples=SAMPLES)
    plan = planner.labels(7.0)
    assert plan is not None
    up = plan.of_kind(Kind.HIDDEN)
    up = up[up["link"] == LinkKind.UPLINK]
    counts = np.bincount(up["satellite"], up["end_sample"] - up["first_sample"], minlength=len(SAMPLES))
    assert counts.tolist() == SAMPLES
    labels = 8 * sum(SAMPLES)
    assert labels < up["bytes"].sum() < 1.02 * labels
    assert not (plan.activities["link"] == LinkKind.DOWNLINK)[plan.activities["bytes"] > 0].any()
    assert planner(1, plan.end_s).start_s == plan.end_s >= up["end_s"].max()


def test_the_checker_the_bound_and_a_replay_know_them(scenario, contacts) -> None:
    plan = RoundPlanner(scenario, contacts, costs=COSTS, samples=SAMPLES).labels(0.0)
    assert plan is not None
    problem = problem_of(scenario, contacts, workload_in(scenario, contacts))
    assert check_plan(plan, problem) == []
    assert 0.0 < plan.lower_bound_s <= plan.makespan_s * (1.0 + 1e-6)
    flown = replay(plan, contacts, problem.workload, rates_of(scenario), resources_of(scenario))
    assert flown.end_s == pytest.approx(plan.end_s, rel=0.01)
    rows = plan.activities
    missing = np.delete(rows, np.flatnonzero((rows["kind"] == Kind.HIDDEN) & (rows["satellite"] == 1))[0])
    assert check_plan(dataclasses.replace(plan, activities=missing), problem)


def test_missions_that_train_on_board_begin_when_labels_are_there(scenario, contacts) -> None:
    samples = [40, 25, 0, 90]

    def totals(mission: Scenario, name: str):
        cases = cases_of(mission, contacts, COSTS, samples, schedules=True)
        case = next(case for case in cases if case.name == name)
        world = World(contacts, (case,), rates=rates_of(mission), resources=resources_of(mission))
        return plan_mission(world, case, 0.0, most_planned=1)

    on_board = load_scenario("walker-12", SMALL)
    labels = workload_in(scenario, contacts).c2_bytes * sum(samples)
    for name in ("split", "onboard-lora", "fedbuff-spaced"):
        late, early = totals(scenario, name), totals(on_board, name)
        assert late.up_bytes >= early.up_bytes + 0.99 * labels
        assert late.end_s >= early.end_s  # spaced schedules may wait for the same passes
        assert late.end_s > early.end_s or name == "fedbuff-spaced"
    for name in ("features-down", "images-down"):
        there, crossing = totals(scenario, name), totals(on_board, name)
        assert there.up_bytes == pytest.approx(crossing.up_bytes)
        assert crossing.down_bytes - there.down_bytes >= 8 * sum(samples)


def test_labels_that_are_on_board_from_the_start_need_no_plan(contacts) -> None:
    planner = RoundPlanner(load_scenario("walker-12", SMALL), contacts, costs=COSTS, samples=SAMPLES)
    assert planner.labels(0.0) is None


def test_where_the_ground_trains_alone_no_label_goes_up() -> None:
    with pytest.raises(ScenarioError, match="uplinked"):
        load_scenario("walker-12", UPLINKED | {"training.mode": "downlink"})
