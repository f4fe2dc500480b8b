"""The comparison, and what is refused as workload, rate or resource."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

import pytest
from synthetic_worlds import RATES, make_workload, make_world

from strategies.analysis.cases import headline_of, standard_cases
from strategies.analysis.closed_form import add_mission_times, closed_form, mission_time_per_point
from strategies.analysis.compare import compare, even_starts, headings_of, mission_rows, round_rows
from strategies.analysis.mission_totals import Case, World
from strategies.checker.check import require_feasible
from strategies.drawn_worlds import make_problem
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Kind
from strategies.problem.training_variant import TrainingVariant
from strategies.problem.workload import ComputeRates, Mode, Resources, StrategyConfig, Workload, WorkloadError

WORLD = make_world(2, 3, 2, [(k, k % 2, 100.0 * k + 1000.0 * t, 300.0) for t in range(38) for k in range(6)])


def rounds_of(how: TrainingVariant) -> tuple[Workload, ...]:
    """Two rounds; what crosses once does so in the first."""
    first = make_workload(6, 16, str(how.mode), onboard_share=how.onboard_share)
    again = dataclasses.replace(first, cached_fraction=1.0)
    if first.central:
        again = dataclasses.replace(first, c1_bytes=0.0)
    return first, again


def cases():
    kept = dataclasses.replace(rounds_of(TrainingVariant(Mode.LORA))[0], cached_fraction=1.0)
    return standard_cases(rounds_of, inter_orbit="grid", last_blocks=2, kept=kept)


def beside(some_cases: Iterable[Case], rates: ComputeRates = RATES) -> World:
    return World(WORLD, tuple(some_cases), rates=rates, resources=Resources())


def test_the_comparison_is_json_with_an_object_per_case_and_consistent_ratios() -> None:
    seen: list[float] = []
    found = compare(beside(cases()), even_starts(WORLD, 1), progress=seen.append)
    assert json.loads(json.dumps(found)) == found
    by_name = {case["name"]: case for case in found["cases"]}
    assert [case["alias"] for case in found["cases"] if case["alias"]] == [
        *("a", "a2", "a3", "b", "c", "d", "e", "f", "j", "raw"),
    ]
    assert {"onboard-head", "features-down", "split-first-contact", "split-nearest"} <= by_name.keys()
    split = by_name["split"]
    assert split["ratio_to"]["split-own-window"] == pytest.approx(
        split["median_s"] / by_name["split-own-window"]["median_s"]
    )
    poorer = ("split-cached", "split", "split-topology-aware", "split-parallel", "split-own-window")
    assert [by_name[name]["median_s"] for name in poorer] == sorted(
        by_name[name]["median_s"] for name in poorer
    )
    assert by_name["onboard-full"]["median_s"] <= by_name["onboard-full-own-window"]["median_s"]
    assert all(case["unplanned"] == 0 for case in found["cases"])
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(round_rows(found)) == len(mission_rows(found)) == len(found["cases"])
    assert "a point" not in headings_of(mission_rows(found))


@pytest.mark.parametrize(("mode", "on_board"), [(Mode.LORA, "onboard-lora"), (Mode.HEAD, "onboard-head")])
def test_the_answer_lies_between_ways_to_train_the_same(mode: Mode, on_board: str) -> None:
    every = standard_cases(rounds_of, split_mode=mode, inter_orbit="grid")
    assert headline_of(every) == ("split", on_board, "images-down", "features-down")
    few = [case for case in every if case.name in ("split", "onboard-lora", "onboard-head")]
    found = compare(beside(few), even_starts(WORLD, 1))
    assert found["headline"] == ["split", on_board]
    [split] = [case for case in found["cases"] if case["name"] == "split"]
    assert found["rho"]["planned"] == split["ratio_to"][on_board]
    assert f"÷ {on_board}".partition("-")[0] in headings_of(round_rows(found))


def test_processes_that_share_the_work_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [case for case in cases() if case.name in ("onboard-head", "onboard-lora", "images-down")]
    task = beside(few), even_starts(WORLD, 2)
    alone = compare(*task)
    assert all(case["median_s"] <= case["p95_s"] and case["unplanned"] == 0 for case in alone["cases"])
    monkeypatch.setattr("strategies.analysis.compare._START_S", 0.0)
    assert compare(*task, processes=2) == alone


def test_no_process_is_started_for_what_is_planned_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [case for case in cases() if case.name == "onboard-lora"]
    task = beside(few), even_starts(WORLD, 2)
    monkeypatch.setattr("strategies.analysis.compare._START_S", 600.0)
    monkeypatch.setattr("strategies.analysis.compare.ProcessPoolExecutor", None)
    assert compare(*task, processes=2) == compare(*task)


def test_a_curve_charges_what_crosses_once_only_once() -> None:
    few = [case for case in cases() if case.name in ("split", "images-down")]
    found = compare(beside(few), even_starts(WORLD, 1))
    add_mission_times(found, [50.0, 70.0])
    for case in found["cases"]:
        mission = case["mission"]
        assert case["to_target_s"] == pytest.approx(mission["length_s"])
        assert case["per_point_s"] == pytest.approx(mission["length_s"] / 20.0)
        assert mission["length_s"] < 2.0 * case["median_s"]  # as if all crossed in every round
    assert "a point" in headings_of(mission_rows(found))
    with pytest.raises(ValueError, match="curve: found 3 rounds, the mission has 2"):
        add_mission_times(found, [50.0, 60.0, 70.0])


def test_where_the_satellites_together_outrun_the_ground_the_law_says_that_nothing_can_win() -> None:
    split, onboard = make_workload(6), make_workload(6, 64, "onboard-lora")
    strong = closed_form(beside((), ComputeRates(0.5e12, 50e12)), split, onboard)
    weak = closed_form(beside((), ComputeRates(0.5e12, 2e12)), split, onboard)
    assert strong["can_win"]
    assert not weak["can_win"]
    assert weak["law"] > 1.0
    even = ComputeRates(0.5e12, weak["compute"] * 2e12)
    assert closed_form(beside((), even), split, onboard)["compute"] == pytest.approx(1.0)


def test_mission_time_to_an_accuracy_and_per_point() -> None:
    assert mission_time_per_point([50.0, 60.0, 70.0], [100.0, 200.0, 300.0], 60.0) == {
        "to_target_s": 200.0,
        "per_point_s": 15.0,
    }
    assert mission_time_per_point([50.0, 50.0], [100.0, 200.0], 60.0) == {
        "to_target_s": None,
        "per_point_s": None,
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: Resources(beams=0), "beams: found 0"),
        (lambda: Resources(setup_s=-1.0), "setup_s: found -1.0"),
        (lambda: ComputeRates(0.0, 1.0), "satellite_flops: found 0.0"),
        (lambda: ComputeRates(1.0, -5.0), "ground_flops: found -5.0"),
        (lambda: make_workload(2, [0, 0]), "samples"),
        (lambda: make_workload(2, cached_fraction=1.5), "cached_fraction: found 1.5"),
        (lambda: make_workload(2, epochs=0), "epochs"),
        (
            lambda: StrategyConfig.parse("ring", "nearest", "none"),
            "intra-orbit: found 'ring', allowed: none, sequential",
        ),
    ],
)
def test_impossible_numbers_are_named(wrong, named) -> None:
    with pytest.raises(WorkloadError, match=named):
        wrong()


def test_the_crossings_of_the_modes_follow_from_tokens_hidden_and_bits() -> None:
    def split(mode: str, **changes: object) -> Workload:
        return make_workload(1, 1, mode, feature_bits=16.0, **changes)

    assert split("lora").c1_bytes == 197 * 768 * 2
    assert split("lora").c2_bytes == split("lora").c3_bytes == 768 * 2
    assert split("lora", returned_tokens=197).c2_bytes == 197 * 768 * 2
    assert split("head").c3_bytes == 0
    assert split("onboard-full").c1_bytes == 0
    assert split("onboard-full").onboard_flops == pytest.approx(3 * (0.7e9 + 34.2e9) + 5e4)
    assert split("downlink").c1_bytes == 150e3


def test_a_shared_head_crosses_in_every_step_and_is_not_averaged() -> None:
    own, shared = (make_workload(6, 64, shared_head=flag, head_bytes=32e3) for flag in (False, True))
    for crossing in ("c2_bytes", "c3_bytes"):  # of a sample in batches of 16
        assert getattr(shared, crossing) == getattr(own, crossing) + 1e3  # 8000 values in 16 bits
    assert (own.aggregate_bytes, shared.aggregate_bytes) == (32e3, 0.0)
    problem = make_problem(WORLD, shared)
    plan = plan_round(problem, StrategyConfig())
    require_feasible(plan, problem)
    assert not len(plan.of_kind(Kind.REDUCE))
    assert len(plan_round(make_problem(WORLD, own), StrategyConfig()).of_kind(Kind.REDUCE))
    assert make_workload(6, 64, "head", shared_head=True) == make_workload(6, 64, "head")
    both = {"onboard_share": True}
    averaged = [make_workload(6, 64, **both, shared_head=flag).aggregate_bytes for flag in (False, True)]
    assert averaged[0] == averaged[1] > 0.0
