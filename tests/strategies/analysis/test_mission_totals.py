"""Whole missions: what crosses once is counted once, all cases end at the same line, and what binds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_worlds import RATES, make_workload, make_world

from mission.orbits import constellation_of, contact_plan_of
from mission.scenario import load_scenario
from mission.schema import Scenario
from orbit.contact_plan import LinkKind
from server_app.planning.workloads import MissionWorkloads, variant_of
from splitmodel.costs.published import published, published_profiles
from strategies.analysis.mission_totals import (
    CONTACTS,
    DOWNLINK,
    ON_BOARD,
    ON_GROUND,
    UPLINK,
    Case,
    World,
    plan_mission,
    rounds_to_plan,
)
from strategies.drawn_worlds import make_problem
from strategies.planner.checked_plan import checked_plan
from strategies.planner.round_planner import plan_round
from strategies.problem.network import NoRouteError
from strategies.problem.plan import Kind, Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.round_state import RoundState
from strategies.problem.workload import ComputeRates, Mode, PowerDrawn, Resources, StrategyConfig, Workload

WORLD = make_world(2, 3, 2, [(k, k % 2, 100.0 * k + 1000.0 * t, 300.0) for t in range(38) for k in range(6)])
IN_WORLD = World(WORLD, (), rates=RATES, resources=Resources())
BEST = StrategyConfig.parse("parallel", "topology-aware", "min-latency")


def case(workloads: tuple[Workload, ...], strategy_config: StrategyConfig = BEST, **more: Workload) -> Case:
    return Case("tried", "a case", workloads=workloads, strategy_config=strategy_config, **more)


def test_a_mission_is_its_rounds_one_after_the_other_with_antennas_left_pointed() -> None:
    first = make_workload(6, 100)
    workloads = (first, dataclasses.replace(first, cached_fraction=0.5), first)
    mission = plan_mission(IN_WORLD, case(workloads), 500.0)
    now_s, pointed, ends_s, down = 500.0, frozenset(), [], 0.0
    for workload in workloads:
        plan = plan_round(make_problem(WORLD, workload, now_s, state=RoundState(pointed=pointed)), BEST)
        now_s, pointed = plan.end_s, plan.pointed
        ends_s.append(now_s)
        down += plan.activities["bytes"][plan.activities["link"] == LinkKind.DOWNLINK].sum()
    assert mission.round_ends_s == pytest.approx(ends_s)
    assert mission.end_s == mission.round_ends_s[-1]
    assert mission.down_bytes == pytest.approx(down)
    assert (mission.rounds, mission.planned) == (3, 3)


def test_images_that_cross_once_are_counted_once() -> None:
    first = make_workload(6, 100, "downlink")
    again = dataclasses.replace(first, c1_bytes=0.0)
    mission = plan_mission(IN_WORLD, case((first, again, again, again)), 0.0)
    assert mission.down_bytes == pytest.approx(600 * first.c1_bytes)
    assert mission.ground_compute_s == pytest.approx(4 * 600 * first.ground_flops / RATES.ground_flops)
    assert mission.onboard_compute_s == 0.0


def test_the_enrolment_is_part_of_the_mission_but_no_round_of_it() -> None:
    work, enrolment = make_workload(6, 100), make_workload(6, 8, "head")
    alone = plan_mission(IN_WORLD, case((work,)), 0.0)
    mission = plan_mission(IN_WORLD, case((work,), enrolment=enrolment), 0.0)
    assert mission.rounds == len(mission.round_ends_s) == 1
    assert mission.down_bytes > alone.down_bytes + 6 * 8 * enrolment.c1_bytes - 1.0
    assert mission.end_s > alone.end_s


def test_rounds_that_are_interpolated_come_near_to_those_that_are_planned() -> None:
    first = make_workload(6, 128)
    workloads = tuple(dataclasses.replace(first, cached_fraction=1.0 - 0.8**number) for number in range(12))
    whole = plan_mission(IN_WORLD, case(workloads), 0.0)
    few = plan_mission(IN_WORLD, case(workloads), 0.0, most_planned=4)
    assert few.planned <= 5 < whole.planned == 12
    assert few.down_bytes == pytest.approx(whole.down_bytes, rel=0.01)
    assert few.up_bytes == pytest.approx(whole.up_bytes, rel=0.01)
    assert few.length_s == pytest.approx(whole.length_s, rel=0.15)


def test_rounds_after_others_that_are_passed_over_find_antennas_as_these_leave_them() -> None:
    """Antennas point at satellites of the round before; those of rounds before that have left by then."""
    passes = [(number % 6, number % 2, 30.0 * number, 65.0) for number in range(200)]
    world = World(make_world(1, 6, 2, passes), (), rates=RATES, resources=Resources(setup_s=10.0))
    workloads = (make_workload(6, 300),) * 20
    whole, few = (plan_mission(world, case(workloads), 0.0, most_planned=most) for most in (None, 5))
    assert few.planned == 5 < whole.planned == 20
    longest_s = [np.diff(mission.round_ends_s).max() for mission in (whole, few)]
    assert longest_s[1] <= longest_s[0] + 0.1  # without the first, which has all antennas to set up


def test_rounds_that_wait_for_contacts_are_not_interpolated_where_more_may_be_planned() -> None:
    """Each plane has its passes at other times, so that how long a round waits follows no line."""
    passes = [(k, k % 2, 137.0 * k * k + 907.0 * t, 60.0) for t in range(60) for k in range(6)]
    world = World(make_world(2, 3, 2, passes), (), rates=RATES, resources=Resources())
    through_ground = StrategyConfig.parse("parallel", "topology-aware", "none")
    waiting = case((make_workload(6, 32),) * 6, through_ground, enrolment=make_workload(6, 8, "head"))
    whole, few, again = (
        plan_mission(world, waiting, 0.0, **more)
        for more in ({}, {"most_planned": 3}, {"most_planned": 3, "most_waiting": 6})
    )
    assert whole.binds == CONTACTS
    assert (few.planned, again.planned) == (3, 6)
    assert again == whole
    at_work = case((make_workload(6, 128),) * 6)
    assert plan_mission(IN_WORLD, at_work, 0.0, most_planned=3, most_waiting=6).planned == 3


def test_a_mission_that_waits_too_long_to_end_is_found_so_by_a_few_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_windows = StrategyConfig.parse("none", "own-window", "none")
    planned: list[float] = []

    def counted(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
        planned.append(problem.start_s)
        return checked_plan(problem, strategy_config)

    monkeypatch.setattr("strategies.analysis.mission_totals.checked_plan", counted)
    with pytest.raises(NoRouteError):
        plan_mission(
            IN_WORLD, case((make_workload(6, 32),) * 80, own_windows), 0.0, most_planned=3, most_waiting=80
        )
    assert len(planned) <= 4


@pytest.mark.parametrize("mode", ["onboard-head", "downlink"])
def test_rounds_in_which_less_and_less_is_computed_are_interpolated_over_that(mode: str) -> None:
    """As where pooled states are kept on board: what is new to them falls by the same factor from round to round."""
    first, left = make_workload(6, 128, mode), [0.5**number for number in range(12)]
    workloads = tuple(
        dataclasses.replace(
            first,
            onboard_flops=part * first.onboard_flops,
            backbone_forward_flops=part * first.backbone_forward_flops,
            backbone_backward_flops=0.0,
            c1_bytes=first.c1_bytes if number == 0 else 0.0,
        )
        for number, part in enumerate(left)
    )
    whole = plan_mission(IN_WORLD, case(workloads), 0.0)
    few = plan_mission(IN_WORLD, case(workloads), 0.0, most_planned=2)
    assert few.planned <= 4 < whole.planned == 12
    assert few.onboard_compute_s == pytest.approx(whole.onboard_compute_s, rel=0.01)
    assert few.ground_compute_s == pytest.approx(whole.ground_compute_s, rel=0.01)
    assert few.length_s == pytest.approx(whole.length_s, rel=0.1)


def test_the_first_round_of_every_kind_is_planned_and_no_more_than_asked_for() -> None:
    images = make_workload(6, 100, "downlink")
    again = dataclasses.replace(images, c1_bytes=0.0)
    last = dataclasses.replace(again, update_bytes=5e3)
    assert rounds_to_plan((images, *[again] * 18, last), 4) == [0, 1, 19]
    lora = make_workload(6, 100, "onboard-lora")
    assert rounds_to_plan([lora] * 20, 3) == [0, 1, 19]
    assert rounds_to_plan([lora] * 3, None) == [0, 1, 2]


def test_a_mission_that_does_not_end_within_the_contact_plan_says_so() -> None:
    work = make_workload(6, 2, "downlink", raw_bytes=1e12)
    with pytest.raises(NoRouteError):
        plan_mission(IN_WORLD, case((work, work)), 0.0)


@pytest.mark.parametrize("mode", [Mode.DOWNLINK, Mode.FEATURES, Mode.LORA])
def test_a_head_that_the_ground_has_trained_is_on_board_of_all_at_the_end(mode) -> None:
    changes = {
        "training.rounds": 3,
        "horizon_h": 6.0,
        "planning.profile": "DOFA-base",
        "planning.samples": 16,
    }
    if mode is Mode.LORA:  # otherwise it is averaged in every round
        changes |= {"training.adapter": "shared", "training.head": "shared"}
    scenario = load_scenario("walker-12", changes)
    world = contact_plan_of(scenario, constellation_of(scenario))
    count, costs = len(world.satellites), published("DOFA-base")
    workloads = MissionWorkloads(scenario, costs, samples=[16] * count).of_mission(variant_of(scenario, mode))
    assert len(workloads) == 3
    assert [work.update_bytes > 0 for work in workloads] == [False, False, True]
    assert workloads[-1].update_bytes == pytest.approx(costs.head_bytes, abs=400)  # with its header
    plan = plan_round(make_problem(world, workloads[-1]), BEST)
    assert set(plan.of_kind(Kind.UPDATE)["peer"].tolist()) >= set(range(count))
    assert plan.of_kind(Kind.UPDATE)["end_s"].max() <= plan.end_s


@pytest.mark.parametrize(
    ("work", "rates", "binds"),
    [
        (make_workload(6, 100, "onboard-lora"), RATES, ON_BOARD),
        (make_workload(6, 100, "downlink"), ComputeRates(0.5e12, 0.05e12), ON_GROUND),
        (make_workload(6, 2000, feature_bits=64.0), ComputeRates(50e12, 5e15), DOWNLINK),
        (
            make_workload(6, 400, "head", hidden_bits=64.0, returned_tokens=197, cached_fraction=1.0),
            RATES,
            UPLINK,
        ),
    ],
)
def test_what_is_hardly_ever_idle_binds(work, rates, binds) -> None:
    # Long passes, so that nobody waits for one.
    world = make_world(2, 3, 2, [(k, k % 2, 0.0, 30_000.0) for k in range(6)])
    assert (
        plan_mission(World(world, (), rates=rates, resources=Resources()), case((work,)), 0.0).binds == binds
    )


def test_where_passes_are_rare_the_wait_for_contacts_binds() -> None:
    rare = make_world(
        2, 3, 2, [(k, k % 2, 9000.0 + 400.0 * k + 9000.0 * t, 300.0) for t in range(3) for k in range(6)]
    )
    own = StrategyConfig.parse("none", "own-window", "none")
    assert (
        plan_mission(
            dataclasses.replace(IN_WORLD, contact_plan=rare), case((make_workload(6, 50),), own), 0.0
        ).binds
        == CONTACTS
    )


def test_a_published_model_takes_images_of_whole_bytes_a_value() -> None:
    # A patch embedding takes two operations for each value of the image and each channel of a token.
    values = {
        name: costs.embedding_flops / 2.0 / costs.hidden for name, costs in published_profiles().items()
    }
    assert values["Prithvi-EO-2.0-300M (T1)"] == 224 * 224 * 6
    for name, costs in published_profiles().items():
        assert costs.image_bytes / values[name] in (1.0, 2.0)
    assert published("Prithvi-EO-2.0-300M (T1)").image_bytes == 224 * 224 * 6 * 2


def test_an_image_crosses_in_the_bytes_of_the_data_unless_the_scenario_says_otherwise() -> None:
    scenario = load_scenario("paper", {})
    costs = published("Prithvi-EO-2.0-300M (T1)")

    def first_two(scenario: Scenario) -> list[float]:
        workloads = MissionWorkloads(scenario, costs, samples=[100] * 72)
        return [one.c1_bytes for one in workloads.of_mission(variant_of(scenario, Mode.DOWNLINK))[:2]]

    assert first_two(scenario) == pytest.approx([602_112, 0.0], rel=0.001)
    assert first_two(load_scenario("paper", {"planning.image_bytes": 3072}))[0] == pytest.approx(
        3072, rel=0.05
    )


def test_energy_is_what_satellites_draw_while_they_compute_and_send() -> None:
    work = case((make_workload(6, 100),))
    [down_bps] = np.unique(WORLD.of_kind(LinkKind.DOWNLINK)["rate_bps"])
    nothing = plan_mission(IN_WORLD, work, 0.0)
    assert nothing.onboard_energy_j is None

    def energy_j(**drawn: float) -> float:
        resources = Resources(drawn=PowerDrawn(**drawn))
        totals = plan_mission(dataclasses.replace(IN_WORLD, resources=resources), work, 0.0)
        assert totals.length_s == nothing.length_s  # it changes no plan
        assert totals.onboard_energy_j is not None
        return totals.onboard_energy_j

    computing_j = energy_j(compute_w=7.0)
    assert computing_j == pytest.approx(7.0 * nothing.onboard_compute_s)
    sending_j = energy_j(radio_w=5.0)
    assert sending_j == pytest.approx(5.0 * 8.0 * nothing.down_bytes / down_bps)
    assert energy_j(compute_w=7.0, radio_w=5.0) == pytest.approx(computing_j + sending_j)
