"""Where the answer turns: break-evens against missions planned on both sides of them, and against arithmetic."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from synthetic_worlds import RATES, make_workload, make_world

from orbit.contact_plan import LinkKind
from strategies.analysis.cases import headline_of, standard_cases
from strategies.analysis.mission_totals import Case, MissionTotals, World, plan_mission
from strategies.analysis.sensitivity import (
    BreakEven,
    Knob,
    break_even_of,
    knobs_of,
    lengths_of,
    winner_of,
    with_satellites,
    with_stations,
)
from strategies.planner.checked_plan import checked_plan
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import ComputeRates, Mode, Resources, StrategyConfig, Workload

CONTACTS = make_world(
    2, 2, 2, [(k, k % 2, 100.0 * k + 1000.0 * t, 300.0) for t in range(20) for k in range(4)]
)


def rounds_of(how: TrainingVariant) -> tuple[Workload, ...]:
    """Two rounds; what crosses once does so in the first."""
    first = make_workload(4, 20, str(how.mode), onboard_share=how.onboard_share)
    again = dataclasses.replace(first, c1_bytes=0.0 if first.central else first.c1_bytes, cached_fraction=1.0)
    return first, again


def world(satellite_flops: float = RATES.satellite_flops) -> World:
    cases = standard_cases(rounds_of, inter_orbit="grid")
    headline = tuple(case for case in cases if case.name in headline_of(cases))
    return World(
        CONTACTS,
        headline,
        rates=ComputeRates(satellite_flops, RATES.ground_flops),
        resources=Resources(),
    )


def knob_of(one: World, name: str) -> Knob:
    return next(knob for knob in knobs_of(one) if knob.name == name)


@functools.cache
def break_even(satellite_flops: float, name: str, *, above: bool) -> BreakEven:
    one = world(satellite_flops)
    found = break_even_of(
        one,
        knob_of(one, name),
        above=above,
        start_s=0.0,
        known=known(satellite_flops),
    )
    assert found is not None
    return found


@functools.cache
def known(satellite_flops: float) -> dict[str, float]:
    """How long each case of a world takes."""
    return lengths_of(world(satellite_flops), 0.0)


@pytest.mark.parametrize(
    ("name", "satellite_flops", "above"),
    [
        ("downlink", 0.5e12, False),
        ("satellite_tflops", 0.02e12, True),
        # The others change a number in the same way, or in the other direction.
        pytest.param("downlink", 0.5e12, True, marks=pytest.mark.slow),
        pytest.param("ground_tflops", 0.02e12, True, marks=pytest.mark.slow),
        pytest.param("image_bytes", 0.5e12, False, marks=pytest.mark.slow),
        pytest.param("downlink", 0.02e12, False, marks=pytest.mark.slow),
        pytest.param("downlink", 0.02e12, True, marks=pytest.mark.slow),
        pytest.param("satellite_tflops", 0.02e12, False, marks=pytest.mark.slow),
        pytest.param("satellite_tflops", 0.5e12, False, marks=pytest.mark.slow),
        pytest.param("satellite_tflops", 0.5e12, True, marks=pytest.mark.slow),
        pytest.param("ground_tflops", 0.02e12, False, marks=pytest.mark.slow),
        pytest.param("image_bytes", 0.5e12, True, marks=pytest.mark.slow),
    ],
)
def test_on_both_sides_of_an_edge_the_missions_planned_again_have_the_answers_that_it_says(
    name: str, satellite_flops: float, above: bool
) -> None:
    one = world(satellite_flops)
    found, knob = break_even(satellite_flops, name, above=above), knob_of(one, name)

    def answer(value: float) -> str | None:
        return winner_of(lengths_of(knob.change(one, value), 0.0))

    assert found.above == above
    assert (found.break_even > found.value) == above
    outwards = 1.1 if above else 1.0 / 1.1
    as_it_is = winner_of(known(satellite_flops))
    assert answer(found.break_even / outwards) == as_it_is
    if found.turns:
        assert answer(found.break_even * outwards) == answer(found.until) == found.winner != as_it_is
        assert (found.until > found.break_even) == above
    else:
        assert answer(found.break_even) == found.winner == as_it_is


def test_at_least_one_of_these_worlds_has_a_break_even() -> None:
    assert break_even(0.5e12, "downlink", above=False).turns


def test_faster_satellites_win_where_arithmetic_says_so() -> None:
    """On board, without a link that binds, a mission takes its computing; the others do not depend on it."""
    one = world(0.002e12)
    lengths_s = known(0.002e12)
    assert winner_of(lengths_s) != "onboard-lora"
    found = break_even(0.002e12, "satellite_tflops", above=True)
    if found.turns and found.winner == "onboard-lora":
        workload = next(case for case in one.cases if case.name == "onboard-lora").workloads[0]
        flops = 2 * max(workload.samples) * workload.epochs * workload.onboard_flops
        fastest_s = min(length for name, length in lengths_s.items() if name != "onboard-lora")
        assert found.break_even <= 1.05 * flops / 1e12 / (0.5 * fastest_s)


def test_fewer_stations_are_those_that_see_most() -> None:
    seen_s = np.zeros(len(CONTACTS.nodes))
    down = CONTACTS.of_kind(LinkKind.DOWNLINK)
    np.add.at(seen_s, down["target"], down["end_s"] - down["start_s"])
    left = with_stations(world(), 1).contact_plan.of_kind(LinkKind.DOWNLINK)
    [station] = set(left["target"].tolist())
    assert seen_s[station] == seen_s.max()


def test_antennas_are_counted_and_changed_where_stations_have_numbers_of_their_own() -> None:
    resources = Resources(own_beams=tuple((station, 4) for station in CONTACTS.stations.tolist()))
    one = dataclasses.replace(world(), resources=resources)
    knob = knob_of(one, "beams")
    assert (knob.value, knob.most) == (4, 8)
    for value, each in ((8, 8), (2, 2), (4, 4)):
        assert set(knob.change(one, value).resources.beams_of_each(CONTACTS.stations).tolist()) == {each}
    assert knob_of(world(), "beams").change(world(), 2).resources.beams == 2


def test_fewer_satellites_train_on_their_own_images_and_the_others_still_relay() -> None:
    fewer = with_satellites(world(), 2)
    assert fewer.contact_plan is CONTACTS or len(fewer.contact_plan.contacts) == len(CONTACTS.contacts)
    for case in fewer.cases:
        for workload in case.workloads:
            assert sum(count > 0 for count in workload.samples) == 2
            assert max(workload.samples) == 20
    assert all(np.isfinite(length) for length in lengths_of(fewer, 0.0).values())


def test_what_a_number_does_not_touch_is_not_planned_again() -> None:
    one = world()
    every_case = dict.fromkeys((case.name for case in one.cases), 1.0)
    found = lengths_of(one, 0.0, known=every_case, touched=lambda case: case.one_round.mode is Mode.DOWNLINK)
    assert {name for name, length in found.items() if length != 1.0} == {"images-down"}


def test_missions_that_are_about_as_short_are_planned_with_all_their_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few rounds are enough to see that a mission is not among the first, not to see which of two is."""
    one = world()
    planned = {
        name: 100.0 if name in ("split", "features-down") else 200.0 for name in known(RATES.satellite_flops)
    }
    asked: list[tuple[str, int | None]] = []

    def mission(
        world: World, case: Case, start_s: float, *, most_planned: int | None, **_: object
    ) -> MissionTotals:
        asked.append((case.name, most_planned))
        length_s = planned[case.name] - 10.0 * (most_planned is None and case.name == "features-down")
        return MissionTotals(
            case.name, start_s, end_s=length_s, rounds=20, planned=most_planned or 20, down_bytes=0.0,
            up_bytes=0.0, isl_bytes=0.0, ground_compute_s=0.0, onboard_compute_s=0.0, onboard_energy_j=None,
            binds="", round_ends_s=(),
        )  # fmt: skip

    monkeypatch.setattr("strategies.analysis.sensitivity.plan_mission", mission)
    assert winner_of(lengths_of(one, 0.0)) == "features-down"
    assert {name for name, most in asked if most is None} == {"split", "features-down"}
    asked.clear()
    planned["split"] = 50.0
    assert winner_of(lengths_of(one, 0.0)) == "split"
    assert None not in dict(asked).values()


def test_rounds_that_are_planned_already_are_not_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = world()
    longer = [dataclasses.replace(case, workloads=case.workloads[:1] * 6) for case in one.cases]
    split = next(case for case in longer if case.name == "split")
    level = dataclasses.replace(split, name="features-down")  # as short, so that both are planned whole
    one = dataclasses.replace(one, cases=(split, level))
    planned: list[float] = []

    def counted(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
        planned.append(problem.start_s)
        return checked_plan(problem, strategy_config)

    whole_s = plan_mission(one, split, 0.0).length_s
    monkeypatch.setattr("strategies.analysis.mission_totals.checked_plan", counted)
    assert lengths_of(one, 0.0) == {"split": whole_s, "features-down": whole_s}
    # The few are the first, the second, the last and the one before that; the first two are as in the whole.
    few, whole = 4, 6
    assert len(planned) == 2 * (few + whole - 2)
