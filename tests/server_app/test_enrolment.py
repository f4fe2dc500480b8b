"""What comes before round 1, planned and checked as a round of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_missions import SMALL

from benchmarks.plan_replay import replay
from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from mission.schema import Scenario
from orbit.contact_plan import ContactPlan, LinkKind
from server_app.planning.round_planner import (
    RoundPlanner,
    framing_of,
    problem_of,
    rates_of,
    resources_of,
)
from server_app.planning.workloads import MissionWorkloads, PlaceInMission, variant_of
from splitmodel.costs.published import published
from strategies.checker.check import check_plan
from strategies.problem.plan import Kind, Plan
from strategies.problem.workload import Mode

SAMPLES = [40, 25, 64, 7]
COSTS = dataclasses.replace(
    published("Prithvi-EO-2.0-tiny-TL (T1)"), tokens=65, hidden=64, head_params=10 * 65
)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("walker-12", SMALL)


@pytest.fixture(scope="module")
def contacts(scenario: Scenario) -> ContactPlan:
    return contact_plan_of(scenario, constellation_of(scenario))


def violations(scenario: Scenario, contacts: ContactPlan, plan: Plan) -> list[str]:
    workload = MissionWorkloads(scenario, COSTS, samples=SAMPLES, framing=framing_of(contacts)).enrolment()
    found = check_plan(plan, problem_of(scenario, contacts, workload, start_s=plan.start_s))
    return [str(one) for one in found]


def test_features_of_32_images_at_most_go_down_exactly_and_all_satellites_get_the_constants(
    scenario: Scenario, contacts: ContactPlan
) -> None:
    plan = RoundPlanner(scenario, contacts, costs=COSTS, samples=SAMPLES).enrolment(start_s=0.0)
    rows = plan.activities
    down = rows[(rows["link"] == LinkKind.DOWNLINK) & (rows["kind"] == Kind.FEATURES)]
    images = sum(min(32, count) for count in SAMPLES)
    exact = 4 * COSTS.tokens * COSTS.hidden * images
    assert exact < down["bytes"].sum() < 1.002 * exact
    config = rows[rows["kind"] == Kind.UPDATE]
    assert set(config["peer"].tolist()) == set(range(len(SAMPLES)))
    constants = 4 * (4 * COSTS.hidden + COSTS.head_params)
    assert (config["bytes"] > constants).all()
    assert (config["bytes"] < constants + 400).all()
    assert config["start_s"].min() >= plan.steps["end_s"].max() - 1e-6  # not before the ground has seen all
    assert plan.end_s >= config["end_s"].max()
    assert not violations(scenario, contacts, plan)


@pytest.mark.parametrize("head", ["shared", "per-satellite"])
def test_the_head_goes_up_where_satellites_train_it(contacts: ContactPlan, head: str) -> None:
    mission = load_scenario("walker-12", SMALL | {"training.head": head})
    update = MissionWorkloads(mission, COSTS, samples=SAMPLES).enrolment().update_bytes
    assert (update > 4 * (4 * COSTS.hidden + COSTS.head_params)) == (head == "per-satellite")


@pytest.mark.parametrize(
    "training", [{"mode": "lora"}, {"mode": "downlink"}, {"labels": "ground"}, {"mode": "onboard-lora"}]
)
def test_a_comparison_enrols_every_case_alike_whatever_mode_the_scenario_trains_in(
    contacts: ContactPlan, training: dict[str, str]
) -> None:
    changes = {f"training.{key}": value for key, value in training.items()}
    workloads = MissionWorkloads(load_scenario("walker-12", SMALL | changes), COSTS, samples=SAMPLES)
    constants = 4 * 4 * COSTS.hidden
    assert constants < workloads.enrolment(Mode.FEATURES).update_bytes < constants + 400
    for mode in (Mode.HEAD, Mode.LORA):
        update = workloads.enrolment(mode).update_bytes - 4 * COSTS.head_params
        assert constants < update < constants + 400


@pytest.mark.parametrize("fault", ["missing", "early", "short"])
def test_the_checker_finds_constants_that_do_not_come_come_early_or_are_too_few(
    scenario: Scenario, contacts: ContactPlan, fault: str
) -> None:
    plan = RoundPlanner(scenario, contacts, costs=COSTS, samples=SAMPLES).enrolment(start_s=0.0)
    rows = plan.activities.copy()
    mine = np.flatnonzero(rows["kind"] == Kind.UPDATE)
    if fault == "missing":
        rows = np.delete(rows, mine[-1])
    elif fault == "early":
        rows["start_s"][mine[0]] -= 1.0
    else:
        rows["bytes"][mine[0]] /= 2
    assert any(
        "average" in one or "amount" in one or "wanted" in one
        for one in violations(scenario, contacts, dataclasses.replace(plan, activities=rows))
    )


def test_a_replay_of_the_enrolment_ends_as_planned_and_round_1_finds_the_antennas_as_it_leaves_them() -> None:
    mission = load_scenario("walker-12")
    contacts = contact_plan_of(mission, constellation_of(mission))
    planner = RoundPlanner(mission, contacts, costs=COSTS, samples=[32] * 12)
    enrolment = planner.enrolment(start_s=0.0)
    assert enrolment.pointed
    workload = MissionWorkloads(mission, COSTS, samples=[32] * 12, framing=framing_of(contacts)).enrolment()
    flown = replay(enrolment, contacts, workload, rates_of(mission), resources_of(mission))
    assert flown.end_s == pytest.approx(enrolment.end_s, rel=0.01)
    follows = planner(1, enrolment.end_s)
    alone = RoundPlanner(mission, contacts, costs=COSTS, samples=[32] * 12)(1, enrolment.end_s)
    assert alone.end_s - follows.end_s == pytest.approx(mission.ground.setup_s, abs=1.0)


def test_a_round_that_has_its_features_on_the_ground_moves_less_than_the_first(scenario: Scenario) -> None:
    workloads, variant = MissionWorkloads(scenario, COSTS, samples=SAMPLES), variant_of(scenario, Mode.LORA)
    first = workloads.of_round(variant)
    later = workloads.of_round(variant, PlaceInMission(all_kept=True))
    assert 17 < later.c1_bytes < 17 + 60  # names, and the header of a message for eight
    assert first.c1_bytes > 100 * later.c1_bytes
    assert (first.c2_bytes, first.c3_bytes) == (later.c2_bytes, later.c3_bytes)
